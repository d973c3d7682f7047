/**
 * How far a follower is, as its leader knows it.
 *
 * ```
 * probe ──accepted──> replicate        one append at a time until it is known where the logs agree, then a stream of them
 *   ^  <──refused────   │
 *   │                   │ what it needs is compacted
 *   └──── snapshot <────┘
 * ```
 * `match < next`: everything up to `match` is durable there; `next` goes out next.
 */
import { Inflights } from './inflights.ts'

export type ProgressState = 'probe' | 'replicate' | 'snapshot'

export class Progress {
  match: number
  next: number
  state: ProgressState = 'probe'
  /** In state `snapshot`: its index. */
  pendingSnapshot = 0
  /** Heard of since the leader last looked whether a majority follows it. */
  isRecentlyActive = false
  /** The same, when the leader last looked. */
  wasRecentlyActive = false
  /** A probe is on its way, or the window is full: nothing more until an answer or a heartbeat's answer. */
  isFlowPaused = false
  readonly isLearner: boolean
  readonly inflights: Inflights

  constructor(match: number, next: number, isLearner: boolean, inflights: Inflights) {
    this.match = match
    this.next = next
    this.isLearner = isLearner
    this.inflights = inflights
  }

  get isPaused(): boolean {
    return this.state === 'snapshot' || this.isFlowPaused
  }

  becomeProbe(): void {
    const next = this.state === 'snapshot' ? Math.max(this.match + 1, this.pendingSnapshot + 1) : this.match + 1
    this.#enter('probe')
    this.next = next
  }

  becomeReplicate(): void {
    this.#enter('replicate')
    this.next = this.match + 1
  }

  becomeSnapshot(index: number): void {
    this.#enter('snapshot')
    this.pendingSnapshot = index
    this.next = index + 1
  }

  /** An append with `count` entries went out. */
  sent(count: number, bytes: number): void {
    if (this.state === 'probe') {
      this.isFlowPaused = true
      return
    }
    if (count > 0) {
      this.next += count
      this.inflights.add(this.next - 1, bytes)
    }
    this.isFlowPaused = this.inflights.isFull
  }

  /** The follower has everything up to `index`; false when that is no news. */
  update(index: number): boolean {
    this.next = Math.max(this.next, index + 1)
    if (index <= this.match) return false
    this.match = index
    this.isFlowPaused = false
    return true
  }

  /** The follower refused the append behind `refused` and proposes `hint`; false when the refusal is out of date. Never goes below `match`. */
  refuse(refused: number, hint: number): boolean {
    if (this.state === 'replicate') {
      if (refused <= this.match) return false
      this.next = this.match + 1
      return true
    }
    // The probe that is on its way is the one behind `next - 1`; any other refusal is an old one.
    if (this.next - 1 !== refused) return false
    this.next = Math.max(Math.min(refused, hint + 1), this.match + 1)
    this.isFlowPaused = false
    return true
  }

  #enter(state: ProgressState): void {
    this.state = state
    this.pendingSnapshot = 0
    this.isFlowPaused = false
    this.inflights.reset()
  }
}
