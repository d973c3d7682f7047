/**
 * What the leader of a partition knows of its replicas, and what follows from it: how far records are committed, and who is in sync.
 * Pure: time and offsets come as arguments.
 *
 * ```
 * ISR            as the controller has it
 * maximal ISR    ISR and whoever is about to be let in: the high watermark waits for all of them, because nobody knows
 *                which of the two the controller has when its answer is lost
 * high watermark min over the maximal ISR, and whoever is about to catch up, of what each replica has made as durable as the
 *                topic asks; moves only while |ISR| >= min ISR
 * ```
 * Only fetches of this leader epoch count: what a replica had before may have been cut off since. The high watermark waits for a
 * replica that keeps up but is not in sync yet, or under load it would run ahead of it for ever; for one that may not be in sync
 * it does not wait.
 */
import type { PartitionMetadata } from '../../controller/metadata/image.ts'

/** How far a replica is, as its last fetch said. */
interface Progress {
  /** Of the run of its node that fetched. */
  nodeEpoch: number
  /** It has everything below. */
  fetchOffset: number
  /** It has everything below on disk. */
  flushedOffset: number
  /** Monotonic: it has all that the leader had then. Never, for one that was not in sync and has not had everything yet. */
  caughtUpAtMs: number
  /** What the leader had at a time since then, which the replica is still to reach: a busy leader would otherwise never see it caught up. */
  goal: { readonly endOffset: number; readonly atMs: number } | undefined
}

export interface ReplicaFetched {
  readonly nodeId: number
  readonly nodeEpoch: number
  readonly fetchOffset: number
  readonly flushedOffset: number
}

/** A replica in sync, as the controller is told. */
export interface IsrMember {
  readonly nodeId: number
  readonly nodeEpoch: number
}

export interface IsrProposal {
  readonly leaderEpoch: number
  readonly partitionEpoch: number
  readonly isr: readonly IsrMember[]
}

/** What of the metadata matters to a leader. */
export type Decided = Pick<PartitionMetadata, 'replicas' | 'isr' | 'elr' | 'partitionEpoch'>

/** What the rules go by besides offsets. */
export interface ReplicaRules {
  readonly clock: { monotonic(): number }
  readonly replicaLagMaxMs: number
  /** The node is alive, is not about to stop, and this is its present run. */
  isEligible(nodeId: number, nodeEpoch: number): boolean
}

/** One that keeps up has what the leader had a few fetches ago. One that falls silent must not hold up acknowledgements for longer. */
const JOIN_WAIT_MAX_MS = 500

/** After a refusal the controller is not asked again at once: what it knows more will be here soon. */
const REFUSAL_PAUSE_MS = 100

export class LeaderState {
  readonly leaderEpoch: number
  /** Where the log ended when this node began to lead: what lies before may be committed without this node knowing. */
  readonly epochStartOffset: number
  readonly #nodeId: number
  readonly #rules: ReplicaRules
  readonly #startedAtMs: number
  #askAgainAtMs = Number.NEGATIVE_INFINITY
  #replicas: readonly number[] = []
  #isr: readonly number[] = []
  /** They left the ISR with everything that is committed, and may be made leader. */
  #elr: readonly number[] = []
  #partitionEpoch = -1
  /** Sent to the controller, and not answered yet. */
  #proposal: IsrProposal | undefined
  readonly #progress = new Map<number, Progress>()

  constructor(nodeId: number, metadata: PartitionMetadata, epochStartOffset: number, rules: ReplicaRules) {
    this.#nodeId = nodeId
    this.#rules = rules
    this.leaderEpoch = metadata.leaderEpoch
    this.epochStartOffset = epochStartOffset
    this.#startedAtMs = rules.clock.monotonic()
    this.update(metadata)
  }

  get isr(): readonly number[] {
    return this.#isr
  }

  get partitionEpoch(): number {
    return this.#partitionEpoch
  }

  get hasProposal(): boolean {
    return this.#proposal !== undefined
  }

  /** The controller has decided: older decisions, which arrive late, change nothing. */
  update({ replicas, isr, elr, partitionEpoch }: Decided): void {
    if (partitionEpoch <= this.#partitionEpoch) return
    this.#replicas = replicas
    this.#isr = isr
    this.#elr = elr
    this.#partitionEpoch = partitionEpoch
    // Whatever it was, it was made for an earlier state, or has become this one.
    this.#proposal = undefined
    for (const nodeId of this.#progress.keys()) if (!replicas.includes(nodeId)) this.#progress.delete(nodeId)
  }

  isReplica(nodeId: number): boolean {
    return this.#replicas.includes(nodeId)
  }

  /** `leaderEndOffset`: what the replica could have had by now. `countsFlushed`: what counts is on disk. */
  fetched({ nodeId, nodeEpoch, fetchOffset, flushedOffset }: ReplicaFetched, leaderEndOffset: number, countsFlushed: boolean): void {
    const nowMs = this.#rules.clock.monotonic()
    const before = this.#progress.get(nodeId)
    const known = before?.nodeEpoch === nodeEpoch ? before : undefined
    const never = this.#isr.includes(nodeId) ? this.#startedAtMs : Number.NEGATIVE_INFINITY
    const progress: Progress = {
      nodeEpoch,
      fetchOffset,
      flushedOffset,
      caughtUpAtMs: known?.caughtUpAtMs ?? never,
      goal: known?.goal ?? { endOffset: leaderEndOffset, atMs: nowMs },
    }
    const offset = countsFlushed ? flushedOffset : fetchOffset
    if (offset >= leaderEndOffset) {
      progress.caughtUpAtMs = nowMs
      progress.goal = undefined
    } else if (progress.goal !== undefined && offset >= progress.goal.endOffset) {
      progress.caughtUpAtMs = progress.goal.atMs
      progress.goal = { endOffset: leaderEndOffset, atMs: nowMs }
    }
    this.#progress.set(nodeId, progress)
  }

  /**
   * Whether the replica is counted on though it has not all that is committed: its disk is not the one it had. While a replica is eligible the high
   * watermark does not move. What this run of its node has said before, a fetch that comes late does not take back.
   */
  lacksCommitted(
    { nodeId, nodeEpoch, fetchOffset, flushedOffset }: ReplicaFetched,
    highWatermark: number,
    countsFlushed: boolean,
  ): boolean {
    const known = this.#progress.get(nodeId)?.nodeEpoch === nodeEpoch ? this.#durableOffset(nodeId, countsFlushed) : 0
    return this.#elr.includes(nodeId) && Math.max(known, countsFlushed ? flushedOffset : fetchOffset) < highWatermark
  }

  /** Up to where all that count have everything, given what this node has; undefined while too few are in sync for anything to be committed. */
  committable(ownOffset: number, minIsr: number, countsFlushed: boolean): number | undefined {
    if (this.#isr.length < minIsr) return undefined
    let offset = ownOffset
    for (const nodeId of this.#replicas) {
      if (nodeId === this.#nodeId || !(this.#isInMaximalIsr(nodeId) || this.#isJoining(nodeId))) continue
      offset = Math.min(offset, this.#durableOffset(nodeId, countsFlushed))
    }
    return offset
  }

  /** Everything below is on disk on every replica, in sync or not, as far as they have told this leader; it itself has `ownOffset`. */
  replicatedOffset(ownOffset: number): number {
    const others = this.#replicas.filter((nodeId) => nodeId !== this.#nodeId)
    return Math.min(ownOffset, ...others.map((nodeId) => this.#progress.get(nodeId)?.flushedOffset ?? 0))
  }

  /** What the controller should be asked for now, which counts as under way from here on; undefined when all is well, or something is under way. */
  propose(highWatermark: number, leaderEndOffset: number, countsFlushed: boolean): IsrProposal | undefined {
    const nowMs = this.#rules.clock.monotonic()
    if (this.#proposal !== undefined || nowMs < this.#askAgainAtMs) return undefined
    const hasAll = (nodeId: number): boolean => nodeId === this.#nodeId || this.#durableOffset(nodeId, countsFlushed) >= leaderEndOffset
    const kept = this.#isr.filter((nodeId) => hasAll(nodeId) || !this.#isLagging(nodeId, nowMs))
    const added = this.#replicas.filter(
      (nodeId) => !this.#isr.includes(nodeId) && !this.#isLagging(nodeId, nowMs) && this.#hasCaughtUp(nodeId, highWatermark, countsFlushed),
    )
    if (kept.length === this.#isr.length && added.length === 0) return undefined
    const isr = [...kept, ...added].map((nodeId) => ({
      nodeId,
      nodeEpoch: added.includes(nodeId) ? (this.#progress.get(nodeId)?.nodeEpoch ?? 0) : 0,
    }))
    this.#proposal = { leaderEpoch: this.leaderEpoch, partitionEpoch: this.#partitionEpoch, isr }
    return this.#proposal
  }

  /** The controller has certainly not done it, and will not: the state it was made for is still the present one. */
  refused(proposal: IsrProposal): void {
    if (this.#proposal !== proposal) return
    this.#proposal = undefined
    this.#askAgainAtMs = this.#rules.clock.monotonic() + REFUSAL_PAUSE_MS
  }

  #isInMaximalIsr(nodeId: number): boolean {
    return this.#isr.includes(nodeId) || this.#proposal?.isr.some((member) => member.nodeId === nodeId) === true
  }

  /** Not in sync, but it keeps up and may be let in. */
  #isJoining(nodeId: number): boolean {
    const progress = this.#progress.get(nodeId)
    if (progress === undefined || !this.#rules.isEligible(nodeId, progress.nodeEpoch)) return false
    return this.#rules.clock.monotonic() - progress.caughtUpAtMs <= Math.min(JOIN_WAIT_MAX_MS, this.#rules.replicaLagMaxMs)
  }

  #durableOffset(nodeId: number, countsFlushed: boolean): number {
    const progress = this.#progress.get(nodeId)
    if (progress === undefined) return 0
    return countsFlushed ? progress.flushedOffset : progress.fetchOffset
  }

  #isLagging(nodeId: number, nowMs: number): boolean {
    return nowMs - (this.#progress.get(nodeId)?.caughtUpAtMs ?? this.#startedAtMs) > this.#rules.replicaLagMaxMs
  }

  /**
   * It has, in this epoch, all that may be committed: by now, and by leaders before. That does not say that it keeps up: where the high
   * watermark stands still one that has fallen silent has all of it.
   */
  #hasCaughtUp(nodeId: number, highWatermark: number, countsFlushed: boolean): boolean {
    const progress = this.#progress.get(nodeId)
    if (progress === undefined || !this.#rules.isEligible(nodeId, progress.nodeEpoch)) return false
    return this.#durableOffset(nodeId, countsFlushed) >= Math.max(highWatermark, this.epochStartOffset)
  }
}
