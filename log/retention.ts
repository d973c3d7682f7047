/** Which segments retention no longer keeps. */
import type { TopicConfig } from '../protocol/topic-config.ts'
import type { Segment } from './segment.ts'

/**
 * How many segments, counted from the oldest, are to go: too old by their youngest record, or more than the
 * partition may hold. Only whole segments below the high watermark; the active one, which ends at `endOffset`, may be among
 * them by age, when it is not empty.
 */
export async function expiredSegmentCount(
  segments: readonly Segment[],
  config: Pick<TopicConfig, 'retentionMs' | 'retentionBytes' | 'indexIntervalBytes'>,
  highWatermark: number,
  endOffset: number,
  nowMs: number,
): Promise<number> {
  let surplusBytes = segments.reduce((sum, segment) => sum + segment.sizeBytes, 0) - config.retentionBytes
  let count = 0
  for (const [at, segment] of segments.entries()) {
    const nextBase = segments[at + 1]?.baseOffset
    const isCommitted = (nextBase ?? endOffset) <= highWatermark
    if (!isCommitted || segment.sizeBytes === 0) break
    const isTooMuch = nextBase !== undefined && surplusBytes >= segment.sizeBytes
    if (!isTooMuch && !(await isTooOld(segment, config, nowMs))) break
    surplusBytes -= segment.sizeBytes
    count++
  }
  return count
}

async function isTooOld(
  segment: Segment,
  config: Pick<TopicConfig, 'retentionMs' | 'indexIntervalBytes'>,
  nowMs: number,
): Promise<boolean> {
  if (config.retentionMs === Number.POSITIVE_INFINITY) return false
  if (segment.maxTimestamp === undefined) await segment.indexes(config.indexIntervalBytes)
  return nowMs - (segment.maxTimestamp ?? nowMs) > config.retentionMs
}
