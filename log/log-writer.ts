/**
 * The decisions of one log's writer: into which segment the next batch goes, when to roll, what a failure means.
 *
 * `GroupCommit` does the writing and asks here; everything runs between two writes.
 */
import { TidemarkError } from '../protocol/errors.ts'
import { isCompacted, type TopicConfig } from '../protocol/topic-config.ts'
import { asStorageError, isDiskBroken, isDiskFull } from './directory-health.ts'
import { type CommitOwner, GroupCommit } from './group-commit.ts'
import { RELATIVE_OFFSET_MAX, type Segment } from './segment.ts'
import type { CachedBatch, LogTail } from './tail-cache.ts'
import type { LogUpkeep, UpkeepParts } from './upkeep.ts'

/** After so many bytes a checkpoint is made, so that recovery walks no more than about this. */
const CHECKPOINT_EVERY_BYTES = 64 * 1024 * 1024

export interface WriterParts extends UpkeepParts {
  readonly tail: LogTail
}

/** The log that is written. */
export interface WriterOwner {
  readonly directory: string
  readonly config: TopicConfig
  /** The written or flushed offset moved. */
  progressed(hasWritten: boolean): void
  /** Takes back every append at or above `offset`. */
  undoFrom(offset: number, error: TidemarkError): void
  /** What was durable is not as it was written. */
  damaged(error: TidemarkError): void
}

export class LogWriter implements CommitOwner {
  readonly commit: GroupCommit
  readonly #owner: WriterOwner
  readonly #parts: WriterParts
  readonly #upkeep: LogUpkeep

  constructor(owner: WriterOwner, parts: WriterParts, upkeep: LogUpkeep, endOffset: number) {
    this.#owner = owner
    this.#parts = parts
    this.#upkeep = upkeep
    const { clock, timers } = parts.runtime
    this.commit = new GroupCommit(this, { clock, timers, health: parts.health }, endOffset)
  }

  /** Runs `job` between two writes, all that is written being durable. */
  async run(job: () => Promise<void>): Promise<void> {
    const { health } = this.#parts
    try {
      await this.commit.run(async () => {
        health.checkTrusted()
        await this.commit.whenFlushed(this.commit.writtenOffset)
        await job()
      })
    } catch (error) {
      if (isDiskFull(error)) throw health.full(error)
      if (isDiskBroken(error)) health.fail(`${this.#owner.directory}: upkeep failed`, error)
      throw asStorageError(error, this.#owner.directory)
    }
  }

  /** Seals the active segment and begins the next. Between two writes. */
  async roll(): Promise<Segment> {
    await this.commit.whenFlushed(this.commit.writtenOffset)
    return this.#upkeep.roll(this.commit.flushedOffset, this.#owner.config.indexIntervalBytes)
  }

  isRollDueByAge(nowMs: number): boolean {
    const { config } = this.#owner
    const firstAppendMs = this.#upkeep.active?.firstAppendMs
    // The active segment is never compacted.
    const ageMaxMs = isCompacted(config) ? Math.min(config.segmentMs, config.maxCompactionLagMs) : config.segmentMs
    return firstAppendMs !== undefined && nowMs - firstAppendMs > ageMaxMs
  }

  get syncsAtOnce(): boolean {
    return this.#owner.config.durability === 'fsync'
  }

  async segmentFor(next: CachedBatch): Promise<Segment> {
    const { config } = this.#owner
    const active = await this.#upkeep.prepareActive(this.commit.writtenOffset, config.indexIntervalBytes)
    const isFull = active.sizeBytes > 0 && active.sizeBytes + next.buffer.length > config.segmentBytes
    const isOffsetSpanFull = next.lastOffset - active.baseOffset > RELATIVE_OFFSET_MAX
    if (isFull || isOffsetSpanFull || this.isRollDueByAge(this.#parts.runtime.clock.now()))
      return this.#startingFor(next, await this.roll())
    if (this.#upkeep.bytesSinceCheckpoint > CHECKPOINT_EVERY_BYTES || this.#upkeep.isSparsenessNew) {
      await this.commit.whenFlushed(this.commit.writtenOffset)
      await this.#upkeep.checkpoint(this.commit.flushedOffset)
    }
    return this.#startingFor(next, active)
  }

  /** The segment, or another one if it is empty and `next`, behind a gap of the leader's compacted log, is too far from where it begins. */
  async #startingFor(next: CachedBatch, active: Segment): Promise<Segment> {
    const isWithin = next.baseOffset >= active.baseOffset && next.lastOffset - active.baseOffset <= RELATIVE_OFFSET_MAX
    return isWithin ? active : this.#upkeep.beginAnew(next.baseOffset)
  }

  roomIn(segment: Segment): number {
    return this.#owner.config.segmentBytes - segment.sizeBytes
  }

  wrote(segment: Segment, group: readonly CachedBatch[], position: number): void {
    const nowMs = this.#parts.runtime.clock.now()
    let at = position
    for (const { buffer } of group) {
      segment.noteBatch(buffer, at, this.#owner.config.indexIntervalBytes, nowMs)
      at += buffer.length
    }
    this.#upkeep.noteWritten(at - position)
    this.#parts.tail.setWritten(this.commit.writtenOffset)
    this.#owner.progressed(true)
  }

  synced(): void {
    this.#owner.progressed(false)
  }

  /** A full disk takes back what it did not take, as does a log that is not what it should be; any other failure ends the directory. */
  async writeFailed(error: unknown): Promise<void> {
    const { health, runtime } = this.#parts
    if (health.failure !== undefined) return
    if (TidemarkError.is(error) && error.code === 'CORRUPT_LOG') {
      this.#owner.undoFrom(this.commit.writtenOffset, error)
      this.#owner.damaged(error)
      return
    }
    if (!isDiskFull(error)) {
      health.fail(`${this.#owner.directory}: writing failed`, error)
      return
    }
    const full = health.full(error)
    runtime.log.warn('disk.full', { directory: this.#owner.directory, code: full.code })
    this.#owner.undoFrom(this.commit.writtenOffset, full)
    await this.#cutTornWrite()
  }

  syncFailed(error: unknown): void {
    this.#parts.health.fail(`${this.#owner.directory}: fdatasync failed`, error)
  }

  /** Removes what a failed write left behind the last whole batch, for good: a crash must not bring it back. */
  async #cutTornWrite(): Promise<void> {
    const { active } = this.#upkeep
    if (active === undefined) return
    try {
      const lease = await active.leaseLog()
      try {
        await lease.handle.truncate(active.sizeBytes)
        await lease.handle.datasync()
      } finally {
        lease.release()
      }
    } catch (error) {
      this.#parts.health.fail(`${active.path}: cutting a torn write failed`, error)
    }
  }
}
