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
import { patchBatch, readLastOffset, readLastOffsetDelta, stampAppendTime } from '../protocol/batch-header.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { OFFSET_MAX } from '../protocol/ids.ts'
import type { TopicConfig } from '../protocol/topic-config.ts'
import { invariant } from '../runtime/invariant.ts'
import { checkBatch, checkFollows, producerOf } from './append-checks.ts'
import { LogCompactor } from './compaction.ts'
import type { GroupCommit } from './group-commit.ts'
import type { LeaderEpochs } from './leader-epochs.ts'
import { LogReader, type ReaderOwner } from './log-reader.ts'
import type { Appended, LogDescription, LogIdentity, LogListener } from './log-types.ts'
import { LogWriter, type WriterOwner, type WriterParts } from './log-writer.ts'
import type { ProducerState } from './producer-state.ts'
import type { RecoveredLog } from './recovery.ts'
import { LogRetention } from './retention.ts'
import { type ScrubPlace, type ScrubStep, scrubStep } from './scrub.ts'
import type { TimedOffset } from './time-lookup.ts'
import { LogUpkeep } from './upkeep.ts'

/** What a log needs of its data directory. */
export interface LogParts extends WriterParts {
  /** Asks to be flushed within a second, and checkpointed some time later. */
  readonly noteDirty: (log: PartitionLog) => void
  /** Something that was durable is not as it was written. */
  readonly noteDamage: (log: PartitionLog, error: TidemarkError) => void
}

export class PartitionLog implements WriterOwner, ReaderOwner {
  readonly topic: string
  readonly partition: number
  readonly topicId: string
  readonly directory: string
  readonly #parts: LogParts
  #config: TopicConfig
  #listener: LogListener = { advanced() {}, undone() {} }
  readonly #upkeep: LogUpkeep
  readonly #writer: LogWriter
  readonly #commit: GroupCommit
  readonly #reader: LogReader
  readonly #retention: LogRetention
  readonly #compactor: LogCompactor
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
    this.#writer = new LogWriter(this, parts, this.#upkeep, recovered.logEndOffset)
    this.#commit = this.#writer.commit
    this.#reader = new LogReader(this, { tail: parts.tail, upkeep: this.#upkeep, commit: this.#commit })
    const log = { directory: identity.directory, upkeep: this.#upkeep, writer: this.#writer, config: () => this.#config }
    this.#compactor = new LogCompactor({ ...parts, ...log, producers: recovered.producers })
    this.#retention = new LogRetention({
      ...log,
      nowMs: () => parts.runtime.clock.now(),
      moved: () => this.#listener.advanced(),
    })
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

  get leaderEpochs(): LeaderEpochs {
    return this.#epochs
  }

  get compactor(): LogCompactor {
    return this.#compactor
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
    if (config.durability === 'fsync') this.#commit.syncSoon()
  }

  describe(): LogDescription {
    const { logStartOffset, segments } = this.#upkeep
    const sizeBytes = segments.reduce((sum, segment) => sum + segment.sizeBytes, 0)
    return { logStartOffset, logEndOffset: this.#logEndOffset, flushedOffset: this.flushedOffset, sizeBytes, segmentCount: segments.length }
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
    checkBatch(batch, this.topic, this.#config, nowMs)
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

  /**
   * Appends one batch as the leader has it: with its offset and its epoch, which follow on what is here; below `sparseBelow` of the leader's
   * log offsets may be missing. Throws `CORRUPT_BATCH` for a batch that changed on the way, `OFFSET_OUT_OF_RANGE` when it does not follow,
   * `DISK_FULL` or `STORAGE_FAILED`; then nothing was appended.
   */
  appendAsFollower(batch: Buffer, leaderEpoch: number, sparseBelow = 0): void {
    if (this.#ended !== undefined) throw this.#ended
    this.#parts.health.checkWritable()
    const end = { endOffset: this.#logEndOffset, latestEpoch: this.#epochs.latest, sparseBelow, leaderEpoch }
    const { baseOffset, epoch } = checkFollows(batch, `${this.topic}-${this.partition}`, end)
    if (baseOffset > this.#logEndOffset) this.#upkeep.mayBeSparse(sparseBelow)
    const producer = producerOf(batch)
    this.#epochs.assign(epoch, baseOffset)
    if (producer !== undefined) this.#producers.update(producer, baseOffset, this.#parts.runtime.clock.now(), this.#commit.writtenOffset)
    this.#logEndOffset = readLastOffset(batch) + 1
    this.#commit.add(this.#parts.tail.add(batch, baseOffset))
  }

  /** The largest epoch here that is not above `epoch`, and where it ends; epoch -1 when there is none. */
  epochEnd(epoch: number): { readonly epoch: number; readonly endOffset: number } {
    return this.#epochs.endOf(epoch, this.logStartOffset, this.#logEndOffset)
  }

  /** As `read`, from memory and at once; undefined when the disk has to be asked. */
  readCached(offset: number, maxBytes: number, endOffset: number): Buffer[] | undefined {
    return this.#reader.readCached(offset, maxBytes, endOffset)
  }

  /**
   * Whole batches from the one that holds `offset`: at least one even when larger than `maxBytes`, none that reaches `endOffset`. Empty at the
   * end. Throws `OFFSET_OUT_OF_RANGE` below the log start and above the log end, `CORRUPT_LOG` for lengths, offsets and epochs that cannot be
   * right. Checksums are the reader's to check; with `isSuspect`, for one that got something damaged, those on the disk are compared.
   */
  read(offset: number, maxBytes: number, endOffset: number, isSuspect = false): Promise<Buffer[]> {
    return this.#reader.read(offset, maxBytes, endOffset, isSuspect)
  }

  /** The first record whose timestamp is `timestampMs` or later, below `endOffset`. */
  offsetForTimestamp(timestampMs: number, endOffset: number): Promise<TimedOffset | undefined> {
    return this.#reader.offsetForTimestamp(timestampMs, endOffset)
  }

  /** The first record with the largest timestamp, below `endOffset`. */
  offsetOfMaxTimestamp(endOffset: number): Promise<TimedOffset | undefined> {
    return this.#reader.offsetOfMaxTimestamp(endOffset)
  }

  /** Makes everything that was appended before the call durable. Rejects when that fails, or when some of it is taken back. */
  flush(): Promise<void> {
    return this.#commit.whenFlushed(this.#logEndOffset)
  }

  /** Moves the log start up to `offset` (at most the log end) and removes the segments wholly below. Returns the log start. */
  async deleteRecordsBefore(offset: number): Promise<number> {
    if (this.#ended !== undefined) throw this.#ended
    await this.#retention.deleteBefore(offset)
    return this.logStartOffset
  }

  /** Removes the segments that retention no longer keeps, all below `highWatermark`; returns how many. */
  async applyRetention(highWatermark: number): Promise<number> {
    if (this.#ended !== undefined) throw this.#ended
    this.#producers.expire(this.#parts.runtime.clock.now())
    return this.#retention.apply(highWatermark)
  }

  /** Records how far the log is durable, so that a recovery need not walk so much. */
  checkpoint(): Promise<void> {
    return this.#writer.run(() => this.#upkeep.checkpoint(this.flushedOffset))
  }

  /** Flushes, writes what a quick start needs and lets go of the files. After a failure of the disk it only lets go. */
  async close(): Promise<void> {
    if (this.#ended !== undefined) return
    this.#ended = new TidemarkError('SHUTTING_DOWN', undefined, { outcome: 'failed' })
    try {
      await this.#compactor.stop()
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
    this.undoFrom(this.flushedOffset, this.#ended)
    await this.#letGo()
  }

  /** The disk failed: what is not durable is lost, and nothing more is written. */
  storageFailed(error: TidemarkError): void {
    this.#commit.stop(error)
    this.undoFrom(this.flushedOffset, error)
  }

  /** Checks a part of what is on disk, from `place` on; `damaged` hears of what is wrong. */
  scrub(place: ScrubPlace, maxBytes: number): Promise<ScrubStep> {
    return scrubStep({ log: this, segments: this.#upkeep.segments }, place, maxBytes)
  }

  /** What was durable is not as it was written. Of a log that has ended others change the files: that says nothing. */
  damaged(error: TidemarkError): void {
    if (this.#ended === undefined) this.#parts.noteDamage(this, error)
  }

  progressed(hasWritten: boolean): void {
    if (hasWritten) this.#parts.noteDirty(this)
    this.#listener.advanced()
  }

  /** Takes back every append at or above `offset`. */
  undoFrom(offset: number, error: TidemarkError): void {
    this.#commit.undo(offset, error)
    if (this.#logEndOffset === offset) return
    this.#logEndOffset = offset
    this.#producers.truncate(offset)
    this.#epochs.truncateFromEnd(offset)
    this.#parts.tail.truncate(offset)
    this.#listener.undone(offset, error)
  }

  async #letGo(): Promise<void> {
    await this.#compactor.stop()
    await this.#commit.whenIdle()
    this.#parts.tail.clear()
    for (const segment of this.#upkeep.segments) segment.forgetFiles()
  }
}
