/**
 * One node of a searched cluster: the real `RawNode` over the real `MemoryStorage`, and what a driver does with them, one step at a time.
 *
 * The core is deterministic, so a step is tried once for each state of a node and each input, and what became of it is
 * remembered: of a million states of a cluster most are made of the same few thousand states of nodes. States of nodes are
 * told apart by everything the core and its storage remember (`structure.ts`); only the order of messages that leave together
 * is not looked at, because they arrive in any order. The core has to be loaded with its private fields open (`open-core.ts`).
 */
import { hash } from 'node:crypto'
import type { Entry, Message, Snapshot } from '../../../controller/raft/messages.ts'
import { RawNode, type Ready } from '../../../controller/raft/raw-node.ts'
import { MemoryStorage } from '../../../controller/raft/storage.ts'
import { Interned } from './interned.ts'
import type { Disk, RaftBounds } from './raft-bounds.ts'
import { contentOf, entryOf, type Input, NODES } from './raft-input.ts'
import { copyOf, textOf } from './structure.ts'

export interface Member {
  raw: RawNode
  readonly storage: MemoryStorage
  /** Contents of the entries applied. */
  applied: string[]
  /** Under way. */
  ready: Ready | undefined
  isWritten: boolean
}

/** What of the state of a node the rules are about. Logs are lists of contents, from the first entry ever on. */
export interface View {
  readonly id: number
  readonly role: string
  readonly term: number
  readonly commit: number
  /** What its driver does next. */
  readonly next: 'ready' | 'write' | 'advance' | undefined
  readonly durable: { readonly term: number; readonly vote: number }
  readonly log: readonly string[]
  readonly durableLog: readonly string[]
  readonly applied: readonly string[]
  readonly snapshotIndex: number
  /** Nodes to which a snapshot is on its way. */
  readonly snapshotsTo: readonly number[]
}

export interface Step {
  /** State of the node afterwards. */
  readonly next: number
  readonly sent: readonly Message[]
  /** Indexes that reads were allowed at. */
  readonly reads: readonly number[]
  /** The rule that the step itself broke. */
  readonly wrong: string | undefined
}

const NOTHING = new Uint8Array(0)
/**
 * Settings are the same for all; what was applied at first is looked at when a node is made, and not afterwards. The `Ready` under way is
 * known to the core.
 */
const LEFT_OUT = new Set(['config', 'ready'])

/** A state of a node. Of those that are only there to be compared with, nothing is kept. */
class MemberState {
  readonly #make: () => Member
  #member: Member | undefined
  #view: View | undefined

  constructor(make: () => Member) {
    this.#make = make
  }

  get member(): Member {
    return (this.#member ??= this.#make())
  }

  get view(): View {
    return (this.#view ??= viewOf(this.member))
  }
}

/** Every state of a node that was found, by number. */
export class Members {
  readonly #bounds: RaftBounds
  readonly #states = new Interned<MemberState>()

  constructor(bounds: RaftBounds) {
    this.#bounds = bounds
  }

  get count(): number {
    return this.#states.count
  }

  /** A node that starts with this on its disk. */
  begin(id: number, { log, term, vote, commit }: Disk): number {
    const storage = MemoryStorage.withMembers({ voters: [...NODES], learners: [] })
    storage.append(log.map((content, at) => entryOf(at + 1, content)))
    storage.setHardState({ term, vote, commit })
    return this.#add({ raw: this.#start(id, storage, 0), storage, applied: [], ready: undefined, isWritten: false })
  }

  view(state: number): View {
    return this.#states.get(state).view
  }

  /** The same node in a cluster where every node is called something else. */
  renamed(state: number, rename: (id: number) => number): number {
    const source = this.#states.get(state)
    const make = (): Member => sorted(copyOf(source.member, rename))
    return this.#add(make(), make)
  }

  step(state: number, input: Input): Step {
    const member = copyOf(this.#states.get(state).member)
    const { id, durable } = this.view(state)
    const sent: Message[] = []
    try {
      const reads = this.#perform(member, id, input, sent)
      const wrong = input.kind === 'write' ? brokenPromise(durable, member, sent) : undefined
      return { next: this.#add(member), sent, reads, wrong }
    } catch (error) {
      return { next: state, sent, reads: [], wrong: error instanceof Error ? error.message : String(error) }
    }
  }

  #perform(member: Member, id: number, input: Input, sent: Message[]): readonly number[] {
    const { raw, storage } = member
    switch (input.kind) {
      case 'tick':
        raw.tick()
        return []
      case 'campaign':
        raw.campaign()
        return []
      case 'propose':
        raw.propose(Buffer.from(input.text))
        return []
      case 'ready':
        return take(member, sent)
      case 'write':
        write(member, sent)
        return []
      case 'advance':
        advance(member)
        return []
      case 'crash':
        this.#restart(member, id)
        return []
      case 'compact':
        storage.createSnapshot(member.applied.length, raw.status().confState, Buffer.from(JSON.stringify(member.applied)))
        storage.compact(member.applied.length)
        return []
      case 'remove':
        raw.proposeConfChange({ type: 'remove', nodeId: input.nodeId, context: NOTHING })
        return []
      case 'transfer':
        raw.transferLeader(input.to)
        return []
      case 'read':
        raw.readIndex('read')
        return []
      case 'report':
        raw.reportSnapshot(input.to, input.isDelivered)
        return []
      case 'deliver':
        raw.step(input.message)
        return []
    }
  }

  #restart(member: Member, id: number): void {
    const snapshot = member.storage.snapshot()
    member.applied = contentsOf(snapshot)
    member.ready = undefined
    member.isWritten = false
    member.raw = this.#start(id, member.storage, snapshot.meta.index)
  }

  #start(id: number, storage: MemoryStorage, applied: number): RawNode {
    const { preVote, checkQuorum } = this.#bounds
    return new RawNode({
      id,
      storage,
      applied,
      electionTicks: 2,
      heartbeatTicks: 1,
      // One entry in each append: what a majority has may end anywhere.
      maxMessageBytes: 1,
      maxCommittedBytes: 1,
      maxUncommittedBytes: 1 << 20,
      maxInflightMessages: 2,
      maxInflightBytes: 1 << 20,
      preVote,
      checkQuorum,
      random: () => 0,
    })
  }

  #add(member: Member, make = (): Member => member): number {
    // 160 bits stand for the text: no two of a million will ever be alike.
    const digest = hash('sha1', textOf(sorted(member), LEFT_OUT), 'base64')
    return this.#states.add(digest, () => new MemberState(make))
  }
}

/** The member itself, messages that leave together by receiver; what goes to one node stays in its order. */
function sorted(member: Member): Member {
  const { messages, messagesAfterPersist } = (member.raw as unknown as OpenNode).private_raft
  for (const list of [messages, messagesAfterPersist, member.ready?.messagesAfterPersist]) (list as Message[] | undefined)?.sort(byReceiver)
  return member
}

function byReceiver(a: Message, b: Message): number {
  return a.to - b.to
}

function take(member: Member, sent: Message[]): number[] {
  const ready = member.raw.ready()
  sent.push(...ready.messages)
  // What has been done with it is no part of the state any more.
  const rest = { ...ready, softState: undefined, messages: [], readStates: [] }
  member.ready = rest
  ;(member.raw as unknown as OpenNode).private_underWay = rest
  const isNothing =
    !ready.mustSync && ready.hardState === undefined && ready.committedEntries.length === 0 && ready.messagesAfterPersist.length === 0
  // Nothing to be written or applied: nothing can happen in between.
  if (isNothing) advance(member)
  return ready.readStates.map(({ index }) => index)
}

function write(member: Member, sent: Message[]): void {
  const { storage } = member
  const ready = member.ready as Ready
  if (ready.snapshot !== undefined) storage.applySnapshot(ready.snapshot)
  storage.append(ready.entries)
  if (ready.hardState !== undefined) storage.setHardState(ready.hardState)
  sent.push(...ready.messagesAfterPersist)
  member.isWritten = true
}

function advance(member: Member): void {
  const ready = member.ready as Ready
  if (ready.snapshot !== undefined) member.applied = contentsOf(ready.snapshot)
  for (const entry of ready.committedEntries) {
    if (entry.index !== member.applied.length + 1) throw new Error(`entry ${entry.index} is applied behind entry ${member.applied.length}`)
    member.applied.push(contentOf(entry))
    if (entry.type === 'confChange') member.raw.applyConfChange(entry.change)
  }
  member.raw.advance()
  member.ready = undefined
  member.isWritten = false
}

/** Votes and acknowledgements that leave are on the disk; there is one vote in each term. */
function brokenPromise(before: View['durable'], { storage }: Member, sent: readonly Message[]): string | undefined {
  const { hardState } = storage.initialState()
  if (hardState.term < before.term) return 'a durable term does not go back'
  if (hardState.term === before.term && before.vote !== 0 && hardState.vote !== before.vote) return 'a node votes once in each term'
  // What was promised in an earlier term, a durable later one has made void.
  for (const { type, term, to, reject, index } of sent) {
    if (reject || term < hardState.term) continue
    if (type === 'voteResponse' && (term > hardState.term || to !== hardState.vote)) return 'a vote that leaves is durable'
    if (type === 'appendResponse' && index > storage.lastIndex()) return 'an acknowledgement that leaves is durable'
  }
  return undefined
}

function viewOf({ raw, storage, applied, ready, isWritten }: Member): View {
  const { id, role, term, commit, peers } = raw.status()
  const { hardState } = storage.initialState()
  const snapshot = storage.snapshot()
  const [first, end] = [storage.firstIndex(), storage.lastIndex() + 1]
  const durableLog = contentsOf(snapshot).slice(0, first - 1)
  durableLog.push(...storage.entries(first, end, Number.POSITIVE_INFINITY).map(contentOf))
  return {
    id,
    role,
    term,
    commit,
    next: ready === undefined ? (raw.hasReady() ? 'ready' : undefined) : isWritten ? 'advance' : 'write',
    durable: { term: hardState.term, vote: hardState.vote },
    log: wholeLog(raw, durableLog),
    durableLog,
    applied,
    snapshotIndex: snapshot.meta.index,
    snapshotsTo: peers.filter(({ state }) => state === 'snapshot').map((peer) => peer.id),
  }
}

/** With the part that is not durable yet. */
function wholeLog(raw: RawNode, durableLog: readonly string[]): string[] {
  const { snapshot, entries, offset } = (raw as unknown as OpenNode).private_raft.log.unstable
  const before = snapshot === undefined ? durableLog.slice(0, offset - 1) : contentsOf(snapshot)
  return [...before, ...entries.map(contentOf)]
}

interface OpenNode {
  private_underWay: Ready | undefined
  readonly private_raft: {
    readonly messages: Message[]
    readonly messagesAfterPersist: Message[]
    readonly log: {
      readonly unstable: { readonly snapshot: Snapshot | undefined; readonly entries: readonly Entry[]; readonly offset: number }
    }
  }
}

function contentsOf({ data }: Snapshot): string[] {
  return data.length === 0 ? [] : (JSON.parse(Buffer.from(data).toString()) as string[])
}
