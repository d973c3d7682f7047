/** Which part of a log may be compacted, whether that is worth while, and in which portions. */
import { readMaxTimestamp } from '../protocol/batch-header.ts'
import type { TopicConfig } from '../protocol/topic-config.ts'
import type { CompactionState } from './checkpoint.ts'
import { RELATIVE_OFFSET_MAX, type Segment } from './segment.ts'

/** A sealed segment and where the next one begins. */
export interface SealedSegment {
  readonly segment: Segment
  readonly endOffset: number
}

/** What a log has to compact. */
export interface Cleanable {
  /** From the first segment of the log on. */
  readonly segments: readonly SealedSegment[]
  /** Their end. */
  readonly endOffset: number
  /** Up to here only the newest record of each key is left. */
  readonly cleanOffset: number
  readonly dirtyBytes: number
  readonly totalBytes: number
}

type Lag = Pick<TopicConfig, 'minCompactionLagMs' | 'indexIntervalBytes'>

/** The segments that may be compacted: sealed, committed, and with no record younger than the lag. */
export async function findCleanable(
  segments: readonly Segment[],
  state: CompactionState,
  highWatermark: number,
  config: Lag,
  nowMs: number,
): Promise<Cleanable> {
  const found: SealedSegment[] = []
  for (const [at, segment] of segments.slice(0, -1).entries()) {
    const endOffset = (segments[at + 1] as Segment).baseOffset
    if (endOffset > highWatermark || (await isTooYoung(segment, config, nowMs))) break
    found.push({ segment, endOffset })
  }
  const isDirty = ({ endOffset }: SealedSegment): boolean => endOffset > state.cleanOffset
  return {
    segments: found,
    endOffset: found.at(-1)?.endOffset ?? 0,
    cleanOffset: state.cleanOffset,
    dirtyBytes: bytesOf(found.filter(isDirty)),
    totalBytes: bytesOf(found),
  }
}

async function isTooYoung(segment: Segment, { minCompactionLagMs, indexIntervalBytes }: Lag, nowMs: number): Promise<boolean> {
  if (minCompactionLagMs === 0) return false
  if (segment.maxTimestamp === undefined) await segment.indexes(indexIntervalBytes)
  return nowMs - (segment.maxTimestamp ?? nowMs) < minCompactionLagMs
}

/** The share of it that was written since the last time; 0 when there is nothing to do. */
export function dirtyRatioOf({ dirtyBytes, totalBytes }: Cleanable): number {
  return dirtyBytes === 0 ? 0 : dirtyBytes / totalBytes
}

/** Whether the oldest records that were not compacted yet have waited for longer than `lagMaxMs`. */
export async function hasWaitedLong({ segments, cleanOffset }: Cleanable, config: TopicConfig, nowMs: number): Promise<boolean> {
  const { maxCompactionLagMs, indexIntervalBytes } = config
  const first = segments.find(({ endOffset }) => endOffset > cleanOffset)
  if (maxCompactionLagMs === Number.POSITIVE_INFINITY || first === undefined) return false
  const { segment, endOffset } = first
  const oldest = { offset: segment.baseOffset, maxBytes: 0, endOffset, sparseBelow: endOffset, checkCrc: true }
  const batches = await segment.read(oldest, indexIntervalBytes)
  return batches !== undefined && nowMs - readMaxTimestamp(batches) > maxCompactionLagMs
}

/** Neighbours that become one segment each, up to where `endOffset` lies: no larger than a segment may be before they are compacted. */
export function groupSegments(segments: readonly SealedSegment[], endOffset: number, segmentBytes: number): SealedSegment[][] {
  const groups: SealedSegment[][] = []
  let bytes = 0
  for (const sealed of segments) {
    const { segment } = sealed
    if (segment.baseOffset >= endOffset) break
    const group = groups.at(-1)
    const isWithin = group !== undefined && sealed.endOffset - (group[0] as SealedSegment).segment.baseOffset <= RELATIVE_OFFSET_MAX
    if (isWithin && bytes + segment.sizeBytes <= segmentBytes) group.push(sealed)
    else {
      groups.push([sealed])
      bytes = 0
    }
    bytes += segment.sizeBytes
  }
  return groups
}

function bytesOf(segments: readonly SealedSegment[]): number {
  return segments.reduce((sum, { segment }) => sum + segment.sizeBytes, 0)
}
