/**
 * The records of one partition on their way: batches being filled, waiting, and in flight, always in order.
 *
 * ```
 * open batch  ->  waiting  ->  in flight (a few)  ->  settled
 * ```
 * A retriable failure puts the batch back to the front of `waiting`, with the sequence it has; nothing more is sent until
 * everything in flight has been answered, so that the order is kept and the node can tell copies.
 */
import { patchProducer, sequenceAfter } from '../../protocol/batch-header.ts'
import { BATCH_BYTES_INITIAL, BatchBuilder, NO_PRODUCER, type ProducerStamp } from '../../protocol/batch-builder.ts'
import type { CompressionName } from '../../protocol/compression.ts'
import type { TidemarkError } from '../../protocol/errors.ts'
import type { BatchBuffers } from './batch-buffers.ts'
import type { EncodedRecord } from './record-encoding.ts'
import type { SendGroup } from './send-group.ts'

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
  readonly topic: string
  readonly partition: number
  /** Its place among the batches of the partition. */
  readonly order: number
  readonly createdMs: number
  readonly builder: BatchBuilder
  /** By record: who waits for it, if anybody, as the how-manieth of the group, and its time. */
  readonly #groups: (SendGroup | undefined)[] = []
  readonly #indexes: number[] = []
  readonly #timestamps: number[] = []
  /** Bytes of the producer's buffer it holds. */
  bufferedBytes = 0
  bytes: Buffer | undefined
  identity: Identity | undefined
  baseSequence = -1
  attemptCount = 0
  /** An attempt ended so that nobody knows whether the node wrote it. */
  mayBeWritten = false
  isSettled = false
  /** Why the last attempt failed. */
  lastError: TidemarkError | undefined

  constructor(topic: string, partition: number, order: number, createdMs: number, buffer: Buffer) {
    this.topic = topic
    this.partition = partition
    this.order = order
    this.createdMs = createdMs
    this.builder = new BatchBuilder(buffer)
  }

  get recordCount(): number {
    return this.builder.recordCount
  }

  append(record: EncodedRecord, group: SendGroup | undefined, index: number): void {
    this.builder.append(record.key, record.value, record.timestampMs, record.headers)
    this.#groups.push(group)
    this.#indexes.push(index)
    this.#timestamps.push(record.timestampMs)
    this.bufferedBytes += record.sizeBytes
  }

  /** `appendTimeMs` 0: the records keep their own times. `baseOffset` -1: unknown. */
  succeed(baseOffset: number, appendTimeMs: number): void {
    const { topic, partition } = this
    for (const [at, group] of this.#groups.entries()) {
      const timestamp = appendTimeMs > 0 ? appendTimeMs : (this.#timestamps[at] as number)
      const offset = BigInt(baseOffset < 0 ? -1 : baseOffset + at)
      group?.succeed(this.#indexes[at] as number, { topic, partition, offset, timestamp })
    }
  }

  /** Returns how many of its records nobody waits for. */
  fail(error: TidemarkError): number {
    let unheardCount = 0
    for (const group of this.#groups) {
      if (group === undefined) unheardCount++
      else group.fail(error)
    }
    return unheardCount
  }
}

/** So many batches may always be in flight; more only while all of them together stay below a size, beyond which they would do no more than queue at the node. */
const IN_FLIGHT_ALWAYS = 5
const IN_FLIGHT_BYTES_MAX = 2 * 1024 * 1024

/** By how much the window grows with each acknowledgement. Slowly: a refusal costs more than the room it looks for. */
const WINDOW_GROWTH = 1 / 8

export class PartitionQueue {
  readonly topic: string
  readonly partition: number
  open: OutBatch | undefined
  readonly waiting: OutBatch[] = []
  readonly inFlight: OutBatch[] = []
  /** Undefined: needs one before anything is sent. */
  identity: Identity | undefined
  /** A failure is being worked off: nothing is sent until nothing is in flight. */
  isRecovering = false
  /** Waits before a retry, or for a leader or an id. */
  isPaused = false
  failureCount = 0
  /** The longest a node asked to wait, since the failure. */
  retryAfterMs = 0
  /** Batches that were certainly not written, whose sequences the ones behind them take. */
  readonly gaps: OutBatch[] = []
  /** The partition must go on under another id: a batch was given up that may be written, as others may be, or the node has lost track. */
  needsRenewal = false
  readonly #inFlightMax: number
  /** How many may be in flight now: half as many after each failure, one more after a few acknowledgements. A node at its limit is not sent what it refuses. */
  #window: number
  readonly #buffers: BatchBuffers
  #nextOrder = 0
  #expectedBytes = 0

  constructor(topic: string, partition: number, inFlightMax: number, buffers: BatchBuffers) {
    this.topic = topic
    this.partition = partition
    this.#inFlightMax = inFlightMax
    this.#window = inFlightMax
    this.#buffers = buffers
  }

  /** The order the next batch will have. */
  get nextOrder(): number {
    return this.#nextOrder
  }

  get isIdle(): boolean {
    return this.open === undefined && this.waiting.length === 0 && this.inFlight.length === 0
  }

  /** The oldest batch whose records have not been told. One that was put back may be older than those in flight. */
  get oldest(): OutBatch | undefined {
    const flying = this.inFlight.find((batch) => !batch.isSettled)
    const waiting = this.waiting.find((batch) => !batch.isSettled)
    if (flying === undefined || waiting === undefined) return flying ?? waiting ?? this.open
    return flying.order < waiting.order ? flying : waiting
  }

  /** Adds a record to the open batch, closing it first when it would grow beyond `batchBytes`. */
  append(record: EncodedRecord, group: SendGroup | undefined, index: number, batchBytes: number, nowMs: number): void {
    if (this.open !== undefined && this.open.builder.sizeBytes + record.sizeBytes > batchBytes) this.closeOpen()
    if (this.open === undefined) {
      const buffer = this.#buffers.take(Math.max(BATCH_BYTES_INITIAL, Math.min(batchBytes, this.#expectedBytes)))
      this.open = new OutBatch(this.topic, this.partition, this.#nextOrder++, nowMs, buffer)
    }
    this.open.append(record, group, index)
  }

  closeOpen(): void {
    if (this.open === undefined) return
    this.waiting.push(this.open)
    // Should the next one be a little larger, it does not grow.
    this.#expectedBytes = Math.ceil(this.open.builder.sizeBytes * 1.25)
    this.open = undefined
  }

  /** True when a batch may be sent now. An open batch is closed for it when nothing else is under way, or when it waited for `lingerMs`. */
  isSendable(nowMs: number, lingerMs: number): boolean {
    if (this.isPaused || !this.#hasRoom || (this.isRecovering && this.inFlight.length > 0)) return false
    if (this.waiting.length > 0) return true
    return this.open !== undefined && this.inFlight.length === 0 && nowMs - this.open.createdMs >= lingerMs
  }

  /** The next batch, built and stamped, now in flight. Only when `isSendable`. */
  take(compression: CompressionName): OutBatch {
    if (this.waiting.length === 0) this.closeOpen()
    const batch = this.waiting.shift() as OutBatch
    const stamp = this.#stamp(batch)
    if (batch.bytes === undefined) batch.bytes = build(batch.builder, compression, stamp)
    else if (batch.identity !== this.identity) {
      // An earlier attempt may yet be on its way, with the bytes as they were.
      batch.bytes = Buffer.from(batch.bytes)
      patchProducer(batch.bytes, 0, stamp)
    }
    batch.identity = this.identity
    batch.attemptCount++
    this.inFlight.push(batch)
    return batch
  }

  /** Takes an acknowledged batch out. Of several attempts an earlier one may yet be on its way, with the batch in its hands. */
  acknowledged(batch: OutBatch): void {
    this.finish(batch)
    this.#window = Math.min(this.#inFlightMax, this.#window + WINDOW_GROWTH)
    if (batch.attemptCount === 1) this.#buffers.giveBack(batch.builder.buffer)
  }

  /** Everything that was in flight has been answered, some of it with a failure. */
  recovered(): void {
    this.isRecovering = false
    this.#window = Math.max(1, this.#window / 2)
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

  /** For one more batch in flight. */
  get #hasRoom(): boolean {
    const { identity, inFlight } = this
    const isUnknown = identity !== undefined && identity.id >= 0 && !identity.isKnown
    if (inFlight.length >= (isUnknown ? 1 : Math.floor(this.#window))) return false
    return inFlight.length < IN_FLIGHT_ALWAYS || inFlight.reduce((sum, { bytes }) => sum + (bytes?.length ?? 0), 0) < IN_FLIGHT_BYTES_MAX
  }

  #stamp(batch: OutBatch): ProducerStamp {
    const { identity } = this
    if (identity === undefined || identity.id < 0) return NO_PRODUCER
    if (batch.baseSequence < 0 || batch.identity !== identity) {
      batch.baseSequence = identity.nextSequence
      identity.nextSequence = sequenceAfter(identity.nextSequence, batch.recordCount)
    }
    return { id: identity.id, epoch: identity.epoch, baseSequence: batch.baseSequence }
  }
}

/** Bytes that do not compress would grow, perhaps beyond what the topic allows: they stay as they are. */
function build(builder: BatchBuilder, compression: CompressionName, stamp: ProducerStamp): Buffer {
  const bytes = builder.buildSync(compression, stamp)
  return compression !== 'none' && bytes.length >= builder.sizeBytes ? builder.buildSync('none', stamp) : bytes
}
