/**
 * The face of the core: inputs go in, a `Ready` says what is to be done, `advance` says that it was done.
 *
 * ```
 * ready() ─> send messages ─> write snapshot, entries, hardState (one synced write) ─> send messagesAfterPersist
 *         ─> apply committedEntries ─> advance()
 * ```
 * One `Ready` is under way at a time. Inputs may come meanwhile: writing takes time. The storage that the core reads
 * has what was written before `advance` is called.
 */
import { hup } from './campaign.ts'
import { invariant } from './invariant.ts'
import { appendEntry, broadcastAppend, hasCommittedInTerm, maybeCommit, read, sendAppend, transfer } from './leader.ts'
import { type ConfChange, type ConfState, type Entry, type HardState, type Message, NO_NODE, payloadBytes } from './messages.ts'
import { changeMembers, keepsVoters } from './membership.ts'
import { Raft, type RaftConfig } from './raft.ts'
import type { ProposeRefusal, ProposeResult, Ready, SoftState, Status } from './ready.ts'
import { step, tick } from './step.ts'
import { isWellFormed } from './well-formed.ts'

export type { RaftConfig, RaftEvent, ReadState, Role } from './raft.ts'
export type { PeerStatus, ProposeRefusal, ProposeResult, Ready, SoftState, Status } from './ready.ts'

export class RawNode {
  readonly #raft: Raft
  #softState: SoftState
  #hardState: HardState
  #underWay: Ready | undefined

  constructor(config: RaftConfig) {
    this.#raft = new Raft(config)
    this.#softState = this.#softStateNow()
    this.#hardState = this.#raft.hardState
  }

  tick(): void {
    tick(this.#raft)
  }

  /** Takes a message of another node. What makes no sense is ignored. */
  step(message: Message): void {
    const isRequest = message.type !== 'appendResponse' && message.type !== 'heartbeatResponse'
    // Answers count only from members. Requests may come from one that this node has not heard of yet.
    if (message.from === this.#raft.id || message.to !== this.#raft.id || (!isRequest && !this.#raft.isMember(message.from))) return
    if (!isWellFormed(message)) return
    step(this.#raft, message)
  }

  propose(data: Uint8Array): ProposeResult {
    const reason = this.#refusal()
    if (reason !== undefined) return { ok: false, reason }
    return this.#append({ index: 0, term: 0, type: 'normal', data })
  }

  /** Proposes one change of the members; the next may follow once it is applied. */
  proposeConfChange(change: ConfChange): ProposeResult {
    const raft = this.#raft
    const reason =
      this.#refusal() ??
      (raft.pendingChangeIndex > raft.log.applied ? 'pending-conf-change' : undefined) ??
      // Until then a majority of an earlier leader's members could decide otherwise.
      (hasCommittedInTerm(raft) ? undefined : 'no-commit-in-term') ??
      (keepsVoters(raft.members, change) ? undefined : 'last-voter')
    if (reason !== undefined) return { ok: false, reason }
    const result = this.#append({ index: 0, term: 0, type: 'confChange', change })
    if (result.ok) raft.pendingChangeIndex = result.index
    return result
  }

  /** To be called when the entry with the change is applied. Returns the members after it. */
  applyConfChange(change: ConfChange): ConfState {
    const raft = this.#raft
    raft.setMembers(changeMembers(raft.members, change))
    if (raft.role !== 'leader') return raft.members
    if (!raft.members.voters.includes(raft.id)) {
      // The others elect one of themselves.
      raft.becomeFollower(raft.term, NO_NODE)
      return raft.members
    }
    if (raft.transferee !== NO_NODE && !raft.members.voters.includes(raft.transferee)) raft.transferee = NO_NODE
    // A smaller quorum may have been reached already.
    if (maybeCommit(raft)) broadcastAppend(raft)
    else for (const id of raft.others) sendAppend(raft, id, false)
    return raft.members
  }

  /** Asks for votes without waiting for the timeout. */
  campaign(): void {
    hup(this.#raft, false)
  }

  /** Hands leadership over to `id`, once it has caught up; given up after an election timeout. */
  transferLeader(id: number): void {
    const raft = this.#raft
    if (raft.role === 'leader') transfer(raft, id)
    else if (raft.leader !== NO_NODE) raft.send({ type: 'transferLeader', to: raft.leader, index: id })
  }

  /** A read state with `context` follows, unless leadership changes. False when it cannot be asked now. */
  readIndex(context: string): boolean {
    const raft = this.#raft
    if (raft.role === 'leader') return read(raft, raft.id, context)
    if (raft.leader === NO_NODE) return false
    raft.send({ type: 'readIndex', to: raft.leader, context })
    return true
  }

  /** A follower behaves as if its leader were gone, and does not ask for votes by itself before its timeout. */
  forgetLeader(): void {
    if (this.#raft.role === 'follower') this.#raft.leader = NO_NODE
  }

  reportUnreachable(id: number): void {
    const progress = this.#raft.progress.get(id)
    // What is on its way is probably lost.
    if (this.#raft.role === 'leader' && progress?.state === 'replicate') progress.becomeProbe()
  }

  /** The snapshot on its way to `id` has arrived, or is lost. Nothing more is sent there before it is known, so whoever sends it has to find out. */
  reportSnapshot(id: number, isDelivered: boolean): void {
    const progress = this.#raft.progress.get(id)
    if (this.#raft.role !== 'leader' || progress?.state !== 'snapshot') return
    if (!isDelivered) progress.pendingSnapshot = 0
    progress.becomeProbe()
    // The next append waits for the answer to the snapshot, or for a heartbeat's.
    progress.isFlowPaused = true
  }

  hasReady(): boolean {
    const raft = this.#raft
    return (
      this.#underWay === undefined &&
      (raft.messages.length > 0 ||
        raft.messagesAfterPersist.length > 0 ||
        raft.readStates.length > 0 ||
        raft.log.unstable.entries.length > 0 ||
        raft.log.unstable.snapshot !== undefined ||
        raft.log.nextCommitted(1).length > 0 ||
        !isSameHardState(raft.hardState, this.#hardState) ||
        !isSameSoftState(this.#softStateNow(), this.#softState))
    )
  }

  ready(): Ready {
    invariant(this.#underWay === undefined, 'one Ready is under way at a time')
    const raft = this.#raft
    const softState = this.#softStateNow()
    const hardState = raft.hardState
    const isHardStateNew = !isSameHardState(hardState, this.#hardState)
    const { snapshot, entries } = raft.log.unstable
    const ready: Ready = {
      softState: isSameSoftState(softState, this.#softState) ? undefined : softState,
      hardState: isHardStateNew ? hardState : undefined,
      entries,
      snapshot,
      committedEntries: raft.log.nextCommitted(raft.config.maxCommittedBytes),
      messages: raft.messages,
      messagesAfterPersist: raft.messagesAfterPersist.filter(({ to }) => to !== raft.id),
      readStates: raft.readStates,
      mustSync:
        entries.length > 0 || snapshot !== undefined || hardState.term !== this.#hardState.term || hardState.vote !== this.#hardState.vote,
    }
    this.#selfMessages = raft.messagesAfterPersist.filter(({ to }) => to === raft.id)
    raft.messages = []
    raft.messagesAfterPersist = []
    raft.readStates = []
    this.#softState = softState
    this.#hardState = hardState
    this.#underWay = ready
    return ready
  }

  /** What the last `Ready` asked for is done. */
  advance(): void {
    const ready = this.#underWay
    invariant(ready !== undefined, 'a Ready is under way')
    this.#underWay = undefined
    const raft = this.#raft
    const { log } = raft
    const lastEntry = ready.entries.at(-1)
    if (ready.snapshot !== undefined) {
      log.unstable.stableSnapshotTo(ready.snapshot.meta.index)
      log.appliedTo(Math.max(log.applied, ready.snapshot.meta.index))
    }
    if (lastEntry !== undefined) log.unstable.stableTo(lastEntry.index, lastEntry.term)
    const lastApplied = ready.committedEntries.at(-1)
    if (lastApplied !== undefined) {
      log.appliedTo(lastApplied.index)
      const bytes = ready.committedEntries.reduce((sum, entry) => sum + payloadBytes(entry), 0)
      raft.uncommittedBytes = Math.max(0, raft.uncommittedBytes - bytes)
    }
    // Its own vote and acknowledgements: of the term in which they were given, so late ones are ignored like any others.
    for (const message of this.#selfMessages) step(raft, message)
    this.#selfMessages = []
  }

  status(): Status {
    const raft = this.#raft
    const peers = [...raft.progress].map(([id, { match, next, state, isPaused, isRecentlyActive, wasRecentlyActive, isLearner }]) => ({
      id,
      match,
      next,
      state,
      isPaused,
      isRecentlyActive,
      isAlive: isRecentlyActive || wasRecentlyActive,
      isLearner,
    }))
    return {
      id: raft.id,
      ...raft.hardState,
      ...this.#softStateNow(),
      applied: raft.log.applied,
      lastIndex: raft.log.lastIndex,
      confState: raft.members,
      transferee: raft.transferee,
      peers: raft.role === 'leader' ? peers : [],
    }
  }

  /** Of the Ready under way. */
  #selfMessages: readonly Message[] = []

  #refusal(): ProposeRefusal | undefined {
    const raft = this.#raft
    if (raft.role !== 'leader') return 'not-leader'
    if (!raft.isMember(raft.id)) return 'removed'
    return raft.transferee === NO_NODE ? undefined : 'transferring'
  }

  #append(entry: Entry): ProposeResult {
    const raft = this.#raft
    if (!appendEntry(raft, entry)) return { ok: false, reason: 'too-much-uncommitted' }
    broadcastAppend(raft)
    return { ok: true, index: raft.log.lastIndex, term: raft.term }
  }

  #softStateNow(): SoftState {
    return { leader: this.#raft.leader, role: this.#raft.role }
  }
}

function isSameHardState(a: HardState, b: HardState): boolean {
  return a.term === b.term && a.vote === b.vote && a.commit === b.commit
}

function isSameSoftState(a: SoftState, b: SoftState): boolean {
  return a.leader === b.leader && a.role === b.role
}
