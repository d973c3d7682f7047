/**
 * The header of a record batch (format v2, magic 2), read, checked and patched without decoding its records.
 * `batch-layout.ts` has the bytes.
 *
 * The two fields a leader sets lie before the checksum's range, so an append costs a check and two writes of a
 * few bytes, and the bytes a client sent are the bytes on disk.
 */
import { AT, readInt64, writeInt64 } from './batch-layout.ts'
import { crc32c } from './crc32c.ts'
import { TidemarkError } from './errors.ts'
import { walkRecords } from './record-walk.ts'
import type { Cursor } from './varint.ts'

export const BATCH_HEADER_BYTES = 61
/** Bytes before and including the length field: what `batchLength` does not count. */
export const BATCH_LENGTH_OVERHEAD_BYTES = 12

const MAGIC = 2
export const CODEC_MASK = 0x07
const CODEC_MAX = 4
const APPEND_TIME_BIT = 0x08
const TRANSACTIONAL_BIT = 0x10
const CONTROL_BIT = 0x20
export const DELETE_HORIZON_BIT = 0x40
const KNOWN_BITS = 0x7f

/** A record of the smallest size: six one-byte fields and its length. */
const RECORD_MIN_BYTES = 7

/** Sequences and offset deltas are 31-bit. */
const INT31_MAX = 0x7fffffff

/** The fields of a batch header. Timestamps in milliseconds since 1970. */
export interface BatchHeader {
  readonly baseOffset: number
  /** Of the whole batch, header included. */
  readonly sizeBytes: number
  readonly leaderEpoch: number
  readonly crc: number
  readonly attributes: number
  readonly lastOffset: number
  readonly baseTimestamp: number
  readonly maxTimestamp: number
  /** -1: none. */
  readonly producerId: number
  readonly producerEpoch: number
  readonly baseSequence: number
  readonly recordCount: number
}

/** Reads the header of a batch known to be whole. Throws `CORRUPT_BATCH` when a 64-bit field passes 2^53. */
export function readBatchHeader(buffer: Buffer, at = 0): BatchHeader {
  const baseOffset = readBaseOffset(buffer, at)
  return {
    baseOffset,
    sizeBytes: readBatchSize(buffer, at),
    leaderEpoch: buffer.readInt32BE(at + AT.leaderEpoch),
    crc: buffer.readUInt32BE(at + AT.crc),
    attributes: readAttributes(buffer, at),
    lastOffset: baseOffset + readLastOffsetDelta(buffer, at),
    baseTimestamp: readBaseTimestamp(buffer, at),
    maxTimestamp: readMaxTimestamp(buffer, at),
    producerId: readProducerId(buffer, at),
    producerEpoch: readProducerEpoch(buffer, at),
    baseSequence: readBaseSequence(buffer, at),
    recordCount: readRecordCount(buffer, at),
  }
}

export function readBaseOffset(buffer: Buffer, at = 0): number {
  return readInt64(buffer, at + AT.baseOffset)
}

/** Of the whole batch, as the header claims. See `batchSizeAt` for a claim that is not trusted yet. */
export function readBatchSize(buffer: Buffer, at = 0): number {
  return buffer.readInt32BE(at + AT.batchLength) + BATCH_LENGTH_OVERHEAD_BYTES
}

export function readLeaderEpoch(buffer: Buffer, at = 0): number {
  return buffer.readInt32BE(at + AT.leaderEpoch)
}

export function readAttributes(buffer: Buffer, at = 0): number {
  return buffer.readInt16BE(at + AT.attributes)
}

export function readLastOffsetDelta(buffer: Buffer, at = 0): number {
  return buffer.readInt32BE(at + AT.lastOffsetDelta)
}

export function readLastOffset(buffer: Buffer, at = 0): number {
  return readBaseOffset(buffer, at) + readLastOffsetDelta(buffer, at)
}

export function readBaseTimestamp(buffer: Buffer, at = 0): number {
  return readInt64(buffer, at + AT.baseTimestamp)
}

export function readMaxTimestamp(buffer: Buffer, at = 0): number {
  return readInt64(buffer, at + AT.maxTimestamp)
}

export function readProducerId(buffer: Buffer, at = 0): number {
  return readInt64(buffer, at + AT.producerId)
}

export function readProducerEpoch(buffer: Buffer, at = 0): number {
  return buffer.readInt16BE(at + AT.producerEpoch)
}

export function readBaseSequence(buffer: Buffer, at = 0): number {
  return buffer.readInt32BE(at + AT.baseSequence)
}

export function readRecordCount(buffer: Buffer, at = 0): number {
  return buffer.readInt32BE(at + AT.recordCount)
}

/** The codec number of a batch: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd. */
export function codecOf(attributes: number): number {
  return attributes & CODEC_MASK
}

/** True when the node stamped the time, and `maxTimestamp` is the time of every record. */
export function isAppendTime(attributes: number): boolean {
  return (attributes & APPEND_TIME_BIT) !== 0
}

export function isControl(attributes: number): boolean {
  return (attributes & CONTROL_BIT) !== 0
}

/**
 * The size of the batch at `at`, its header having been read as far as the length field, with the claim
 * checked against the format's minimum and `maxBytes`. Undefined when `buffer[at, end)` is too short to tell. Throws
 * `CORRUPT_BATCH` on a claim that cannot be true.
 */
export function batchSizeAt(buffer: Buffer, at: number, end: number, maxBytes: number): number | undefined {
  if (end - at < BATCH_LENGTH_OVERHEAD_BYTES) return undefined
  const sizeBytes = readBatchSize(buffer, at)
  if (sizeBytes < BATCH_HEADER_BYTES || sizeBytes > maxBytes) {
    throw new TidemarkError('CORRUPT_BATCH', `a batch claims ${sizeBytes} bytes, possible are ${BATCH_HEADER_BYTES} to ${maxBytes}`)
  }
  return sizeBytes
}

/** True when the checksum of the whole batch at `at` is right. */
export function isChecksumRight(buffer: Buffer, at = 0): boolean {
  return crc32c(buffer, at + AT.attributes, at + readBatchSize(buffer, at)) === buffer.readUInt32BE(at + AT.crc)
}

/**
 * Checks one batch as a producer sent it: `buffer` is exactly the batch. Throws `CORRUPT_BATCH`,
 * `INVALID_RECORD`, `INVALID_TIMESTAMP` or `UNSUPPORTED_COMPRESSION` with the rule that is broken. The
 * records of an uncompressed batch are walked by their lengths, so that no client can
 * store what consumers would choke on; compressed ones are trusted to their checksum. `needsKeys`: none may be without a key.
 */
export function validateProducedBatch(buffer: Buffer, limits: { readonly timestampMaxMs: number; readonly needsKeys?: boolean }): void {
  if (buffer.length < BATCH_HEADER_BYTES)
    throw corrupt(`a batch of ${buffer.length} bytes is shorter than its header (${BATCH_HEADER_BYTES})`)
  const claimedBytes = readBatchSize(buffer)
  if (claimedBytes !== buffer.length)
    throw corrupt(`a batch claims ${claimedBytes} bytes and has ${buffer.length}; one batch per partition and request`)
  const magic = buffer[AT.magic]
  if (magic !== MAGIC) throw corrupt(`record format ${magic} is not supported, only ${MAGIC}`)
  if (!isChecksumRight(buffer)) throw corrupt('the checksum of a batch is wrong')
  validateAttributes(readAttributes(buffer))
  validateCounts(buffer)
  validateTimestamps(buffer, limits.timestampMaxMs)
  validateProducer(buffer)
  if (codecOf(readAttributes(buffer)) === 0)
    validateRecords(buffer, { buffer, position: BATCH_HEADER_BYTES, end: buffer.length }, limits.needsKeys === true)
}

/** Walks the records of a batch, which lie, decompressed, where `cursor` begins. */
export function validateRecords(batch: Buffer, cursor: Cursor, needsKeys: boolean): void {
  walkRecords(cursor, {
    recordCount: readRecordCount(batch),
    baseTimestamp: readBaseTimestamp(batch),
    maxTimestamp: readMaxTimestamp(batch),
    needsKeys,
  })
}

function validateAttributes(attributes: number): void {
  if ((attributes & ~KNOWN_BITS) !== 0) throw corrupt(`unknown attribute bits 0x${(attributes & 0xffff).toString(16)}`)
  if (codecOf(attributes) > CODEC_MAX)
    throw new TidemarkError('UNSUPPORTED_COMPRESSION', `compression codec ${codecOf(attributes)} is unknown`)
  if ((attributes & APPEND_TIME_BIT) !== 0) throw new TidemarkError('INVALID_TIMESTAMP', 'only the node may mark a batch as append time')
  if ((attributes & (TRANSACTIONAL_BIT | CONTROL_BIT | DELETE_HORIZON_BIT)) !== 0) {
    throw new TidemarkError('INVALID_RECORD', 'transactional, control and delete-horizon batches are not accepted from producers')
  }
}

function validateCounts(buffer: Buffer): void {
  const recordCount = readRecordCount(buffer)
  const lastOffsetDelta = readLastOffsetDelta(buffer)
  if (recordCount <= 0) throw new TidemarkError('INVALID_RECORD', `a batch has ${recordCount} records, at least one is needed`)
  if (lastOffsetDelta !== recordCount - 1) throw corrupt(`a batch of ${recordCount} records has the last offset delta ${lastOffsetDelta}`)
  const isUncompressed = codecOf(readAttributes(buffer)) === 0
  if (isUncompressed && recordCount > (buffer.length - BATCH_HEADER_BYTES) / RECORD_MIN_BYTES) {
    throw corrupt(`${recordCount} records cannot fit into ${buffer.length} bytes`)
  }
}

function validateTimestamps(buffer: Buffer, timestampMaxMs: number): void {
  const maxTimestamp = readMaxTimestamp(buffer)
  const baseTimestamp = readBaseTimestamp(buffer)
  if (maxTimestamp < 0 || baseTimestamp < 0)
    throw new TidemarkError('INVALID_TIMESTAMP', `timestamp ${Math.min(maxTimestamp, baseTimestamp)} lies before 1970`)
  if (maxTimestamp > timestampMaxMs) {
    throw new TidemarkError(
      'INVALID_TIMESTAMP',
      `timestamp ${maxTimestamp} lies too far in the future, the latest allowed is ${timestampMaxMs}`,
    )
  }
}

function validateProducer(buffer: Buffer): void {
  const producerId = readProducerId(buffer)
  if (producerId === -1) return
  if (producerId < 0) throw corrupt(`producer id ${producerId}`)
  if (readProducerEpoch(buffer) < 0 || readBaseSequence(buffer) < 0)
    throw corrupt('a batch with a producer id needs an epoch and a sequence')
}

/** Writes the two fields that are the leader's. `baseOffset + lastOffsetDelta` must stay below 2^53. */
export function patchBatch(buffer: Buffer, at: number, baseOffset: number, leaderEpoch: number): void {
  writeInt64(buffer, baseOffset, at + AT.baseOffset)
  buffer.writeInt32BE(leaderEpoch, at + AT.leaderEpoch)
}

/** Marks the batch as stamped by the node at `timestampMs` and renews the checksum. */
export function stampAppendTime(buffer: Buffer, at: number, timestampMs: number): void {
  buffer.writeInt16BE(readAttributes(buffer, at) | APPEND_TIME_BIT, at + AT.attributes)
  writeInt64(buffer, timestampMs, at + AT.maxTimestamp)
  renewChecksum(buffer, at)
}

/** Gives a built batch another producer identity or sequence and renews the checksum. */
export function patchProducer(
  buffer: Buffer,
  at: number,
  producer: { readonly id: number; readonly epoch: number; readonly baseSequence: number },
): void {
  writeInt64(buffer, producer.id, at + AT.producerId)
  buffer.writeInt16BE(producer.epoch, at + AT.producerEpoch)
  buffer.writeInt32BE(producer.baseSequence, at + AT.baseSequence)
  renewChecksum(buffer, at)
}

/** Writes a whole header at `at` for records that follow it, checksum included. */
export function writeBatchHeader(
  buffer: Buffer,
  at: number,
  sizeBytes: number,
  fields: {
    readonly codec: number
    readonly recordCount: number
    readonly baseTimestamp: number
    readonly maxTimestamp: number
    readonly producerId: number
    readonly producerEpoch: number
    readonly baseSequence: number
  },
): void {
  writeInt64(buffer, 0, at + AT.baseOffset)
  buffer.writeInt32BE(sizeBytes - BATCH_LENGTH_OVERHEAD_BYTES, at + AT.batchLength)
  buffer.writeInt32BE(-1, at + AT.leaderEpoch)
  buffer[at + AT.magic] = MAGIC
  buffer.writeInt16BE(fields.codec, at + AT.attributes)
  buffer.writeInt32BE(fields.recordCount - 1, at + AT.lastOffsetDelta)
  writeInt64(buffer, fields.baseTimestamp, at + AT.baseTimestamp)
  writeInt64(buffer, fields.maxTimestamp, at + AT.maxTimestamp)
  writeInt64(buffer, fields.producerId, at + AT.producerId)
  buffer.writeInt16BE(fields.producerEpoch, at + AT.producerEpoch)
  buffer.writeInt32BE(fields.baseSequence, at + AT.baseSequence)
  buffer.writeInt32BE(fields.recordCount, at + AT.recordCount)
  renewChecksum(buffer, at)
}

/** After a change of what the checksum covers. */
export function renewChecksum(buffer: Buffer, at: number): void {
  buffer.writeUInt32BE(crc32c(buffer, at + AT.attributes, at + readBatchSize(buffer, at)), at + AT.crc)
}

/** The sequence that follows `sequence` after `count` records, in arithmetic modulo 2^31. */
export function sequenceAfter(sequence: number, count: number): number {
  const sum = sequence + count
  return sum > INT31_MAX ? sum - INT31_MAX - 1 : sum
}

function corrupt(detail: string): TidemarkError {
  return new TidemarkError('CORRUPT_BATCH', detail, { outcome: 'failed' })
}
