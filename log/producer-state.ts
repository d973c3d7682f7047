/**
 * Idempotence: which batches of which producers a partition has seen.
 *
 * Per producer the newest batches (`DUPLICATE_WINDOW` that are written, and any not yet written) with their sequences. A batch
 * that is one of them again is a duplicate and gets its first offsets; the next in sequence is accepted; anything else is refused.
 * Sequences count modulo 2^31. A producer that is not known (new, expired, its data deleted) may start anywhere.
 *
 * ```
 * <offset>.snapshot = int16 version (2), uint32 CRC-32C of the rest, int32 count, producers
 * producer          = int64 id, int64 lastSeenMs, int32 count, batches
 * batch             = int16 epoch, int32 baseSequence, int32 lastSequence, int64 baseOffset, int64 lastOffset
 * ```
 * All big-endian. (Version 1 is Kafka's, which keeps only the last batch.)
 */
import { sequenceAfter } from '../protocol/batch-header.ts'
import { crc32c } from '../protocol/crc32c.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { DUPLICATE_WINDOW } from '../protocol/ids.ts'

/** A producer silent for this long is forgotten. */
export const PRODUCER_EXPIRY_MS: number = 24 * 3_600_000

/** Producers remembered per partition; beyond that the one silent for longest is forgotten. */
export const PRODUCERS_MAX = 100_000

export interface ProducerBatch {
  readonly producerId: number
  readonly epoch: number
  readonly baseSequence: number
  readonly recordCount: number
}

interface SeenBatch {
  readonly epoch: number
  readonly baseSequence: number
  readonly lastSequence: number
  readonly baseOffset: number
  readonly lastOffset: number
}

interface Producer {
  lastSeenMs: number
  /** Oldest first, never empty. */
  batches: SeenBatch[]
}

export class ProducerState {
  /** In order of last use, least recent first. */
  readonly #producers = new Map<number, Producer>()

  get producerCount(): number {
    return this.#producers.size
  }

  /** The offsets of the first copy when the batch is a duplicate, undefined when it may be appended. Throws when it may not. */
  check(batch: ProducerBatch): { readonly baseOffset: number; readonly lastOffset: number } | undefined {
    const producer = this.#producers.get(batch.producerId)
    const last = producer?.batches.at(-1)
    if (producer === undefined || last === undefined) return undefined
    if (batch.epoch < last.epoch) {
      throw refused('INVALID_PRODUCER_EPOCH', `producer ${batch.producerId} has epoch ${last.epoch}, the batch ${batch.epoch}`)
    }
    if (batch.epoch > last.epoch) {
      if (batch.baseSequence === 0) return undefined
      throw refused(
        'OUT_OF_ORDER_SEQUENCE',
        `producer ${batch.producerId} starts epoch ${batch.epoch} with sequence ${batch.baseSequence}, expected 0`,
      )
    }
    const expected = sequenceAfter(last.lastSequence, 1)
    if (batch.baseSequence === expected) return undefined
    const lastSequence = sequenceAfter(batch.baseSequence, batch.recordCount - 1)
    const isSame = (one: SeenBatch): boolean =>
      one.epoch === batch.epoch && one.baseSequence === batch.baseSequence && one.lastSequence === lastSequence
    const seen = producer.batches.slice(-DUPLICATE_WINDOW).find(isSame)
    if (seen !== undefined) return seen
    throw refused('OUT_OF_ORDER_SEQUENCE', `producer ${batch.producerId} sent sequence ${batch.baseSequence}, expected ${expected}`)
  }

  /** Whether a retry of the batch at `baseOffset` would be known for a duplicate. */
  remembers(producerId: number, baseOffset: number): boolean {
    return this.#producers.get(producerId)?.batches.some((batch) => batch.baseOffset === baseOffset) === true
  }

  /**
   * Notes a batch that was appended at `baseOffset`. Batches at or above `writtenOffset` may still be taken back
   * by `truncate`, so the window counts only those below.
   */
  update(batch: ProducerBatch, baseOffset: number, nowMs: number, writtenOffset: number): void {
    const seen: SeenBatch = {
      epoch: batch.epoch,
      baseSequence: batch.baseSequence,
      lastSequence: sequenceAfter(batch.baseSequence, batch.recordCount - 1),
      baseOffset,
      lastOffset: baseOffset + batch.recordCount - 1,
    }
    const producer = this.#producers.get(batch.producerId)
    if (producer === undefined) {
      this.#producers.set(batch.producerId, { lastSeenMs: nowMs, batches: [seen] })
      if (this.#producers.size > PRODUCERS_MAX) this.#forgetOldest()
      return
    }
    producer.lastSeenMs = nowMs
    producer.batches.push(seen)
    while (producer.batches.length > DUPLICATE_WINDOW && (producer.batches[DUPLICATE_WINDOW] as SeenBatch).lastOffset < writtenOffset)
      producer.batches.shift()
    // To the end of the map: last used.
    this.#producers.delete(batch.producerId)
    this.#producers.set(batch.producerId, producer)
  }

  /** Takes back what was appended at or above `offset`. */
  truncate(offset: number): void {
    for (const [id, producer] of this.#producers) {
      producer.batches = producer.batches.filter((batch) => batch.baseOffset < offset)
      if (producer.batches.length === 0) this.#producers.delete(id)
    }
  }

  /** Forgets producers that were silent for too long. */
  expire(nowMs: number): void {
    for (const [id, producer] of this.#producers) {
      if (nowMs - producer.lastSeenMs <= PRODUCER_EXPIRY_MS) break
      this.#producers.delete(id)
    }
  }

  /** The snapshot for `endOffset`: what was appended at or above it is left out, for it may yet be lost. */
  serialize(endOffset: number): Buffer {
    const kept = [...this.#producers].flatMap(([id, { lastSeenMs, batches }]) => {
      const durable = batches.filter((batch) => batch.lastOffset < endOffset).slice(-DUPLICATE_WINDOW)
      return durable.length === 0 ? [] : [{ id, lastSeenMs, batches: durable }]
    })
    const out = Buffer.alloc(kept.reduce((sum, producer) => sum + PRODUCER_BYTES + producer.batches.length * BATCH_BYTES, HEADER_BYTES))
    out.writeInt16BE(VERSION, 0)
    out.writeInt32BE(kept.length, 6)
    let at = HEADER_BYTES
    for (const producer of kept) {
      out.writeBigInt64BE(BigInt(producer.id), at)
      out.writeBigInt64BE(BigInt(Math.floor(producer.lastSeenMs)), at + 8)
      out.writeInt32BE(producer.batches.length, at + 16)
      at += PRODUCER_BYTES
      for (const batch of producer.batches) {
        writeSeenBatch(out, batch, at)
        at += BATCH_BYTES
      }
    }
    out.writeUInt32BE(crc32c(out, 6), 2)
    return out
  }

  /** Undefined when the bytes are not a sound snapshot: the state is then rebuilt from an older one, or the log. */
  static parse(content: Buffer): ProducerState | undefined {
    if (content.length < HEADER_BYTES || content.readInt16BE(0) !== VERSION || content.readUInt32BE(2) !== crc32c(content, 6))
      return undefined
    const state = new ProducerState()
    const producerCount = content.readInt32BE(6)
    let at = HEADER_BYTES
    for (let index = 0; index < producerCount; index++) {
      if (content.length - at < PRODUCER_BYTES) return undefined
      const id = Number(content.readBigInt64BE(at))
      const lastSeenMs = Number(content.readBigInt64BE(at + 8))
      const batchCount = content.readInt32BE(at + 16)
      at += PRODUCER_BYTES
      if (batchCount <= 0 || batchCount > (content.length - at) / BATCH_BYTES) return undefined
      const batches = Array.from({ length: batchCount }, (_, batch) => readSeenBatch(content, at + batch * BATCH_BYTES))
      at += batchCount * BATCH_BYTES
      // What a number cannot hold was never written by us, and could not be written again.
      const numbers = [id, lastSeenMs, ...batches.flatMap(({ baseOffset, lastOffset }) => [baseOffset, lastOffset])]
      if (!numbers.every(Number.isSafeInteger)) return undefined
      state.#producers.set(id, { lastSeenMs, batches })
    }
    return at === content.length ? state : undefined
  }

  #forgetOldest(): void {
    const [oldest] = this.#producers.keys()
    if (oldest !== undefined) this.#producers.delete(oldest)
  }
}

const VERSION = 2
const HEADER_BYTES = 10
const PRODUCER_BYTES = 20
const BATCH_BYTES = 26

function writeSeenBatch(out: Buffer, batch: SeenBatch, at: number): void {
  out.writeInt16BE(batch.epoch, at)
  out.writeInt32BE(batch.baseSequence, at + 2)
  out.writeInt32BE(batch.lastSequence, at + 6)
  out.writeBigInt64BE(BigInt(batch.baseOffset), at + 10)
  out.writeBigInt64BE(BigInt(batch.lastOffset), at + 18)
}

function readSeenBatch(content: Buffer, at: number): SeenBatch {
  return {
    epoch: content.readInt16BE(at),
    baseSequence: content.readInt32BE(at + 2),
    lastSequence: content.readInt32BE(at + 6),
    baseOffset: Number(content.readBigInt64BE(at + 10)),
    lastOffset: Number(content.readBigInt64BE(at + 18)),
  }
}

function refused(code: 'INVALID_PRODUCER_EPOCH' | 'OUT_OF_ORDER_SEQUENCE', detail: string): TidemarkError {
  return new TidemarkError(code, detail, { outcome: 'failed' })
}
