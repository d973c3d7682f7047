/** Reads one log: from the tail cache, else from its segments. Answers only what the caller may see, below the end offset it names. */
import { TidemarkError } from '../protocol/errors.ts'
import type { TopicConfig } from '../protocol/topic-config.ts'
import type { Wanted } from './batch-walk.ts'
import { asStorageError } from './directory-health.ts'
import type { GroupCommit } from './group-commit.ts'
import type { LogTail } from './tail-cache.ts'
import { findMaxTimestamp, findTimestamp, type OffsetRange, type TimedOffset } from './time-lookup.ts'
import type { LogUpkeep } from './upkeep.ts'

export interface ReaderParts {
  readonly name: string
  readonly directory: string
  readonly tail: LogTail
  readonly upkeep: LogUpkeep
  readonly commit: GroupCommit
  readonly config: () => TopicConfig
  readonly logEndOffset: () => number
}

export class LogReader {
  readonly #parts: ReaderParts

  constructor(parts: ReaderParts) {
    this.#parts = parts
  }

  readCached(offset: number, maxBytes: number, endOffset: number): Buffer[] | undefined {
    this.#checkOffset(offset)
    if (offset >= Math.min(endOffset, this.#parts.logEndOffset())) return []
    return this.#parts.tail.read(offset, maxBytes, endOffset)
  }

  async read(offset: number, maxBytes: number, endOffset: number): Promise<Buffer[]> {
    const cached = this.readCached(offset, maxBytes, endOffset)
    if (cached !== undefined) return cached
    return this.#onPresentSegments((end, sparseBelow) =>
      this.#readFromDisk({ offset, maxBytes, endOffset: Math.min(endOffset, end), sparseBelow }),
    ).catch((error: unknown) => {
      this.#checkOffset(offset)
      throw error
    })
  }

  offsetForTimestamp(timestampMs: number, endOffset: number): Promise<TimedOffset | undefined> {
    const { upkeep, config } = this.#parts
    return this.#lookUp(endOffset, (range) => findTimestamp(upkeep.segments, timestampMs, range, config().indexIntervalBytes))
  }

  offsetOfMaxTimestamp(endOffset: number): Promise<TimedOffset | undefined> {
    const { upkeep, config } = this.#parts
    return this.#lookUp(endOffset, (range) => findMaxTimestamp(upkeep.segments, range, config().indexIntervalBytes))
  }

  #checkOffset(offset: number): void {
    const { name, upkeep, logEndOffset } = this.#parts
    if (offset >= upkeep.logStartOffset && offset <= logEndOffset()) return
    throw new TidemarkError('OFFSET_OUT_OF_RANGE', `offset ${offset} of ${name} is outside ${upkeep.logStartOffset} to ${logEndOffset()}`)
  }

  async #readFromDisk(wanted: Wanted): Promise<Buffer[]> {
    if (wanted.offset >= wanted.endOffset) return []
    const { segments } = this.#parts.upkeep
    const first = segments.findLastIndex((segment) => segment.baseOffset <= wanted.offset)
    const from = segments.slice(Math.max(0, first))
    for (const [at, segment] of from.entries()) {
      const found = await segment.read(wanted, this.#parts.config().indexIntervalBytes)
      if (found !== undefined) return [found]
      const next = from[at + 1]
      if (next === undefined || next.baseOffset > wanted.endOffset) return []
      if (next.baseOffset > wanted.sparseBelow)
        throw new TidemarkError(
          'CORRUPT_LOG',
          `${segment.path} ends before offset ${wanted.offset}, the next segment begins at ${next.baseOffset}`,
        )
    }
    return []
  }

  async #lookUp<T>(endOffset: number, find: (range: OffsetRange) => Promise<T>): Promise<T> {
    const { commit, upkeep, logEndOffset } = this.#parts
    // With durability none readers may see what is not written yet; look-ups go through the files.
    const visibleEnd = Math.min(endOffset, logEndOffset())
    if (commit.writtenOffset < visibleEnd) await commit.whenFlushed(visibleEnd)
    return this.#onPresentSegments((end, sparseBelow) =>
      find({ startOffset: upkeep.logStartOffset, endOffset: Math.min(endOffset, end), sparseBelow }),
    )
  }

  /** Retention and compaction may remove a segment while it is being read: then it is read again, from what there is by now. */
  async #onPresentSegments<T>(work: (writtenOffset: number, sparseBelow: number) => Promise<T>): Promise<T> {
    const { upkeep, commit, directory } = this.#parts
    for (;;) {
      const { removalCount } = upkeep
      try {
        return await work(commit.writtenOffset, upkeep.compaction.sparseBelow)
      } catch (error) {
        if (upkeep.removalCount === removalCount) throw asStorageError(error, directory)
      }
    }
  }
}
