/**
 * What compaction leaves of a batch: the newest record of each key, records without a key, and records without a value (tombstones) until
 * their time has come. Offsets, sequence and leader epoch stay, and the codec.
 */
import {
  BATCH_HEADER_BYTES,
  codecOf,
  isAppendTime,
  isControl,
  readAttributes,
  readBaseOffset,
  readBaseTimestamp,
  readLastOffset,
  readMaxTimestamp,
  readRecordCount,
} from '../protocol/batch-header.ts'
import { readDeleteHorizon, withoutRecords, withRecords } from '../protocol/batch-rewrite.ts'
import { compressAside, decompressAside } from '../protocol/compression-aside.ts'
import { compressionOfNumber, DECOMPRESSED_BYTES_MAX_DEFAULT } from '../protocol/compression.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { RecordCursor } from '../protocol/record-cursor.ts'
import { varintSize, writeVarint } from '../protocol/varint.ts'
import { BATCH_BYTES_MAX } from './batch-walk.ts'
import type { CompactionPace } from './compaction-pace.ts'
import type { KeyOffsets } from './key-offsets.ts'

/** Records looked at before the clock is. */
export const LOOK_EVERY = 256

/** How soon, at least, a log is compacted again because of tombstones that had to stay. */
const LOOK_AGAIN_MS = 60_000

/** Most bytes by which a record grows when its timestamp counts from another time. */
const GROWTH_MAX = 16

/** What reading a batch fails with when its records are none. */
const UNREADABLE: ReadonlySet<string> = new Set(['CORRUPT_BATCH', 'LIMIT_EXCEEDED', 'UNSUPPORTED_COMPRESSION'])

export interface CleaningRules {
  /** The newest offset of each key that has a record between where the last pass ended and `endOffset`. */
  readonly keys: KeyOffsets
  /** What lies at or beyond it stays as it is. */
  readonly endOffset: number
  /** Tombstones at or beyond stay, though their time is over. */
  readonly tombstonesStayFrom: number
  readonly nowMs: number
  readonly deleteRetentionMs: number
  readonly pace: CompactionPace
  readonly signal: AbortSignal
  /** Stays, though none of its records does. */
  isNeeded(batch: Buffer): boolean
}

export interface CleaningCounts {
  removedCount: number
  /** The latest time until which a tombstone that is left has to stay; 0: there is none. */
  tombstonesUntilMs: number
  /** Batches nobody can read, which stay as they are. */
  unreadableCount: number
}

/** The batch itself when all of it stays, undefined when nothing does. */
export async function cleanBatch(batch: Buffer, rules: CleaningRules, counts: CleaningCounts): Promise<Buffer | undefined> {
  if (readBaseOffset(batch) >= rules.endOffset || isControl(readAttributes(batch))) return batch
  const recordCount = readRecordCount(batch)
  if (recordCount === 0) return rules.isNeeded(batch) ? batch : undefined
  const plain = await readPlain(batch, rules.pace, rules.signal)
  if (plain === undefined) {
    counts.unreadableCount++
    return batch
  }
  const kept = await choose(batch, plain, rules)
  counts.removedCount += recordCount - kept.count
  if (kept.count === 0) return rules.isNeeded(batch) ? withoutRecords(batch) : undefined
  const horizonMs = readDeleteHorizon(batch)
  // A tombstone at or beyond the end has yet to do its work: its time begins with the pass that goes beyond the batch.
  const isFirstSight = kept.hasTombstone && horizonMs === undefined && readLastOffset(batch) < rules.endOffset
  if (kept.count === recordCount && !isFirstSight) {
    noteTombstones(batch, kept, rules, counts)
    return batch
  }
  const cleaned = await rebuild(batch, plain, kept, isFirstSight ? rules.nowMs + rules.deleteRetentionMs : undefined)
  noteTombstones(cleaned, kept, rules, counts)
  return cleaned
}

/** The bytes its records are in; undefined when nobody can read them. */
export async function readPlain(batch: Buffer, pace: CompactionPace, signal: AbortSignal): Promise<Buffer | undefined> {
  try {
    const codec = codecOf(readAttributes(batch))
    const packed = batch.subarray(BATCH_HEADER_BYTES)
    const plain = codec === 0 ? batch : await decompressAside(compressionOfNumber(codec), packed, DECOMPRESSED_BYTES_MAX_DEFAULT)
    const record = new RecordCursor(batch, plain)
    for (let index = 1; record.next(); index++) if (index % LOOK_EVERY === 0 && pace.isTurnOver) await pace.pause(signal)
    return plain
  } catch (error) {
    // Under a checksum that is right a producer may have sent anything for a compressed stream.
    if (TidemarkError.is(error) && UNREADABLE.has(error.code)) return undefined
    throw error
  }
}

/** What stays of the records of a batch. */
interface Kept {
  readonly count: number
  /** Begin and end of each run of them. */
  readonly runs: readonly number[]
  readonly maxTimestamp: number
  readonly hasTombstone: boolean
}

function noteTombstones(batch: Buffer, { hasTombstone }: Kept, rules: CleaningRules, counts: CleaningCounts): void {
  const horizonMs = hasTombstone ? readDeleteHorizon(batch) : undefined
  if (horizonMs === undefined) return
  // One that stays though its time is over is looked at again, but not all the time.
  const againMs = horizonMs > rules.nowMs ? horizonMs : rules.nowMs + Math.max(rules.deleteRetentionMs, LOOK_AGAIN_MS)
  counts.tombstonesUntilMs = Math.max(counts.tombstonesUntilMs, againMs)
}

async function choose(batch: Buffer, plain: Buffer, rules: CleaningRules): Promise<Kept> {
  const { pace, signal, nowMs, tombstonesStayFrom } = rules
  const baseOffset = readBaseOffset(batch)
  const baseTimestamp = readBaseTimestamp(batch)
  const areTombstonesDue = nowMs >= (readDeleteHorizon(batch) ?? Number.POSITIVE_INFINITY)
  const dueBelow = areTombstonesDue ? tombstonesStayFrom - baseOffset : 0
  const record = new RecordCursor(batch, plain)
  const runs: number[] = []
  let count = 0
  let hasTombstone = false
  let maxTimestamp = 0
  for (let index = 1; record.next(); index++) {
    if (index % LOOK_EVERY === 0 && pace.isTurnOver) await pace.pause(signal)
    const isTombstone = !record.hasValue && record.keyStart >= 0
    if (isSuperseded(record, plain, baseOffset, rules) || (isTombstone && record.offsetDelta < dueBelow)) continue
    count++
    hasTombstone ||= isTombstone
    maxTimestamp = Math.max(maxTimestamp, baseTimestamp + record.timestampDelta)
    if (runs.at(-1) === record.start) runs[runs.length - 1] = record.end
    else runs.push(record.start, record.end)
  }
  return { count, runs, hasTombstone, maxTimestamp: isAppendTime(readAttributes(batch)) ? readMaxTimestamp(batch) : maxTimestamp }
}

function isSuperseded(record: RecordCursor, plain: Buffer, baseOffset: number, { keys, endOffset }: CleaningRules): boolean {
  const offset = baseOffset + record.offsetDelta
  if (record.keyStart < 0 || offset >= endOffset || keys.keyCount === 0) return false
  return keys.newestOf(plain, record.keyStart, record.keyEnd) > offset
}

/** `horizonMs`: the batch gets it. */
async function rebuild(batch: Buffer, plain: Buffer, kept: Kept, horizonMs: number | undefined): Promise<Buffer> {
  const codec = codecOf(readAttributes(batch))
  const records = horizonMs === undefined ? joinRuns(plain, kept.runs) : retime(batch, plain, kept, horizonMs)
  const packed = codec === 0 ? records : await compressAside(compressionOfNumber(codec), records)
  const { count: recordCount, maxTimestamp } = kept
  if (BATCH_HEADER_BYTES + packed.length <= BATCH_BYTES_MAX)
    return withRecords(batch, { records: packed, recordCount, maxTimestamp, deleteHorizonMs: horizonMs })
  // It would not be taken for a batch any more. Without a horizon it has no new timestamps; its tombstones stay for ever.
  if (horizonMs !== undefined) return rebuild(batch, plain, kept, undefined)
  throw new TidemarkError('LIMIT_EXCEEDED', `a batch compresses to ${packed.length} bytes, more than the ${batch.length} it had`)
}

function joinRuns(plain: Buffer, runs: readonly number[]): Buffer {
  const pieces: Buffer[] = []
  for (let at = 0; at < runs.length; at += 2) pieces.push(plain.subarray(runs[at], runs[at + 1]))
  return Buffer.concat(pieces)
}

/** The records in the runs, their timestamps counted from `horizonMs`. */
function retime(batch: Buffer, plain: Buffer, { runs, count }: Kept, horizonMs: number): Buffer {
  const shift = readBaseTimestamp(batch) - horizonMs
  const record = new RecordCursor(batch, plain)
  const out = Buffer.allocUnsafeSlow(plain.length + count * GROWTH_MAX)
  let end = 0
  for (let run = 0; record.next(); ) {
    while (run < runs.length && (runs[run + 1] as number) <= record.start) run += 2
    if (run >= runs.length || record.start < (runs[run] as number)) continue
    const timestampDelta = record.timestampDelta + shift
    end = writeVarint(out, 1 + varintSize(timestampDelta) + record.end - record.restStart, end)
    out[end++] = record.attributes
    end = writeVarint(out, timestampDelta, end)
    end += plain.copy(out, end, record.restStart, record.end)
  }
  return out.subarray(0, end)
}
