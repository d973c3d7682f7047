/**
 * Reads records out of record batches as they come from a log: slices, no copies.
 */
import {
  BATCH_HEADER_BYTES,
  type BatchHeader,
  batchSizeAt,
  codecOf,
  isAppendTime,
  isChecksumRight,
  isControl,
  readBatchHeader,
} from './batch-header.ts'
import { compressionOfNumber, DECOMPRESSED_BYTES_MAX_DEFAULT, loadCodec } from './compression.ts'
import { TidemarkError } from './errors.ts'
import { type Cursor, readVarint } from './varint.ts'

/** A record as it lies in a batch. Buffers are slices of the batch: they keep it in memory, and must not be changed. */
export interface RecordView {
  readonly offset: number
  readonly timestampMs: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly (readonly [name: string, value: Buffer | null])[]
}

export interface BatchReadOptions {
  /** Default true. */
  readonly checkCrc?: boolean
  /** What one batch may decompress to; default 64 MiB. */
  readonly maxDecompressedBytes?: number
}

/** A batch of a larger claim is damage, not data. */
const BATCH_BYTES_MAX = 2 ** 31 - 1

const NO_HEADERS: RecordView['headers'] = []

/** The batches that lie back to back in `buffer`, in order. Throws `CORRUPT_BATCH` when one is cut off. */
export function splitBatches(buffer: Buffer): Buffer[] {
  const batches: Buffer[] = []
  for (let at = 0; at < buffer.length; ) {
    const sizeBytes = batchSizeAt(buffer, at, buffer.length, BATCH_BYTES_MAX)
    if (sizeBytes === undefined || sizeBytes > buffer.length - at)
      throw new TidemarkError('CORRUPT_BATCH', `a batch is cut off: ${buffer.length - at} bytes are left`)
    batches.push(buffer.subarray(at, at + sizeBytes))
    at += sizeBytes
  }
  return batches
}

/** The records of one whole batch. Control batches have none for readers. Throws `CORRUPT_BATCH` and codec errors. */
export async function readRecords(batch: Buffer, options: BatchReadOptions = {}): Promise<RecordView[]> {
  const header = checkedHeader(batch, options)
  if (isControl(header.attributes) || header.recordCount === 0) return []
  const codecId = codecOf(header.attributes)
  if (codecId === 0) return decodeRecords(batch, BATCH_HEADER_BYTES, header)
  const codec = await loadCodec(compressionOfNumber(codecId))
  const plain = codec.decompress(batch.subarray(BATCH_HEADER_BYTES), options.maxDecompressedBytes ?? DECOMPRESSED_BYTES_MAX_DEFAULT)
  return decodeRecords(plain, 0, header)
}

function checkedHeader(batch: Buffer, options: BatchReadOptions): BatchHeader {
  const sizeBytes = batchSizeAt(batch, 0, batch.length, batch.length)
  if (sizeBytes !== batch.length) throw new TidemarkError('CORRUPT_BATCH', `a batch claims ${sizeBytes} bytes and has ${batch.length}`)
  const header = readBatchHeader(batch)
  if ((options.checkCrc ?? true) && !isChecksumRight(batch)) {
    throw new TidemarkError('CORRUPT_BATCH', `the checksum of the batch at offset ${header.baseOffset} is wrong`)
  }
  return header
}

function decodeRecords(bytes: Buffer, start: number, header: BatchHeader): RecordView[] {
  const { recordCount } = header
  // Every record takes at least seven bytes: a larger count is a lie, whatever the checksum says.
  if (recordCount < 0 || recordCount > (bytes.length - start) / 7) {
    throw new TidemarkError(
      'CORRUPT_BATCH',
      `the batch at offset ${header.baseOffset} claims ${recordCount} records in ${bytes.length - start} bytes`,
    )
  }
  const records = new Array<RecordView>(recordCount)
  const cursor: Cursor = { buffer: bytes, position: start, end: bytes.length }
  const fixedTimestamp = isAppendTime(header.attributes) ? header.maxTimestamp : undefined
  let previousOffset = header.baseOffset - 1
  for (let index = 0; index < recordCount; index++) {
    const record = decodeRecord(cursor, header, fixedTimestamp)
    // A reader goes on behind the last offset it was given: an offset that lies would make it skip or repeat records.
    if (record.offset <= previousOffset || record.offset > header.lastOffset) throw badOffset(header, record.offset)
    previousOffset = record.offset
    records[index] = record
  }
  if (cursor.position !== cursor.end)
    throw new TidemarkError('CORRUPT_BATCH', `the batch at offset ${header.baseOffset} has bytes after its last record`)
  return records
}

function decodeRecord(cursor: Cursor, header: BatchHeader, fixedTimestamp: number | undefined): RecordView {
  const length = readVarint(cursor)
  const end = cursor.position + length
  if (length < 0 || end > cursor.end) throw badRecord(header)
  cursor.position++
  const timestampMs = header.baseTimestamp + readVarint(cursor)
  const offset = header.baseOffset + readVarint(cursor)
  const key = readField(cursor, end, header)
  const value = readField(cursor, end, header)
  const headerCount = readVarint(cursor)
  const headers = headerCount === 0 ? NO_HEADERS : readHeaders(cursor, end, headerCount, header)
  if (cursor.position !== end) throw badRecord(header)
  return { offset, timestampMs: fixedTimestamp ?? timestampMs, key, value, headers }
}

function readHeaders(cursor: Cursor, end: number, count: number, header: BatchHeader): RecordView['headers'] {
  // A header takes at least two bytes.
  if (count < 0 || count > (end - cursor.position) / 2) throw badRecord(header)
  return Array.from({ length: count }, () => {
    const name = readField(cursor, end, header)
    if (name === null) throw badRecord(header)
    return [name.toString('utf8'), readField(cursor, end, header)] as const
  })
}

function readField(cursor: Cursor, end: number, header: BatchHeader): Buffer | null {
  const length = readVarint(cursor)
  if (length === -1) return null
  const start = cursor.position
  if (length < -1 || start + length > end) throw badRecord(header)
  cursor.position = start + length
  return cursor.buffer.subarray(start, start + length)
}

function badOffset(header: BatchHeader, offset: number): TidemarkError {
  return new TidemarkError('CORRUPT_BATCH', `a record of the batch ${header.baseOffset} to ${header.lastOffset} has the offset ${offset}`)
}

function badRecord(header: BatchHeader): TidemarkError {
  return new TidemarkError('CORRUPT_BATCH', `a record of the batch at offset ${header.baseOffset} does not fit its lengths`)
}
