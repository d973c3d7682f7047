/**
 * One partition on this node: its log, its leadership and its high watermark.
 *
 * The high watermark is the offset up to which records are committed: as durable as
 * the topic asks, on every replica that counts. Consumers read below it, acknowledgements wait for
 * it. It never goes back. With this node as the only replica it follows the log's own
 * progress.
 */
import type { Appended, LogListener, PartitionLog } from '../log/partition-log.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { TopicConfig } from '../protocol/topic-config.ts'
import { ByteBudget } from './backpressure.ts'
import { OffsetWaiters, type Reached } from './offset-waiters.ts'
import type { ParkedFetch, ParkingPlace } from './purgatory.ts'

export class Partition implements LogListener, ParkingPlace {
  readonly log: PartitionLog
  readonly budget: ByteBudget
  readonly parked: Set<ParkedFetch> = new Set()
  #config: TopicConfig
  #leaderEpoch: number
  #highWatermark: number
  /** Appends above the high watermark, in order of offset: what parked fetches are told about once they commit. */
  #uncommitted: { readonly endOffset: number; readonly bytes: number }[] = []
  readonly #waiters = new OffsetWaiters()
  readonly #onWaiting: (partition: Partition) => void
  #retired: TidemarkError | undefined

  constructor(parts: {
    readonly log: PartitionLog
    readonly config: TopicConfig
    readonly leaderEpoch: number
    readonly budget: ByteBudget
    /** Told when the first acknowledgement waits, so that someone looks after its deadline. */
    readonly onWaiting: (partition: Partition) => void
  }) {
    this.log = parts.log
    this.budget = parts.budget
    this.#config = parts.config
    this.#leaderEpoch = parts.leaderEpoch
    this.#onWaiting = parts.onWaiting
    // Recovery has made everything that is left of the log durable.
    this.#highWatermark = parts.log.logEndOffset
    parts.log.setListener(this)
  }

  get topic(): string {
    return this.log.topic
  }

  get partition(): number {
    return this.log.partition
  }

  get topicId(): string {
    return this.log.topicId
  }

  get config(): TopicConfig {
    return this.#config
  }

  get leaderEpoch(): number {
    return this.#leaderEpoch
  }

  get highWatermark(): number {
    return this.#highWatermark
  }

  /** True while acknowledgements wait. */
  get isWaiting(): boolean {
    return this.#waiters.size > 0
  }

  configure(config: TopicConfig): void {
    this.#config = config
    this.log.configure(config)
    // A weaker durability may commit what was waiting for a flush.
    this.advanced()
  }

  setLeaderEpoch(leaderEpoch: number): void {
    this.#leaderEpoch = leaderEpoch
  }

  /** Throws unless this node leads the partition in `leaderEpoch` (undefined: the sender does not know and does not care). */
  checkLeadership(leaderEpoch: number | undefined): void {
    if (this.#retired !== undefined) throw this.#retired
    if (leaderEpoch === undefined || leaderEpoch === this.#leaderEpoch) return
    const code = leaderEpoch < this.#leaderEpoch ? 'FENCED_LEADER_EPOCH' : 'UNKNOWN_LEADER_EPOCH'
    throw new TidemarkError(
      code,
      `the request knows leader epoch ${leaderEpoch} of ${this.topic}-${this.partition}, it is ${this.#leaderEpoch}`,
    )
  }

  /** Appends one batch; the buffer belongs to the log from here on. Throws `TidemarkError`, then nothing was appended. */
  append(batch: Buffer): Appended {
    const appended = this.log.append(batch, { leaderEpoch: this.#leaderEpoch })
    if (!appended.duplicate) {
      this.#uncommitted.push({ endOffset: appended.lastOffset + 1, bytes: batch.length })
      if (this.#config.durability === 'none') this.advanced()
    }
    return appended
  }

  /** Calls `reached` once the high watermark is at least `offset`, or with an error when that will not happen in time. */
  whenCommitted(offset: number, deadlineMs: number, reached: Reached): void {
    if (this.#highWatermark >= offset) {
      reached(undefined)
      return
    }
    this.#waiters.add(offset, deadlineMs, reached)
    if (this.#waiters.size === 1) this.#onWaiting(this)
  }

  /** Fails acknowledgements whose deadline (monotonic) has passed. What they wait for may still happen. */
  expireWaiters(nowMs: number): void {
    this.#waiters.expire(
      nowMs,
      () =>
        new TidemarkError(
          'REQUEST_TIMED_OUT',
          `${this.topic}-${this.partition} did not commit the records in time; they may still be committed`,
          {
            outcome: 'indeterminate',
          },
        ),
    )
  }

  /** The log made progress. */
  advanced(): void {
    const durable = this.#durableOffset()
    if (durable <= this.#highWatermark) return
    this.#highWatermark = durable
    this.#waiters.release(durable)
    const bytes = this.#takeCommittedBytes()
    for (const fetch of [...this.parked]) fetch.bytesCommitted(bytes)
  }

  /** The log took appends back that never reached the disk. */
  undone(fromOffset: number, error: TidemarkError): void {
    this.#uncommitted = this.#uncommitted.filter((append) => append.endOffset <= fromOffset)
    this.#waiters.rejectFrom(fromOffset, error)
  }

  /** Ends the partition on this node: whoever waits gets `reason`. The log is the caller's to close or delete. */
  retire(reason: TidemarkError): void {
    this.#retired = reason
    this.#waiters.rejectFrom(-1, reason)
    for (const fetch of [...this.parked]) fetch.wake()
  }

  #durableOffset(): number {
    switch (this.#config.durability) {
      case 'fsync':
        return this.log.flushedOffset
      case 'replicated':
        return this.log.writtenOffset
      case 'none':
        return this.log.logEndOffset
    }
  }

  #takeCommittedBytes(): number {
    let bytes = 0
    let count = 0
    for (const append of this.#uncommitted) {
      if (append.endOffset > this.#highWatermark) break
      bytes += append.bytes
      count++
    }
    this.#uncommitted.splice(0, count)
    return bytes
  }
}
