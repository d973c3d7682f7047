/** From times to offsets, exact to the record. */
import { readBaseOffset, readLastOffset, readMaxTimestamp } from '../protocol/batch-header.ts'
import { readRecords } from '../protocol/batch-reader.ts'
import type { Segment } from './segment.ts'

export interface TimedOffset {
  readonly offset: number
  readonly timestampMs: number
}

/** The first record in `[startOffset, endOffset)` whose timestamp is `timestampMs` or later. */
export async function findTimestamp(
  segments: readonly Segment[],
  timestampMs: number,
  startOffset: number,
  endOffset: number,
  intervalBytes: number,
): Promise<TimedOffset | undefined> {
  for (const segment of [...segments]) {
    const { times } = await segment.indexes(intervalBytes)
    if ((segment.maxTimestamp ?? times.maxTimestamp) < timestampMs) continue
    const from = Math.max(startOffset, segment.baseOffset + times.lookup(timestampMs))
    const batch = await firstBatch(segment, from, endOffset, intervalBytes, (candidate) => readMaxTimestamp(candidate) >= timestampMs)
    const found = batch && (await readRecords(batch)).find((record) => record.timestampMs >= timestampMs && record.offset >= startOffset && record.offset < endOffset)
    if (found !== undefined) return { offset: found.offset, timestampMs: found.timestampMs }
  }
  return undefined
}

/** The first of the records with the largest timestamp in `[startOffset, endOffset)`. */
export async function findMaxTimestamp(segments: readonly Segment[], startOffset: number, endOffset: number, intervalBytes: number): Promise<TimedOffset | undefined> {
  let largest = -1
  for (const segment of [...segments]) {
    if (segment.baseOffset >= endOffset) break
    const { times } = await segment.indexes(intervalBytes)
    largest = Math.max(largest, segment.maxTimestamp ?? times.maxTimestamp)
  }
  if (largest < 0) return undefined
  // The largest may lie outside the range, deleted or not yet committed; then the batches have to be looked at.
  return (await findTimestamp(segments, largest, startOffset, endOffset, intervalBytes)) ?? scanForMax(segments, startOffset, endOffset)
}

async function scanForMax(segments: readonly Segment[], startOffset: number, endOffset: number): Promise<TimedOffset | undefined> {
  let best: { readonly batch: Buffer; readonly timestampMs: number } | undefined
  for (const segment of [...segments]) {
    await segment.scan(0, segment.sizeBytes, false, ({ buffer }) => {
      const isInside = readLastOffset(buffer) >= startOffset && readBaseOffset(buffer) < endOffset
      if (isInside && readMaxTimestamp(buffer) > (best?.timestampMs ?? -1)) best = { batch: Buffer.from(buffer), timestampMs: readMaxTimestamp(buffer) }
    })
  }
  if (best === undefined) return undefined
  const records = (await readRecords(best.batch)).filter((record) => record.offset >= startOffset && record.offset < endOffset)
  const youngest = records.reduce((a, b) => (b.timestampMs > a.timestampMs ? b : a), { offset: -1, timestampMs: -1 })
  return youngest.offset < 0 ? undefined : { offset: youngest.offset, timestampMs: youngest.timestampMs }
}

/** The first batch from `offset` on that `accept` takes. */
async function firstBatch(segment: Segment, offset: number, endOffset: number, intervalBytes: number, accept: (batch: Buffer) => boolean): Promise<Buffer | undefined> {
  let next = offset
  while (next < endOffset) {
    const batch = await segment.read(next, 0, endOffset, intervalBytes)
    if (batch === undefined) return undefined
    if (accept(batch)) return batch
    next = readLastOffset(batch) + 1
  }
  return undefined
}
