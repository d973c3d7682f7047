/**
 * Follows the records of an uncompressed batch by their lengths, allocating nothing: what a node stores, every
 * consumer can read.
 */
import { TidemarkError } from './errors.ts'
import { type Cursor, readVarint } from './varint.ts'

export interface WalkedBatch {
  readonly recordCount: number
  readonly baseTimestamp: number
  readonly maxTimestamp: number
  /** The topic is compacted. */
  readonly needsKeys: boolean
}

/**
 * Every record lies within the batch and has its place as offset delta and a time up to the batch's
 * latest; nothing is left over. Throws `CORRUPT_BATCH`, `INVALID_TIMESTAMP` or `INVALID_RECORD` with the record that breaks the rule.
 */
export function walkRecords(cursor: Cursor, batch: WalkedBatch): void {
  const { recordCount, baseTimestamp, maxTimestamp, needsKeys } = batch
  for (let index = 0; index < recordCount; index++) {
    const length = readVarint(cursor)
    const recordEnd = cursor.position + length
    if (length < 0 || recordEnd > cursor.end) throw corrupt(`record ${index} claims ${length} bytes, more than the batch has left`)
    cursor.position++
    const timestamp = baseTimestamp + readVarint(cursor)
    if (timestamp < 0 || timestamp > maxTimestamp) throw badTimestamp(index, timestamp, maxTimestamp)
    const offsetDelta = readVarint(cursor)
    if (offsetDelta !== index) throw corrupt(`record ${index} has the offset delta ${offsetDelta}`)
    if (skipBytes(cursor, recordEnd, index) < 0 && needsKeys) throw keyless(index)
    skipBytes(cursor, recordEnd, index)
    const headerCount = readVarint(cursor)
    if (headerCount !== 0) skipHeaders(cursor, recordEnd, headerCount, index)
    if (cursor.position !== recordEnd) throw corrupt(`record ${index} does not end where it says`)
  }
  if (cursor.position !== cursor.end) throw corrupt(`${cursor.end - cursor.position} bytes are left after the last record`)
}

function skipHeaders(cursor: Cursor, recordEnd: number, count: number, index: number): void {
  // A header takes at least two bytes.
  if (count < 0 || count > (recordEnd - cursor.position) / 2) throw corrupt(`record ${index} claims ${count} headers`)
  for (let header = 0; header < count; header++) {
    if (skipBytes(cursor, recordEnd, index) < 0) throw corrupt(`a header of record ${index} has no name`)
    skipBytes(cursor, recordEnd, index)
  }
}

/** Skips a length and as many bytes. Returns the length: -1 is null. */
function skipBytes(cursor: Cursor, recordEnd: number, index: number): number {
  const length = readVarint(cursor)
  if (length < -1 || cursor.position + length > recordEnd) throw corrupt(`a field of record ${index} claims ${length} bytes`)
  if (length > 0) cursor.position += length
  return length
}

function badTimestamp(index: number, timestamp: number, maxTimestamp: number): TidemarkError {
  return new TidemarkError(
    'INVALID_TIMESTAMP',
    `record ${index} has the timestamp ${timestamp}, possible are 0 to the batch's latest, ${maxTimestamp}`,
    { outcome: 'failed' },
  )
}

function keyless(index: number): TidemarkError {
  return new TidemarkError(
    'INVALID_RECORD',
    `record ${index} has no key, and the topic is compacted: it keeps the newest record of each key`,
    {
      outcome: 'failed',
    },
  )
}

function corrupt(detail: string): TidemarkError {
  return new TidemarkError('CORRUPT_BATCH', detail, { outcome: 'failed' })
}
