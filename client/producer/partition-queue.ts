/**
 * The records of one partition on their way: batches being filled, waiting, and in flight, always in order.
 *
 * ```
 * open batch  ->  waiting  ->  in flight (at most five)  ->  settled
 * ```
 * A retriable failure puts the batch back to the front of `waiting`, with the sequence it has; nothing more is sent until
 * everything in flight has been answered, so that the order is kept and the node can tell copies.
 */
import { patchProducer, sequenceAfter } from '../../protocol/batch-header.ts'
import { BatchBuilder, type HeaderEntry, NO_PRODUCER } from '../../protocol/batch-builder.ts'
import type { CompressionName } from '../../protocol/compression.ts'
import type { TidemarkError } from '../../protocol/errors.ts'

/** Batches of one partition in flight: what the node remembers to tell copies. */
export const IN_FLIGHT_MAX = 5

/** Who waits for a record: told its offset, or why there is none. */
export type Settle = (error: TidemarkError | undefined, offset: number) => void

/** A producer id with the next sequence of one partition. */
export interface Identity {
  readonly id: number
  readonly epoch: number
  nextSequence: number
  /**
   * The node has taken a batch under it. Before that it takes any sequence as the first, so only one batch may be in flight: were it refused
   * and the next one taken, their order would be lost.
   */
  isKnown: boolean
}

export class OutBatch {
  /** Its place among the batches of the partition. */
  readonly order: number
  readonly createdMs: number
  readonly builder: BatchBuilder
  /** By record; undefined for those nobody waits for. */
  readonly settles: (Settle | undefined)[] = []
  /** Bytes of the producer's buffer it holds. */
  bufferedBytes = 0
  bytes: Buffer | undefined
  identity: Identity | undefined
  baseSequence = -1
  attemptCount = 0

  constructor(order: number, createdMs: number) {
    this.order = order
    this.createdMs = createdMs
    this.builder = new BatchBuilder()
  }

  get recordCount(): number {
    return this.builder.recordCount
  }

  settle(error: TidemarkError | undefined, baseOffset: number): void {
    for (const [index, settle] of this.settles.entries()) settle?.(error, baseOffset + index)
  }
}

export class PartitionQueue {
  readonly topic: string
  readonly partition: number
  open: OutBatch | undefined
  readonly waiting: OutBatch[] = []
  readonly inFlight: OutBatch[] = []
  /** Undefined: needs one before anything is sent. */
  identity: Identity | undefined
  /** A failure is being worked off: nothing is sent until nothing is in flight, and not before `resumeMs`. */
  isRecovering = false
  isPaused = false
  failureCount = 0
  /** The longest a node asked to wait, since the failure. */
  retryAfterMs = 0
  /** Batches that were certainly not written, whose sequences the ones behind them take. */
  readonly gaps: OutBatch[] = []
  /** The node no longer knows the identity. */
  needsFreshIdentity = false
  #nextOrder = 0

  constructor(topic: string, partition: number) {
    this.topic = topic
    this.partition = partition
  }

  /** The order the next batch will have. */
  get nextOrder(): number {
    return this.#nextOrder
  }

  get isIdle(): boolean {
    return this.open === undefined && this.waiting.length === 0 && this.inFlight.length === 0
  }

  /** Adds a record to the open batch, closing it first when it would grow beyond `batchBytes`. */
  append(
    record: {
      readonly key: Buffer | null
      readonly value: Buffer | null
      readonly timestampMs: number
      readonly headers: readonly HeaderEntry[]
    },
    bufferedBytes: number,
    settle: Settle | undefined,
    batchBytes: number,
    nowMs: number,
  ): void {
    if (this.open !== undefined && this.open.builder.sizeBytes + bufferedBytes > batchBytes) this.closeOpen()
    this.open ??= new OutBatch(this.#nextOrder++, nowMs)
    this.open.builder.append(record.key, record.value, record.timestampMs, record.headers)
    this.open.settles.push(settle)
    this.open.bufferedBytes += bufferedBytes
  }

  closeOpen(): void {
    if (this.open === undefined) return
    this.waiting.push(this.open)
    this.open = undefined
  }

  /** True when a batch may be sent now. An open batch is closed for it when nothing else is under way, or when it waited for `lingerMs`. */
  isSendable(nowMs: number, lingerMs: number): boolean {
    const inFlightMax = this.identity?.isKnown === false ? 1 : IN_FLIGHT_MAX
    if (this.isPaused || this.inFlight.length >= inFlightMax || (this.isRecovering && this.inFlight.length > 0)) return false
    if (this.waiting.length > 0) return true
    return this.open !== undefined && this.inFlight.length === 0 && nowMs - this.open.createdMs >= lingerMs
  }

  /** The next batch, built and stamped, now in flight. Only when `isSendable`. */
  take(compression: CompressionName): OutBatch {
    if (this.waiting.length === 0) this.closeOpen()
    const batch = this.waiting.shift() as OutBatch
    const stamp = this.#stamp(batch)
    if (batch.bytes === undefined) batch.bytes = batch.builder.buildSync(compression, stamp)
    else if (batch.identity !== this.identity) patchProducer(batch.bytes, 0, stamp)
    batch.identity = this.identity
    batch.attemptCount++
    this.inFlight.push(batch)
    return batch
  }

  /** Takes a settled batch out. */
  finish(batch: OutBatch): void {
    const at = this.inFlight.indexOf(batch)
    if (at >= 0) this.inFlight.splice(at, 1)
  }

  /** Puts a batch back to be sent again, in the order of sequences. */
  putBack(batch: OutBatch): void {
    this.finish(batch)
    const at = this.waiting.findIndex((other) => other.order > batch.order)
    this.waiting.splice(at < 0 ? this.waiting.length : at, 0, batch)
  }

  /** True when an earlier batch is still to be settled. */
  hasEarlierUnsettled(batch: OutBatch): boolean {
    return [...this.waiting, ...this.inFlight].some((other) => other.order < batch.order)
  }

  /** Starts again under a new identity. Nothing may be in flight, and what waits must be certain not to be written. */
  renewIdentity(): void {
    this.identity = undefined
  }

  /** `failed` was certainly not written: the batches behind it take its sequences. Nothing may be in flight. */
  closeGap(failed: OutBatch): void {
    if (this.identity === undefined || failed.identity !== this.identity) return
    // Of several gaps the first one counts; a later one closed before it would leave its hole.
    if (((this.identity.nextSequence - failed.baseSequence) & 0x7fffffff) >= 0x40000000) return
    this.identity.nextSequence = failed.baseSequence
    for (const batch of this.waiting) {
      batch.baseSequence = -1
      batch.identity = undefined
    }
  }

  #stamp(batch: OutBatch): { id: number; epoch: number; baseSequence: number } {
    const { identity } = this
    if (identity === undefined || identity.id < 0) return NO_PRODUCER
    if (batch.baseSequence < 0 || batch.identity !== identity) {
      batch.baseSequence = identity.nextSequence
      identity.nextSequence = sequenceAfter(identity.nextSequence, batch.recordCount)
    }
    return { id: identity.id, epoch: identity.epoch, baseSequence: batch.baseSequence }
  }
}
