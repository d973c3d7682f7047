/**
 * The log of one partition.
 *
 * `append` is synchronous: it checks, assigns offsets and queues. `GroupCommit` writes and syncs what queued up, and
 * the listener hears of it.
 *
 * ```
 * logStartOffset <= flushedOffset <= writtenOffset <= logEndOffset
 *                   durable          in the kernel    assigned
 * ```
 */
import {
  patchBatch,
  readBaseSequence,
  readLastOffsetDelta,
  readProducerEpoch,
  readProducerId,
  readRecordCount,
  stampAppendTime,
  validateProducedBatch,
} from '../protocol/batch-header.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { OFFSET_MAX } from '../protocol/ids.ts'
import type { TopicConfig } from '../protocol/topic-config.ts'
import { invariant } from '../runtime/invariant.ts'
import { isDiskBroken, isDiskFull } from './directory-health.ts'
import { type CommitOwner, GroupCommit } from './group-commit.ts'
import type { LeaderEpochs } from './leader-epochs.ts'
import type { ProducerBatch, ProducerState } from './producer-state.ts'
import type { RecoveredLog } from './recovery.ts'
import { expiredSegmentCount } from './retention.ts'
import { RELATIVE_OFFSET_MAX, type Segment } from './segment.ts'
import type { CachedBatch, LogTail } from './tail-cache.ts'
import { findMaxTimestamp, findTimestamp, type TimedOffset } from './time-lookup.ts'
import { LogUpkeep, type UpkeepParts } from './upkeep.ts'

/** After so many bytes a checkpoint is made, so that recovery walks no more than about this. */
const CHECKPOINT_EVERY_BYTES = 64 * 1024 * 1024

export interface Appended {
  readonly baseOffset: number
  readonly lastOffset: number
  /** The batch was there already; the offsets are those of the first copy. */
  readonly duplicate: boolean
  /** 0 unless the topic's timestamps are append times. */
  readonly appendTimeMs: number
}

/** Told of a log's progress, synchronously. */
export interface LogListener {
  /** The written, flushed or log start offset moved. */
  advanced(): void
  /** The appends at and above `fromOffset` were taken back: they never reached the disk. */
  undone(fromOffset: number, error: TidemarkError): void
}

export interface LogDescription {
  readonly logStartOffset: number
  readonly logEndOffset: number
  readonly flushedOffset: number
  readonly sizeBytes: number
  readonly segmentCount: number
}

/** What a log needs of its data directory. */
export interface LogParts extends UpkeepParts {
  readonly tail: LogTail
  /** Asks to be flushed within a second, and checkpointed some time later. */
  readonly noteDirty: (log: PartitionLog) => void
}

export interface LogIdentity {
  readonly topic: string
  readonly partition: number
  readonly topicId: string
  readonly directory: string
}

export class PartitionLog implements CommitOwner {
  readonly topic: string
  readonly partition: number
  readonly topicId: string
  readonly directory: string
  readonly #parts: LogParts
  #config: TopicConfig
  #listener: LogListener = { advanced() {}, undone() {} }
  readonly #upkeep: LogUpkeep
  readonly #commit: GroupCommit
  readonly #producers: ProducerState
  readonly #epochs: LeaderEpochs
  #logEndOffset: number
  /** Why nothing is appended any more: closed or deleted. */
  #ended: TidemarkError | undefined

  constructor(parts: LogParts, identity: LogIdentity, config: TopicConfig, recovered: RecoveredLog) {
    this.#parts = parts
    this.topic = identity.topic
    this.partition = identity.partition
    this.topicId = identity.topicId
    this.directory = identity.directory
    this.#config = config
    this.#upkeep = new LogUpkeep(parts, identity.directory, recovered)
    this.#commit = new GroupCommit(
      this,
      { clock: parts.runtime.clock, timers: parts.runtime.timers, health: parts.health },
      recovered.logEndOffset,
    )
    this.#producers = recovered.producers
    this.#epochs = recovered.epochs
    this.#logEndOffset = recovered.logEndOffset
  }

  get logStartOffset(): number {
    return this.#upkeep.logStartOffset
  }

  /** One past the last record. */
  get logEndOffset(): number {
    return this.#logEndOffset
  }

  /** One past the last record that the kernel has. */
  get writtenOffset(): number {
    return this.#commit.writtenOffset
  }

  /** One past the last record that is on disk. */
  get flushedOffset(): number {
    return this.#commit.flushedOffset
  }

  /** Bytes appended and not yet written. */
  get unwrittenBytes(): number {
    return this.#commit.queuedBytes
  }

  /** The leader epochs of the log and where each began. */
  get leaderEpochs(): LeaderEpochs {
    return this.#epochs
  }

  get config(): TopicConfig {
    return this.#config
  }

  /** Something was written since the last checkpoint. */
  get isCheckpointDue(): boolean {
    return this.#upkeep.isCheckpointDue
  }

  setListener(listener: LogListener): void {
    this.#listener = listener
  }

  configure(config: TopicConfig): void {
    this.#config = config
    if (this.syncsAtOnce) this.#commit.syncSoon()
  }

  describe(): LogDescription {
    const { segments } = this.#upkeep
    return {
      logStartOffset: this.logStartOffset,
      logEndOffset: this.#logEndOffset,
      flushedOffset: this.flushedOffset,
      sizeBytes: segments.reduce((sum, segment) => sum + segment.sizeBytes, 0),
      segmentCount: segments.length,
    }
  }

  /**
   * Appends one batch as a producer sent it. The buffer belongs to the log from here on: its offset and epoch fields are
   * set in place. Throws what is wrong with the batch, `OUT_OF_ORDER_SEQUENCE` and `INVALID_PRODUCER_EPOCH`, `DISK_FULL`
   * or `STORAGE_FAILED`; then nothing was appended.
   */
  append(batch: Buffer, options: { readonly leaderEpoch: number }): Appended {
    if (this.#ended !== undefined) throw this.#ended
    this.#parts.health.checkWritable()
    const nowMs = this.#parts.runtime.clock.now()
    this.#checkBatch(batch, nowMs)
    const producer = producerOf(batch)
    const seen = producer && this.#producers.check(producer)
    if (seen !== undefined) return { baseOffset: seen.baseOffset, lastOffset: seen.lastOffset, duplicate: true, appendTimeMs: 0 }
    const baseOffset = this.#logEndOffset
    const endOffset = baseOffset + readLastOffsetDelta(batch) + 1
    invariant(endOffset <= OFFSET_MAX, 'a partition holds fewer than 2^53 records')
    patchBatch(batch, 0, baseOffset, options.leaderEpoch)
    const isAppendTime = this.#config.timestampType === 'append'
    if (isAppendTime) stampAppendTime(batch, 0, nowMs)
    this.#epochs.assign(options.leaderEpoch, baseOffset)
    if (producer !== undefined) this.#producers.update(producer, baseOffset, nowMs, this.#commit.writtenOffset)
    this.#logEndOffset = endOffset
    this.#commit.add(this.#parts.tail.add(batch, baseOffset))
    return { baseOffset, lastOffset: endOffset - 1, duplicate: false, appendTimeMs: isAppendTime ? nowMs : 0 }
  }

  /** As `read`, from memory and at once; undefined when the disk has to be asked. */
  readCached(offset: number, maxBytes: number, endOffset: number): Buffer[] | undefined {
    this.#checkOffset(offset)
    if (offset >= Math.min(endOffset, this.#logEndOffset)) return []
    return this.#parts.tail.read(offset, maxBytes, endOffset)
  }

  /**
   * Whole batches from the one that holds `offset`: at least one even when larger than `maxBytes`, none that reaches `endOffset`.
   * Empty at the end. Throws `OFFSET_OUT_OF_RANGE` below the log start and above the log end, `CORRUPT_LOG` for lengths
   * and offsets that cannot be right; checksums are the reader's to check.
   */
  async read(offset: number, maxBytes: number, endOffset: number): Promise<Buffer[]> {
    const cached = this.readCached(offset, maxBytes, endOffset)
    if (cached !== undefined) return cached
    try {
      return await this.#readFromDisk({ offset, maxBytes, endOffset: Math.min(endOffset, this.writtenOffset) })
    } catch (error) {
      // Retention may have removed the segment while it was being read.
      this.#checkOffset(offset)
      throw error
    }
  }

  /** The first record whose timestamp is `timestampMs` or later, below `endOffset`. */
  offsetForTimestamp(timestampMs: number, endOffset: number): Promise<TimedOffset | undefined> {
    return this.#inTime(endOffset, (range) => findTimestamp(this.#upkeep.segments, timestampMs, range, this.#config.indexIntervalBytes))
  }

  /** The first record with the largest timestamp, below `endOffset`. */
  offsetOfMaxTimestamp(endOffset: number): Promise<TimedOffset | undefined> {
    return this.#inTime(endOffset, (range) => findMaxTimestamp(this.#upkeep.segments, range, this.#config.indexIntervalBytes))
  }

  /** Makes everything that was appended before the call durable. Rejects when that fails, or when some of it is taken back. */
  flush(): Promise<void> {
    return this.#commit.whenFlushed(this.#logEndOffset)
  }

  /** Moves the log start up to `offset` (at most the log end) and removes the segments wholly below. Returns the log start. */
  async deleteRecordsBefore(offset: number): Promise<number> {
    await this.#onWriter(async () => {
      const newStart = Math.min(offset, this.flushedOffset)
      if (newStart <= this.logStartOffset) return
      const { segments } = this.#upkeep
      const goneCount = segments.filter((_, at) => (segments[at + 1]?.baseOffset ?? Number.POSITIVE_INFINITY) <= newStart).length
      await this.#moveLogStart(newStart, goneCount)
    })
    return this.logStartOffset
  }

  /** Removes the segments that retention no longer keeps, all below `highWatermark`; returns how many. */
  async applyRetention(highWatermark: number): Promise<number> {
    let goneCount = 0
    const nowMs = this.#parts.runtime.clock.now()
    this.#producers.expire(nowMs)
    if (this.#upkeep.active === undefined) return 0
    await this.#onWriter(async () => {
      if (this.#isRollDueByAge(nowMs)) await this.#roll()
      const { segments } = this.#upkeep
      goneCount = await expiredSegmentCount(segments, this.#config, highWatermark, this.writtenOffset, nowMs)
      if (goneCount === 0) return
      if (goneCount === segments.length) await this.#roll()
      await this.#moveLogStart(Math.max(this.logStartOffset, (segments[goneCount] as Segment).baseOffset), goneCount)
    })
    return goneCount
  }

  /** Records how far the log is durable, so that a recovery need not walk so much. */
  checkpoint(): Promise<void> {
    return this.#onWriter(() => this.#upkeep.checkpoint(this.flushedOffset))
  }

  /** Flushes, writes what a quick start needs and lets go of the files. After a failure of the disk it only lets go. */
  async close(): Promise<void> {
    if (this.#ended !== undefined) return
    this.#ended = new TidemarkError('SHUTTING_DOWN', undefined, { outcome: 'failed' })
    try {
      if (this.#parts.health.failure !== undefined) return
      await this.flush()
      if (this.isCheckpointDue) await this.checkpoint()
    } finally {
      await this.#letGo()
    }
  }

  /** Lets go of the files without writing anything more: the directory is about to be removed. */
  async abandon(): Promise<void> {
    this.#ended ??= new TidemarkError('UNKNOWN_TOPIC_ID', `topic ${this.topic} was deleted`, { outcome: 'failed' })
    this.#commit.stop(this.#ended)
    this.#undoFrom(this.flushedOffset, this.#ended)
    await this.#letGo()
  }

  /** The disk failed: what is not durable is lost, and nothing more is written. */
  storageFailed(error: TidemarkError): void {
    this.#commit.stop(error)
    this.#undoFrom(this.flushedOffset, error)
  }

  // What group commit asks of its owner.

  get syncsAtOnce(): boolean {
    return this.#config.durability === 'fsync'
  }

  async segmentFor(next: CachedBatch): Promise<Segment> {
    const active = await this.#upkeep.prepareActive(this.writtenOffset, this.#config.indexIntervalBytes)
    const isFull = active.sizeBytes > 0 && active.sizeBytes + next.buffer.length > this.#config.segmentBytes
    const isOffsetSpanFull = next.lastOffset - active.baseOffset > RELATIVE_OFFSET_MAX
    if (isFull || isOffsetSpanFull || this.#isRollDueByAge(this.#parts.runtime.clock.now())) return this.#roll()
    if (this.#upkeep.bytesSinceCheckpoint > CHECKPOINT_EVERY_BYTES) {
      await this.#commit.whenFlushed(this.writtenOffset)
      await this.#upkeep.checkpoint(this.flushedOffset)
    }
    return active
  }

  roomIn(segment: Segment): number {
    return this.#config.segmentBytes - segment.sizeBytes
  }

  wrote(segment: Segment, group: readonly CachedBatch[], position: number): void {
    const nowMs = this.#parts.runtime.clock.now()
    let at = position
    for (const { buffer } of group) {
      segment.noteBatch(buffer, at, this.#config.indexIntervalBytes, nowMs)
      at += buffer.length
    }
    this.#upkeep.noteWritten(at - position)
    this.#parts.tail.setWritten(this.writtenOffset)
    this.#parts.noteDirty(this)
    this.#listener.advanced()
  }

  synced(): void {
    this.#listener.advanced()
  }

  /** A full disk takes back what it did not take; any other failure ends the directory. */
  async writeFailed(error: unknown): Promise<void> {
    const { health, runtime } = this.#parts
    if (health.failure !== undefined) return
    if (!isDiskFull(error)) {
      health.fail(`${this.directory}: writing failed`, error)
      return
    }
    const full = health.full(error)
    runtime.log.warn('disk.full', { directory: this.directory, code: full.code })
    this.#undoFrom(this.writtenOffset, full)
    await this.#cutTornWrite()
  }

  syncFailed(error: unknown): void {
    this.#parts.health.fail(`${this.directory}: fdatasync failed`, error)
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

  /** Takes back every append at or above `offset`. */
  #undoFrom(offset: number, error: TidemarkError): void {
    this.#commit.undo(offset, error)
    if (this.#logEndOffset === offset) return
    this.#logEndOffset = offset
    this.#producers.truncate(offset)
    this.#epochs.truncateFromEnd(offset)
    this.#parts.tail.truncate(offset)
    this.#listener.undone(offset, error)
  }

  async #letGo(): Promise<void> {
    await this.#commit.whenIdle()
    this.#parts.tail.clear()
    for (const segment of this.#upkeep.segments) segment.forgetFiles()
  }

  #isRollDueByAge(nowMs: number): boolean {
    const firstAppendMs = this.#upkeep.active?.firstAppendMs
    return firstAppendMs !== undefined && nowMs - firstAppendMs > this.#config.segmentMs
  }

  /** Between two writes. */
  async #roll(): Promise<Segment> {
    await this.#commit.whenFlushed(this.writtenOffset)
    return this.#upkeep.roll(this.flushedOffset, this.#config.indexIntervalBytes)
  }

  async #moveLogStart(offset: number, goneCount: number): Promise<void> {
    await this.#upkeep.moveLogStart(offset, goneCount, this.flushedOffset, this.#config.fileDeleteDelayMs)
    this.#listener.advanced()
  }

  /** Runs `job` between two writes, all that is written being durable. */
  async #onWriter(job: () => Promise<void>): Promise<void> {
    try {
      await this.#commit.run(async () => {
        this.#parts.health.checkTrusted()
        await this.#commit.whenFlushed(this.writtenOffset)
        await job()
      })
    } catch (error) {
      if (isDiskFull(error)) throw this.#parts.health.full(error)
      if (isDiskBroken(error)) this.#parts.health.fail(`${this.directory}: upkeep failed`, error)
      throw this.#asStorageError(error)
    }
  }

  #checkBatch(batch: Buffer, nowMs: number): void {
    const { maxMessageBytes, timestampAfterMaxMs, timestampType } = this.#config
    if (batch.length > maxMessageBytes) {
      throw new TidemarkError(
        'RECORD_TOO_LARGE',
        `a batch of ${batch.length} bytes is larger than max.message.bytes of ${this.topic} (${maxMessageBytes})`,
        { outcome: 'failed' },
      )
    }
    const timestampMaxMs = timestampType === 'append' ? Number.POSITIVE_INFINITY : nowMs + timestampAfterMaxMs
    validateProducedBatch(batch, { timestampMaxMs })
  }

  #checkOffset(offset: number): void {
    if (offset >= this.logStartOffset && offset <= this.#logEndOffset) return
    throw new TidemarkError(
      'OFFSET_OUT_OF_RANGE',
      `offset ${offset} of ${this.topic}-${this.partition} is outside ${this.logStartOffset} to ${this.#logEndOffset}`,
    )
  }

  async #readFromDisk(wanted: { readonly offset: number; readonly maxBytes: number; readonly endOffset: number }): Promise<Buffer[]> {
    if (wanted.offset >= wanted.endOffset) return []
    const at = this.#upkeep.segments.findLastIndex((segment) => segment.baseOffset <= wanted.offset)
    const [segment, next] = this.#upkeep.segments.slice(Math.max(0, at), Math.max(0, at) + 2)
    if (segment === undefined) return []
    try {
      const found = await segment.read(wanted, this.#config.indexIntervalBytes)
      if (found !== undefined) return [found]
    } catch (error) {
      throw this.#asStorageError(error)
    }
    if (next !== undefined && next.baseOffset <= wanted.endOffset)
      throw new TidemarkError(
        'CORRUPT_LOG',
        `${segment.path} ends before offset ${wanted.offset}, the next segment begins at ${next.baseOffset}`,
      )
    return []
  }

  async #inTime<T>(
    endOffset: number,
    find: (range: { readonly startOffset: number; readonly endOffset: number }) => Promise<T>,
  ): Promise<T> {
    try {
      // With durability none readers may see what is not written yet; look-ups go through the files.
      if (this.writtenOffset < Math.min(endOffset, this.#logEndOffset))
        await this.#commit.whenFlushed(Math.min(endOffset, this.#logEndOffset))
      return await find({ startOffset: this.logStartOffset, endOffset: Math.min(endOffset, this.writtenOffset) })
    } catch (error) {
      throw this.#asStorageError(error)
    }
  }

  #asStorageError(error: unknown): unknown {
    if (TidemarkError.is(error) || !(error instanceof Error && 'code' in error)) return error
    return new TidemarkError('STORAGE_FAILED', `${this.directory}: ${error.message}`, { cause: error })
  }
}

function producerOf(batch: Buffer): ProducerBatch | undefined {
  const producerId = readProducerId(batch)
  if (producerId < 0) return undefined
  return { producerId, epoch: readProducerEpoch(batch), baseSequence: readBaseSequence(batch), recordCount: readRecordCount(batch) }
}
