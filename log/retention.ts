/** Moves the start of a log: on request, or because of what retention no longer keeps. Whole segments go, on the log's writer. */
import { isRetentionLimited, type TopicConfig } from '../protocol/topic-config.ts'
import type { LogWriter } from './log-writer.ts'
import type { Segment } from './segment.ts'
import type { LogUpkeep } from './upkeep.ts'

export interface RetentionParts {
  readonly upkeep: LogUpkeep
  readonly writer: LogWriter
  readonly config: () => TopicConfig
  readonly nowMs: () => number
  /** The log start has moved. */
  readonly moved: () => void
}

export class LogRetention {
  readonly #parts: RetentionParts

  constructor(parts: RetentionParts) {
    this.#parts = parts
  }

  /** Moves the log start up to `offset`, at most the flushed end, and removes the segments wholly below. */
  deleteBefore(offset: number): Promise<void> {
    const { upkeep, writer } = this.#parts
    return writer.run(async () => {
      const newStart = Math.min(offset, writer.commit.flushedOffset)
      if (newStart <= upkeep.logStartOffset) return
      const { segments } = upkeep
      const goneCount = segments.filter((_, at) => (segments[at + 1]?.baseOffset ?? Number.POSITIVE_INFINITY) <= newStart).length
      await this.#moveStart(newStart, goneCount)
    })
  }

  /** Removes the segments that retention no longer keeps, all below `highWatermark`; returns how many. */
  async apply(highWatermark: number): Promise<number> {
    const { upkeep, writer, config } = this.#parts
    const nowMs = this.#parts.nowMs()
    let goneCount = 0
    if (upkeep.active === undefined) return 0
    await writer.run(async () => {
      if (writer.isRollDueByAge(nowMs)) await writer.roll()
      if (!isRetentionLimited(config())) return
      const { segments } = upkeep
      goneCount = await expiredSegmentCount(segments, config(), highWatermark, writer.commit.writtenOffset, nowMs)
      if (goneCount === 0) return
      if (goneCount === segments.length) await writer.roll()
      await this.#moveStart(Math.max(upkeep.logStartOffset, (segments[goneCount] as Segment).baseOffset), goneCount)
    })
    return goneCount
  }

  async #moveStart(offset: number, goneCount: number): Promise<void> {
    const { upkeep, writer, config, moved } = this.#parts
    await upkeep.moveLogStart(offset, goneCount, writer.commit.flushedOffset, config().fileDeleteDelayMs)
    moved()
  }
}

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
