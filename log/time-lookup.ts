/** From times to offsets, exact to the record. */
import { readBaseOffset, readBatchSize, readLastOffset, readMaxTimestamp } from '../protocol/batch-header.ts'
import { type RecordView, readRecords } from '../protocol/batch-reader.ts'
import type { Segment } from './segment.ts'

export interface TimedOffset {
  readonly offset: number
  readonly timestampMs: number
}

/** The offsets looked at: `[startOffset, endOffset)`, of which some may be missing below `sparseBelow`. */
export interface OffsetRange {
  readonly startOffset: number
  readonly endOffset: number
  readonly sparseBelow: number
}

/** Read at once when looking for a batch. */
const STEP_BYTES = 128 * 1024

/** The first record in the range whose timestamp is `timestampMs` or later. */
export async function findTimestamp(
  segments: readonly Segment[],
  timestampMs: number,
  range: OffsetRange,
  intervalBytes: number,
): Promise<TimedOffset | undefined> {
  for (const segment of [...segments]) {
    if (segment.baseOffset >= range.endOffset) break
    const { times } = await segment.indexes(intervalBytes)
    if ((segment.maxTimestamp ?? times.maxTimestamp) < timestampMs) continue
    const from = Math.max(range.startOffset, await segment.lookUpTime(timestampMs, intervalBytes))
    for await (const batch of batchesOf(segment, { ...range, startOffset: from }, intervalBytes)) {
      if (readMaxTimestamp(batch) < timestampMs) continue
      const found = (await recordsIn(batch, range)).find((record) => record.timestampMs >= timestampMs)
      // A producer's maximum may be larger than any of its records.
      if (found !== undefined) return { offset: found.offset, timestampMs: found.timestampMs }
    }
  }
  return undefined
}

/** The first of the records with the largest timestamp in the range. */
export async function findMaxTimestamp(
  segments: readonly Segment[],
  range: OffsetRange,
  intervalBytes: number,
): Promise<TimedOffset | undefined> {
  let largest = -1
  for (const segment of [...segments]) {
    if (segment.baseOffset >= range.endOffset) break
    const { times } = await segment.indexes(intervalBytes)
    largest = Math.max(largest, segment.maxTimestamp ?? times.maxTimestamp)
  }
  if (largest < 0) return undefined
  // The largest may lie outside the range, deleted or not yet committed; then all batches have to be looked at.
  return (await findTimestamp(segments, largest, range, intervalBytes)) ?? scanForMax(segments, range, intervalBytes)
}

async function scanForMax(segments: readonly Segment[], range: OffsetRange, intervalBytes: number): Promise<TimedOffset | undefined> {
  let best: TimedOffset | undefined
  for (const segment of [...segments]) {
    for await (const batch of batchesOf(segment, range, intervalBytes)) {
      if (readMaxTimestamp(batch) <= (best?.timestampMs ?? -1)) continue
      for (const { offset, timestampMs } of await recordsIn(batch, range))
        if (timestampMs > (best?.timestampMs ?? -1)) best = { offset, timestampMs }
    }
  }
  return best
}

async function recordsIn(batch: Buffer, range: OffsetRange): Promise<RecordView[]> {
  const records = await readRecords(batch)
  return records.filter(({ offset }) => offset >= range.startOffset && offset < range.endOffset)
}

/** The batches of a segment that have an offset in the range, in order. */
async function* batchesOf(segment: Segment, range: OffsetRange, intervalBytes: number): AsyncGenerator<Buffer> {
  let next = Math.max(range.startOffset, segment.baseOffset)
  while (next < range.endOffset) {
    const { endOffset, sparseBelow } = range
    const batches = await segment.read({ offset: next, maxBytes: STEP_BYTES, endOffset, sparseBelow, checkCrc: true }, intervalBytes)
    if (batches === undefined) return
    for (let at = 0; at < batches.length; at += readBatchSize(batches, at)) {
      if (readBaseOffset(batches, at) >= range.endOffset) return
      yield batches.subarray(at, at + readBatchSize(batches, at))
      next = readLastOffset(batches, at) + 1
    }
  }
}
