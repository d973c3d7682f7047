/**
 * Builds one record batch: records are encoded into one growing buffer as they come, without an
 * object per record; the header is written in front of them at the end.
 */
import { BATCH_HEADER_BYTES, writeBatchHeader } from './batch-header.ts'
import { type CompressionName, codecNumber, loadCodec, loadedCodec } from './compression.ts'
import { TidemarkError } from './errors.ts'
import { NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE } from './ids.ts'
import { varintSize, writeVarint } from './varint.ts'

/** A record header: a name and a value that may be absent. */
export type HeaderEntry = readonly [name: string, value: Buffer | null]

/** Who writes a batch, for idempotence. */
export interface ProducerStamp {
  readonly id: number
  readonly epoch: number
  readonly baseSequence: number
}

export const NO_PRODUCER: ProducerStamp = { id: NO_PRODUCER_ID, epoch: NO_PRODUCER_EPOCH, baseSequence: NO_SEQUENCE }

/** What a batch has room for at first, when nobody knows better. */
export const BATCH_BYTES_INITIAL = 1024
const NO_HEADERS: readonly HeaderEntry[] = []

/** Most bytes a record takes beside key, value and headers: its length, attributes, two deltas and three counts. */
export const RECORD_OVERHEAD_BYTES_MAX = 32

export class BatchBuilder {
  #buffer: Buffer
  #end = BATCH_HEADER_BYTES
  #recordCount = 0
  #baseTimestamp = 0
  #maxTimestamp = 0

  /** `room`: the bytes expected, or a buffer to make the batch in. When they do not do, it goes on in a larger one. */
  constructor(room: number | Buffer = BATCH_BYTES_INITIAL) {
    this.#buffer = typeof room === 'number' ? Buffer.allocUnsafe(Math.max(BATCH_BYTES_INITIAL, room)) : room
  }

  /** What the batch lies in, unless it was compressed. */
  get buffer(): Buffer {
    return this.#buffer
  }

  get recordCount(): number {
    return this.#recordCount
  }

  /** Uncompressed, header included. */
  get sizeBytes(): number {
    return this.#end
  }

  get maxTimestamp(): number {
    return this.#maxTimestamp
  }

  /** Most bytes the batch would have with one more record. */
  static sizeBoundBytes(key: Buffer | null, value: Buffer | null, headers: readonly HeaderEntry[] = NO_HEADERS): number {
    let bytes = RECORD_OVERHEAD_BYTES_MAX + (key?.length ?? 0) + (value?.length ?? 0)
    for (const [name, headerValue] of headers) bytes += 10 + name.length * 3 + (headerValue?.length ?? 0)
    return bytes
  }

  /** Adds a record; its offset within the batch is the number of records before it. Throws `INVALID_TIMESTAMP`. */
  append(key: Buffer | null, value: Buffer | null, timestampMs: number, headers: readonly HeaderEntry[] = NO_HEADERS): void {
    if (!Number.isSafeInteger(timestampMs) || timestampMs < 0) throw badTimestamp(timestampMs)
    if (this.#recordCount === 0) {
      this.#baseTimestamp = timestampMs
      this.#maxTimestamp = timestampMs
    } else if (timestampMs > this.#maxTimestamp) {
      this.#maxTimestamp = timestampMs
    }
    const timestampDelta = timestampMs - this.#baseTimestamp
    const bodyBytes = this.#bodySize(key, value, timestampDelta, headers)
    this.#reserve(bodyBytes + 5)
    const buffer = this.#buffer
    let at = writeVarint(buffer, bodyBytes, this.#end)
    buffer[at++] = 0
    at = writeVarint(buffer, timestampDelta, at)
    at = writeVarint(buffer, this.#recordCount, at)
    at = writeBytes(buffer, key, at)
    at = writeBytes(buffer, value, at)
    at = writeVarint(buffer, headers.length, at)
    for (const [name, headerValue] of headers) {
      const nameBytes = Buffer.byteLength(name)
      at = writeVarint(buffer, nameBytes, at)
      at += buffer.write(name, at)
      at = writeBytes(buffer, headerValue, at)
    }
    this.#end = at
    this.#recordCount++
  }

  /** The finished batch. The builder is used up. */
  async build(compression: CompressionName = 'none', producer: ProducerStamp = NO_PRODUCER): Promise<Buffer> {
    if (compression !== 'none') await loadCodec(compression)
    return this.buildSync(compression, producer)
  }

  /** As `build`, for a codec that is loaded already. */
  buildSync(compression: CompressionName = 'none', producer: ProducerStamp = NO_PRODUCER): Buffer {
    if (this.#recordCount === 0) throw new TidemarkError('INTERNAL', 'an empty batch cannot be built')
    const batch = compression === 'none' ? this.#buffer.subarray(0, this.#end) : this.#compressed(compression)
    writeBatchHeader(batch, 0, batch.length, {
      codec: codecNumber(compression),
      recordCount: this.#recordCount,
      baseTimestamp: this.#baseTimestamp,
      maxTimestamp: this.#maxTimestamp,
      producerId: producer.id,
      producerEpoch: producer.epoch,
      baseSequence: producer.baseSequence,
    })
    return batch
  }

  #compressed(compression: CompressionName): Buffer {
    const codec = loadedCodec(compression)
    if (codec === undefined) throw new TidemarkError('UNSUPPORTED_COMPRESSION', `${compression} is not loaded`)
    const packed = codec.compress(this.#buffer.subarray(BATCH_HEADER_BYTES, this.#end))
    const batch = Buffer.allocUnsafe(BATCH_HEADER_BYTES + packed.length)
    packed.copy(batch, BATCH_HEADER_BYTES)
    return batch
  }

  #bodySize(key: Buffer | null, value: Buffer | null, timestampDelta: number, headers: readonly HeaderEntry[]): number {
    let bytes =
      1 + varintSize(timestampDelta) + varintSize(this.#recordCount) + fieldSize(key) + fieldSize(value) + varintSize(headers.length)
    for (const [name, headerValue] of headers) {
      const nameBytes = Buffer.byteLength(name)
      bytes += varintSize(nameBytes) + nameBytes + fieldSize(headerValue)
    }
    return bytes
  }

  #reserve(bytes: number): void {
    const needed = this.#end + bytes
    if (needed <= this.#buffer.length) return
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2))
    this.#buffer.copy(grown, 0, 0, this.#end)
    this.#buffer = grown
  }
}

function badTimestamp(timestampMs: number): TidemarkError {
  return new TidemarkError('INVALID_TIMESTAMP', `timestamp ${timestampMs} is not a whole number of milliseconds since 1970`, {
    outcome: 'failed',
  })
}

function fieldSize(field: Buffer | null): number {
  return field === null ? 1 : varintSize(field.length) + field.length
}

/** Short fields are copied by hand: a call into the runtime costs more than a few bytes. */
const COPY_BY_HAND_BYTES = 24

function writeBytes(buffer: Buffer, field: Buffer | null, position: number): number {
  if (field === null) {
    buffer[position] = 1
    return position + 1
  }
  const { length } = field
  const at = writeVarint(buffer, length, position)
  if (length <= COPY_BY_HAND_BYTES) for (let index = 0; index < length; index++) buffer[at + index] = field[index] as number
  else buffer.set(field, at)
  return at + length
}
