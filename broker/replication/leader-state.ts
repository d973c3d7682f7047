/**
 * What the leader of a partition knows of its replicas, and what follows from it: how far records are committed, and who is in sync.
 * Pure: time and offsets come as arguments.
 *
 * ```
 * ISR            as the controller has it
 * maximal ISR    ISR and whoever is about to be let in: the high watermark waits for all of them, because nobody knows
 *                which of the two the controller has when its answer is lost
 * high watermark min over the maximal ISR of what each replica has made durable; moves only while |ISR| >= min ISR
 * ```
 * Only fetches of this leader epoch count: what a replica had before may have been cut off since.
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
  /** Monotonic: when it last had all that the leader had. */
  caughtUpAtMs: number
  lastFetchAtMs: number
  /** Where the leader's log ended at its last fetch. */
  leaderEndAtFetch: number
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

export interface IsrView {
  readonly highWatermark: number
  readonly nowMs: number
  readonly lagMaxMs: number
  /** Durability by fsync: what counts is on disk. */
  readonly countsFlushed: boolean
  /** The node is alive, is not about to stop, and this is its present run. */
  readonly isEligible: (nodeId: number, nodeEpoch: number) => boolean
}

export class LeaderState {
  readonly leaderEpoch: number
  /** Where the log ended when this node began to lead: what lies before may be committed without this node knowing. */
  readonly epochStartOffset: number
  readonly #nodeId: number
  readonly #startedAtMs: number
  #replicas: readonly number[] = []
  #isr: readonly number[] = []
  #partitionEpoch = -1
  /** Sent to the controller, and not answered yet. */
  #proposal: IsrProposal | undefined
  readonly #progress = new Map<number, Progress>()

  constructor(nodeId: number, metadata: PartitionMetadata, epochStartOffset: number, nowMs: number) {
    this.#nodeId = nodeId
    this.leaderEpoch = metadata.leaderEpoch
    this.epochStartOffset = epochStartOffset
    this.#startedAtMs = nowMs
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
  update({ replicas, isr, partitionEpoch }: Pick<PartitionMetadata, 'replicas' | 'isr' | 'partitionEpoch'>): void {
    if (partitionEpoch <= this.#partitionEpoch) return
    this.#replicas = replicas
    this.#isr = isr
    this.#partitionEpoch = partitionEpoch
    // Whatever it was, it was made for an earlier state, or has become this one.
    this.#proposal = undefined
    for (const nodeId of this.#progress.keys()) if (!replicas.includes(nodeId)) this.#progress.delete(nodeId)
  }

  isReplica(nodeId: number): boolean {
    return this.#replicas.includes(nodeId)
  }

  fetched({ nodeId, nodeEpoch, fetchOffset, flushedOffset }: ReplicaFetched, logEndOffset: number, nowMs: number): void {
    const before = this.#progress.get(nodeId)
    const known = before?.nodeEpoch === nodeEpoch ? before : undefined
    const isCaughtUp = fetchOffset >= logEndOffset
    // It had all there was when it asked last: a busy leader would otherwise never see it caught up.
    const hasLast = known !== undefined && fetchOffset >= known.leaderEndAtFetch
    const caughtUpAtMs = isCaughtUp ? nowMs : hasLast ? known.lastFetchAtMs : (known?.caughtUpAtMs ?? this.#startedAtMs)
    this.#progress.set(nodeId, {
      nodeEpoch,
      fetchOffset,
      flushedOffset,
      caughtUpAtMs,
      lastFetchAtMs: nowMs,
      leaderEndAtFetch: logEndOffset,
    })
  }

  /** Up to where all that count have everything, given what this node has; undefined while too few are in sync for anything to be committed. */
  committable(ownOffset: number, minIsr: number, countsFlushed: boolean): number | undefined {
    if (this.#isr.length < minIsr) return undefined
    let offset = ownOffset
    for (const nodeId of this.#maximalIsr()) {
      if (nodeId !== this.#nodeId) offset = Math.min(offset, this.#durableOffset(nodeId, countsFlushed))
    }
    return offset
  }

  /** What the controller should be asked for now, which counts as under way from here on; undefined when all is well, or something is under way. */
  propose(view: IsrView): IsrProposal | undefined {
    if (this.#proposal !== undefined || this.#partitionEpoch < 0) return undefined
    const kept = this.#isr.filter((nodeId) => nodeId === this.#nodeId || !this.#isLagging(nodeId, view))
    const added = this.#replicas.filter((nodeId) => !this.#isr.includes(nodeId) && this.#hasCaughtUp(nodeId, view))
    if (kept.length === this.#isr.length && added.length === 0) return undefined
    const isr = [...kept, ...added].map((nodeId) => ({
      nodeId,
      nodeEpoch: added.includes(nodeId) ? (this.#progress.get(nodeId)?.nodeEpoch ?? 0) : 0,
    }))
    this.#proposal = { leaderEpoch: this.leaderEpoch, partitionEpoch: this.#partitionEpoch, isr }
    return this.#proposal
  }

  /** The controller has certainly not done it. */
  refused(proposal: IsrProposal): void {
    if (this.#proposal === proposal) this.#proposal = undefined
  }

  /** How far behind each follower is, in records; for descriptions. */
  lagOf(nodeId: number, logEndOffset: number): number | undefined {
    const progress = this.#progress.get(nodeId)
    return progress && Math.max(0, logEndOffset - progress.fetchOffset)
  }

  #maximalIsr(): Iterable<number> {
    return this.#proposal === undefined ? this.#isr : new Set([...this.#isr, ...this.#proposal.isr.map(({ nodeId }) => nodeId)])
  }

  #durableOffset(nodeId: number, countsFlushed: boolean): number {
    const progress = this.#progress.get(nodeId)
    if (progress === undefined) return 0
    return countsFlushed ? progress.flushedOffset : progress.fetchOffset
  }

  #isLagging(nodeId: number, { nowMs, lagMaxMs }: IsrView): boolean {
    return nowMs - (this.#progress.get(nodeId)?.caughtUpAtMs ?? this.#startedAtMs) > lagMaxMs
  }

  /** It has, in this epoch, all that may be committed: by now, and by leaders before. */
  #hasCaughtUp(nodeId: number, { highWatermark, countsFlushed, isEligible }: IsrView): boolean {
    const progress = this.#progress.get(nodeId)
    if (progress === undefined || !isEligible(nodeId, progress.nodeEpoch)) return false
    return this.#durableOffset(nodeId, countsFlushed) >= Math.max(highWatermark, this.epochStartOffset)
  }
}
