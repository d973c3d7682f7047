/** Reads one log: from the tail cache, else from its segments. Answers only what the caller may see, below the end offset it names. */
import { readBatchSize, readLastOffset, readLeaderEpoch } from '../protocol/batch-header.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { TopicConfig } from '../protocol/topic-config.ts'
import type { Wanted } from './batch-walk.ts'
import { asStorageError } from './directory-health.ts'
import type { GroupCommit } from './group-commit.ts'
import type { LeaderEpochs } from './leader-epochs.ts'
import type { LogTail } from './tail-cache.ts'
import { findMaxTimestamp, findTimestamp, type OffsetRange, type TimedOffset } from './time-lookup.ts'
import type { LogUpkeep } from './upkeep.ts'

export interface ReaderParts {
  readonly tail: LogTail
  readonly upkeep: LogUpkeep
  readonly commit: GroupCommit
}

/** The log that is read. */
export interface ReaderOwner {
  readonly topic: string
  readonly partition: number
  readonly directory: string
  readonly config: TopicConfig
  readonly logEndOffset: number
  readonly leaderEpochs: LeaderEpochs
  /** The disk does not give back what was written. */
  damaged(error: TidemarkError): void
}

export class LogReader {
  readonly #owner: ReaderOwner
  readonly #parts: ReaderParts

  constructor(owner: ReaderOwner, parts: ReaderParts) {
    this.#owner = owner
    this.#parts = parts
  }

  readCached(offset: number, maxBytes: number, endOffset: number): Buffer[] | undefined {
    this.#checkOffset(offset)
    if (offset >= Math.min(endOffset, this.#owner.logEndOffset)) return []
    return this.#parts.tail.read(offset, maxBytes, endOffset)
  }

  async read(offset: number, maxBytes: number, endOffset: number, isSuspect: boolean): Promise<Buffer[]> {
    const cached = this.readCached(offset, maxBytes, endOffset)
    if (cached !== undefined && !isSuspect) return cached
    return this.#onPresentSegments((end, sparseBelow) =>
      this.#readFromDisk({ offset, maxBytes, endOffset: Math.min(endOffset, end), sparseBelow, checkCrc: isSuspect }),
    ).catch((error: unknown) => {
      this.#checkOffset(offset)
      throw error
    })
  }

  offsetForTimestamp(timestampMs: number, endOffset: number): Promise<TimedOffset | undefined> {
    const { indexIntervalBytes } = this.#owner.config
    return this.#lookUp(endOffset, (range) => findTimestamp(this.#parts.upkeep.segments, timestampMs, range, indexIntervalBytes))
  }

  offsetOfMaxTimestamp(endOffset: number): Promise<TimedOffset | undefined> {
    const { indexIntervalBytes } = this.#owner.config
    return this.#lookUp(endOffset, (range) => findMaxTimestamp(this.#parts.upkeep.segments, range, indexIntervalBytes))
  }

  #checkOffset(offset: number): void {
    const { topic, partition, logEndOffset } = this.#owner
    const { logStartOffset } = this.#parts.upkeep
    if (offset >= logStartOffset && offset <= logEndOffset) return
    throw new TidemarkError(
      'OFFSET_OUT_OF_RANGE',
      `offset ${offset} of ${topic}-${partition} is outside ${logStartOffset} to ${logEndOffset}`,
    )
  }

  async #readFromDisk(wanted: Wanted): Promise<Buffer[]> {
    if (wanted.offset >= wanted.endOffset) return []
    const { segments } = this.#parts.upkeep
    const first = segments.findLastIndex((segment) => segment.baseOffset <= wanted.offset)
    const from = segments.slice(Math.max(0, first))
    for (const [at, segment] of from.entries()) {
      const found = await segment.read(wanted, this.#owner.config.indexIntervalBytes)
      if (found !== undefined) return [this.#ofRightEpochs(found, segment.path)]
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

  async #lookUp<T extends TimedOffset | undefined>(endOffset: number, find: (range: OffsetRange) => Promise<T>): Promise<T> {
    const { commit, upkeep } = this.#parts
    // With durability none readers may see what is not written yet; look-ups go through the files.
    const visibleEnd = Math.min(endOffset, this.#owner.logEndOffset)
    if (commit.writtenOffset < visibleEnd) await commit.whenFlushed(visibleEnd)
    for (;;) {
      const found = await this.#onPresentSegments((end, sparseBelow) =>
        find({ startOffset: upkeep.logStartOffset, endOffset: Math.min(endOffset, end), sparseBelow }),
      )
      // A record that was deleted while it was being looked for is no answer. Each round has a later start.
      if (found === undefined || found.offset >= upkeep.logStartOffset) return found
    }
  }

  /** Retention and compaction may remove a segment while it is being read: then it is read again, from what there is by now. */
  async #onPresentSegments<T>(work: (writtenOffset: number, sparseBelow: number) => Promise<T>): Promise<T> {
    const { upkeep, commit } = this.#parts
    for (;;) {
      const { removalCount } = upkeep
      try {
        return await work(commit.writtenOffset, upkeep.compaction.sparseBelow)
      } catch (error) {
        if (upkeep.removalCount === removalCount) throw this.#failure(error)
      }
    }
  }

  /** The checksum of a batch does not cover its epoch; the log knows which it is. What lies before a wrong one is sound. */
  #ofRightEpochs(batches: Buffer, path: string | undefined): Buffer {
    let known = { epoch: -1, endOffset: 0 }
    for (let at = 0; at < batches.length; at += readBatchSize(batches, at)) {
      const offset = readLastOffset(batches, at)
      if (offset >= known.endOffset) known = this.#owner.leaderEpochs.at(offset)
      const epoch = readLeaderEpoch(batches, at)
      if (epoch === known.epoch || known.epoch < 0) continue
      if (at > 0) return batches.subarray(0, at)
      throw new TidemarkError(
        'CORRUPT_LOG',
        `${path}: the batch up to offset ${offset} has leader epoch ${epoch} instead of ${known.epoch}`,
      )
    }
    return batches
  }

  #failure(error: unknown): unknown {
    if (TidemarkError.is(error) && error.code === 'CORRUPT_LOG') this.#owner.damaged(error)
    return asStorageError(error, this.#owner.directory)
  }
}
