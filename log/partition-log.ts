/**
 * The log of one partition.
 *
 * `append` is synchronous: it checks, assigns offsets and enqueues. One writer per log takes what queued up
 * and writes it with one call; one flusher makes it durable, a sync at a time, each covering
 * all that was written when it began (group commit). Both report to the listener.
 *
 * ```
 * logStartOffset <= flushedOffset <= writtenOffset <= logEndOffset
 *                   durable          in the kernel    assigned
 * ```
 * Everything that changes which segments there are (rolling, retention, deletion of records, closing) runs on the
 * writer, between writes, so that it never meets a write half done.
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
import { createDeferred } from '../runtime/deferred.ts'
import { invariant } from '../runtime/invariant.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { replaceFile, writeFileAtomic } from './atomic-file.ts'
import { serializeCheckpoint } from './checkpoint.ts'
import type { DirectoryHealth } from './directory-health.ts'
import { CHECKPOINT_FILE, DELETED_SUFFIX, LEADER_EPOCHS_FILE, LOG_SUFFIX, OFFSET_INDEX_SUFFIX, offsetName, offsetOfName, SNAPSHOT_SUFFIX, TIME_INDEX_SUFFIX } from './file-names.ts'
import type { FileLease } from './file-pool.ts'
import type { LeaderEpochs } from './leader-epochs.ts'
import { OffsetIndex } from './offset-index.ts'
import type { ProducerBatch, ProducerState } from './producer-state.ts'
import { type RecoveredLog, takeUpIndexes } from './recovery.ts'
import { expiredSegmentCount } from './retention.ts'
import { Segment, type SegmentParts } from './segment.ts'
import type { LogTail } from './tail-cache.ts'
import { findMaxTimestamp, findTimestamp, type TimedOffset } from './time-lookup.ts'
import { TimeIndex } from './time-index.ts'
import type { Trash } from './trash.ts'

/** After so many bytes a checkpoint is made, so that recovery walks no more than this beside what was not flushed. */
const CHECKPOINT_EVERY_BYTES = 64 * 1024 * 1024

/** Bytes one write may carry: enough for the disk, little enough that a sync follows soon. */
const WRITE_BYTES_MAX = 8 * 1024 * 1024

/** With `replicated` and `none`, so many unsynced bytes bring the next sync forward. */
const BACKGROUND_FLUSH_BYTES = 32 * 1024 * 1024

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
export interface LogParts extends SegmentParts {
  readonly runtime: Runtime
  readonly health: DirectoryHealth
  readonly tail: LogTail
  readonly trash: Trash
  /** Asks to be flushed within a second. */
  readonly requestFlush: (log: PartitionLog) => void
}

interface PendingWrite {
  readonly buffer: Buffer
  readonly baseOffset: number
  readonly endOffset: number
}

type Job = () => Promise<void>

export class PartitionLog {
  readonly topic: string
  readonly partition: number
  readonly topicId: string
  readonly directory: string
  readonly #parts: LogParts
  readonly #runtime: Runtime
  #config: TopicConfig
  #listener: LogListener = { advanced() {}, undone() {} }
  readonly #segments: Segment[]
  readonly #producers: ProducerState
  readonly #epochs: LeaderEpochs
  #logStartOffset: number
  #logEndOffset: number
  #writtenOffset: number
  #flushedOffset: number
  #pending: PendingWrite[] = []
  #unwrittenBytes = 0
  readonly #jobs: Job[] = []
  #isWriterDue = false
  #writer: Promise<void> | undefined
  #flusher: Promise<void> | undefined
  /** Someone waits for a flush, whatever the durability setting. */
  #flushWanted = false
  /** Held while the active file has bytes that are not synced, so that the handle that wrote them syncs them. */
  #dirtyLease: FileLease | undefined
  /** A write is under way; the lease is needed for the sync that follows it. */
  #isWriting = false
  #unflushedBytes = 0
  #bytesSinceCheckpoint = 0
  #isCheckpointDue: boolean
  #isClosed = false

  constructor(
    parts: LogParts,
    identity: { readonly topic: string; readonly partition: number; readonly topicId: string; readonly directory: string },
    config: TopicConfig,
    recovered: RecoveredLog,
  ) {
    this.#parts = parts
    this.#runtime = parts.runtime
    this.topic = identity.topic
    this.partition = identity.partition
    this.topicId = identity.topicId
    this.directory = identity.directory
    this.#config = config
    this.#segments = recovered.segments
    this.#producers = recovered.producers
    this.#epochs = recovered.epochs
    this.#logStartOffset = recovered.logStartOffset
    this.#logEndOffset = recovered.logEndOffset
    this.#writtenOffset = recovered.logEndOffset
    this.#flushedOffset = recovered.logEndOffset
    this.#isCheckpointDue = recovered.isDirty
    parts.tail.setWritten(this.#writtenOffset)
  }

  get logStartOffset(): number {
    return this.#logStartOffset
  }

  /** One past the last record. */
  get logEndOffset(): number {
    return this.#logEndOffset
  }

  /** One past the last record that the kernel has. */
  get writtenOffset(): number {
    return this.#writtenOffset
  }

  /** One past the last record that is on disk. */
  get flushedOffset(): number {
    return this.#flushedOffset
  }

  /** Bytes appended and not yet written. */
  get unwrittenBytes(): number {
    return this.#unwrittenBytes
  }

  /** The leader epochs of the log and where each began. */
  get leaderEpochs(): LeaderEpochs {
    return this.#epochs
  }

  setListener(listener: LogListener): void {
    this.#listener = listener
  }

  configure(config: TopicConfig): void {
    this.#config = config
  }

  describe(): LogDescription {
    return {
      logStartOffset: this.#logStartOffset,
      logEndOffset: this.#logEndOffset,
      flushedOffset: this.#flushedOffset,
      sizeBytes: this.#segments.reduce((sum, segment) => sum + segment.sizeBytes, 0),
      segmentCount: this.#segments.length,
    }
  }

  /**
   * Appends one batch as a producer sent it. The buffer belongs to the log from here on: its offset and epoch fields are
   * set in place. Throws what is wrong with the batch, `OUT_OF_ORDER_SEQUENCE` and `INVALID_PRODUCER_EPOCH`, `DISK_FULL`
   * or `STORAGE_FAILED`; then nothing was appended.
   */
  append(batch: Buffer, options: { readonly leaderEpoch: number }): Appended {
    invariant(!this.#isClosed, 'a closed log is not appended to')
    this.#parts.health.checkWritable()
    const nowMs = this.#runtime.clock.now()
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
    if (producer !== undefined) this.#producers.update(producer, baseOffset, nowMs, this.#writtenOffset)
    this.#logEndOffset = endOffset
    this.#enqueue(batch, baseOffset, endOffset)
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
   * Empty at the end. Throws `OFFSET_OUT_OF_RANGE` below the log start and above the log end, `CORRUPT_LOG` for damage.
   */
  async read(offset: number, maxBytes: number, endOffset: number): Promise<Buffer[]> {
    const cached = this.readCached(offset, maxBytes, endOffset)
    if (cached !== undefined) return cached
    try {
      return await this.#readFromDisk(offset, maxBytes, Math.min(endOffset, this.#writtenOffset))
    } catch (error) {
      // Retention may have removed the segment while it was being read.
      this.#checkOffset(offset)
      throw error
    }
  }

  /** The first record whose timestamp is `timestampMs` or later, below `endOffset`. */
  offsetForTimestamp(timestampMs: number, endOffset: number): Promise<TimedOffset | undefined> {
    return this.#onDisk(() => findTimestamp(this.#segments, timestampMs, this.#logStartOffset, Math.min(endOffset, this.#writtenOffset), this.#config.indexIntervalBytes))
  }

  /** The record with the largest timestamp, below `endOffset`. */
  offsetOfMaxTimestamp(endOffset: number): Promise<TimedOffset | undefined> {
    return this.#onDisk(() => findMaxTimestamp(this.#segments, this.#logStartOffset, Math.min(endOffset, this.#writtenOffset), this.#config.indexIntervalBytes))
  }

  /** Makes everything that was appended before the call durable. Rejects when that fails. */
  async flush(): Promise<void> {
    const target = this.#logEndOffset
    while (this.#flushedOffset < target) {
      this.#parts.health.checkTrusted()
      this.#flushWanted = true
      this.#startWriter()
      await this.#writer
      this.#startFlusher()
      await this.#flusher
      if (this.#logEndOffset < target) return
    }
  }

  /** Moves the log start up to `offset` (at most the flushed offset) and removes the segments wholly below. Returns the log start. */
  async deleteRecordsBefore(offset: number): Promise<number> {
    await this.#onWriter(async () => {
      if (offset <= this.#logStartOffset) return
      await this.flushActive()
      const newStart = Math.min(offset, this.#flushedOffset)
      const goneCount = this.#segments.filter((_, at) => (this.#segments[at + 1]?.baseOffset ?? Number.POSITIVE_INFINITY) <= newStart).length
      await this.#moveLogStart(newStart, goneCount)
    })
    return this.#logStartOffset
  }

  /** Removes the segments that retention no longer keeps, all below `highWatermark`; returns how many. */
  async applyRetention(highWatermark: number): Promise<number> {
    let goneCount = 0
    const nowMs = this.#runtime.clock.now()
    await this.#onWriter(async () => {
      this.#producers.expire(nowMs)
      if (this.#isRollDueByTime(nowMs)) await this.#roll()
      goneCount = await expiredSegmentCount(this.#segments, this.#config, highWatermark, nowMs)
      if (goneCount === 0) return
      if (goneCount === this.#segments.length) await this.#roll()
      await this.#moveLogStart(Math.max(this.#logStartOffset, (this.#segments[goneCount] as Segment).baseOffset), goneCount)
    })
    return goneCount
  }

  /** Flushes, writes what a quick start needs and lets go of the files. After a failure of the disk it only lets go. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    if (this.#parts.health.failure === undefined) {
      await this.flush()
      await this.#onWriter(async () => {
        if (this.#isCheckpointDue) await this.#makeCheckpoint()
      })
    }
    this.#isClosed = true
    await this.#writer
    await this.#flusher
    this.#letGo()
  }

  /** Lets go of the files without writing anything more: the directory is about to be removed. */
  async abandon(): Promise<void> {
    this.#isClosed = true
    this.#undoFrom(this.#writtenOffset, new TidemarkError('UNKNOWN_TOPIC_ID', `topic ${this.topic} was deleted`, { outcome: 'failed' }))
    await this.#writer
    await this.#flusher
    this.#letGo()
  }

  /** The disk failed: what is not durable is lost, and nothing more is written. */
  storageFailed(error: TidemarkError): void {
    this.#undoFrom(this.#flushedOffset, error)
  }

  #letGo(): void {
    this.#dirtyLease?.release()
    this.#dirtyLease = undefined
    this.#parts.tail.clear()
    for (const segment of this.#segments) this.#forgetFiles(segment)
  }

  #checkBatch(batch: Buffer, nowMs: number): void {
    const { maxMessageBytes, timestampAfterMaxMs, timestampType } = this.#config
    if (batch.length > maxMessageBytes) {
      throw new TidemarkError('RECORD_TOO_LARGE', `a batch of ${batch.length} bytes is larger than max.message.bytes of ${this.topic} (${maxMessageBytes})`, { outcome: 'failed' })
    }
    const timestampMaxMs = timestampType === 'append' ? Number.POSITIVE_INFINITY : nowMs + timestampAfterMaxMs
    validateProducedBatch(batch, { timestampMaxMs })
  }

  #checkOffset(offset: number): void {
    if (offset >= this.#logStartOffset && offset <= this.#logEndOffset) return
    throw new TidemarkError('OFFSET_OUT_OF_RANGE', `offset ${offset} of ${this.topic}-${this.partition} is outside ${this.#logStartOffset} to ${this.#logEndOffset}`)
  }

  #enqueue(buffer: Buffer, baseOffset: number, endOffset: number): void {
    this.#pending.push({ buffer, baseOffset, endOffset })
    this.#unwrittenBytes += buffer.length
    this.#parts.tail.add(buffer)
    this.#wakeWriter()
  }

  /** Starts the writer at the end of this turn of the event loop, so that one write takes all that came in it. */
  #wakeWriter(): void {
    if (this.#isWriterDue || this.#writer !== undefined) return
    this.#isWriterDue = true
    this.#runtime.timers.nextTurn(() => {
      this.#isWriterDue = false
      this.#startWriter()
    })
  }

  #startWriter(): void {
    if (this.#writer !== undefined || (this.#pending.length === 0 && this.#jobs.length === 0)) return
    this.#writer = this.#runWriter().finally(() => {
      this.#writer = undefined
      // Something may have come between the last look and here.
      this.#startWriter()
    })
  }

  async #runWriter(): Promise<void> {
    for (;;) {
      const job = this.#jobs.shift()
      if (job !== undefined) {
        await job()
        continue
      }
      if (this.#pending.length === 0) return
      try {
        await this.#writeNext()
      } catch (error) {
        await this.#writeFailed(error)
      }
    }
  }

  async #writeNext(): Promise<void> {
    const segment = await this.#segmentForNextWrite()
    const position = segment.sizeBytes
    const group = this.#takeGroup(this.#config.segmentBytes - position)
    const last = group.at(-1) as PendingWrite
    this.#isWriting = true
    try {
      this.#dirtyLease ??= await segment.leaseLog()
      await this.#dirtyLease.handle.write(
        group.map(({ buffer }) => buffer),
        position,
      )
    } finally {
      this.#isWriting = false
    }
    if (this.#parts.health.failure !== undefined) return
    this.#noteWritten(segment, group, position, last.endOffset)
    if (this.#config.durability === 'fsync' || this.#flushWanted || this.#unflushedBytes > BACKGROUND_FLUSH_BYTES) this.#startFlusher()
    else this.#parts.requestFlush(this)
    this.#listener.advanced()
  }

  #noteWritten(segment: Segment, group: readonly PendingWrite[], position: number, endOffset: number): void {
    const nowMs = this.#runtime.clock.now()
    let at = position
    for (const { buffer } of group) {
      segment.noteBatch(buffer, at, this.#config.indexIntervalBytes, nowMs)
      at += buffer.length
    }
    const bytes = at - position
    this.#pending.splice(0, group.length)
    this.#unwrittenBytes -= bytes
    this.#unflushedBytes += bytes
    this.#bytesSinceCheckpoint += bytes
    this.#isCheckpointDue = true
    this.#writtenOffset = endOffset
    this.#parts.tail.setWritten(endOffset)
  }

  /** What the next write carries: at least one batch, within the segment. */
  #takeGroup(roomBytes: number): PendingWrite[] {
    let bytes = 0
    let count = 0
    for (const { buffer } of this.#pending) {
      if (count > 0 && bytes + buffer.length > Math.min(roomBytes, WRITE_BYTES_MAX)) break
      bytes += buffer.length
      count++
    }
    return this.#pending.slice(0, count)
  }

  /** The active segment, rolled first when the next batch does not belong into it any more. */
  async #segmentForNextWrite(): Promise<Segment> {
    const [next] = this.#pending
    invariant(next !== undefined, 'the writer has something to write')
    const active = this.#segments.at(-1)
    if (active === undefined) return this.#beginSegment(next.baseOffset)
    const isFull = active.sizeBytes > 0 && active.sizeBytes + next.buffer.length > this.#config.segmentBytes
    const isOffsetSpanFull = next.endOffset - active.baseOffset > 2 ** 31 - 1
    if (isFull || isOffsetSpanFull || this.#isRollDueByTime(this.#runtime.clock.now())) return this.#roll()
    if (active.active === undefined) await takeUpIndexes(active, active.sizeBytes, this.#config.indexIntervalBytes)
    if (this.#bytesSinceCheckpoint > CHECKPOINT_EVERY_BYTES) {
      await this.flushActive()
      await this.#makeCheckpoint()
    }
    return active
  }

  #isRollDueByTime(nowMs: number): boolean {
    const firstAppendMs = this.#segments.at(-1)?.firstAppendMs
    return firstAppendMs !== undefined && nowMs - firstAppendMs > this.#config.segmentMs
  }

  /** Seals the active segment and begins the next. On the writer only. */
  async #roll(): Promise<Segment> {
    const active = this.#segments.at(-1)
    if (active === undefined || active.sizeBytes === 0) return active ?? this.#beginSegment(this.#writtenOffset)
    await this.flushActive()
    if (active.active === undefined) await takeUpIndexes(active, active.sizeBytes, this.#config.indexIntervalBytes)
    active.finishTimeIndex()
    await this.#makeCheckpoint()
    const next = await this.#beginSegment(this.#writtenOffset)
    active.seal()
    this.#runtime.log.debug('segment.rolled', { path: active.path, sizeBytes: active.sizeBytes, nextOffset: next.baseOffset })
    return next
  }

  async #beginSegment(baseOffset: number): Promise<Segment> {
    const segment = new Segment(this.#parts, this.directory, baseOffset, 0)
    segment.active = { offsets: new OffsetIndex(), times: new TimeIndex() }
    segment.maxTimestamp = -1
    const lease = await segment.leaseLog()
    try {
      // A file of this name can only be the leftover of a roll that was cut short.
      await lease.handle.truncate(0)
    } finally {
      lease.release()
    }
    await this.#parts.files.syncDirectory(this.directory)
    this.#segments.push(segment)
    return segment
  }

  /** Makes all that is written durable. On the writer only, so that nothing is added meanwhile. */
  async flushActive(): Promise<void> {
    while (this.#flushedOffset < this.#writtenOffset) {
      this.#parts.health.checkTrusted()
      this.#startFlusher()
      await this.#flusher
    }
  }

  #startFlusher(): void {
    if (this.#flusher !== undefined || this.#flushedOffset >= this.#writtenOffset) return
    if (this.#parts.health.failure !== undefined) return
    invariant(this.#dirtyLease !== undefined, 'what is written and not flushed has its file open')
    this.#flusher = this.#runFlusher(this.#dirtyLease).finally(() => {
      this.#flusher = undefined
    })
  }

  async #runFlusher(lease: FileLease): Promise<void> {
    try {
      do {
        const target = this.#writtenOffset
        const bytes = this.#unflushedBytes
        const startedMs = this.#runtime.clock.monotonic()
        await lease.handle.datasync()
        this.#parts.health.syncTook(this.#runtime.clock.monotonic() - startedMs)
        if (this.#parts.health.failure !== undefined) return
        this.#flushedOffset = target
        this.#unflushedBytes -= bytes
        this.#listener.advanced()
      } while (this.#flushedOffset < this.#writtenOffset && (this.#config.durability === 'fsync' || this.#flushWanted))
      if (this.#flushedOffset === this.#writtenOffset && this.#dirtyLease === lease && !this.#isWriting) {
        this.#dirtyLease = undefined
        lease.release()
        if (this.#pending.length === 0) this.#flushWanted = false
      }
    } catch (error) {
      this.#parts.health.fail(`${this.directory}: fdatasync failed`, error)
    }
  }

  /** A full disk takes back what it did not take; any other failure ends the directory. */
  async #writeFailed(error: unknown): Promise<void> {
    if (this.#parts.health.failure !== undefined) return
    if (!isDiskFull(error)) {
      this.#parts.health.fail(`${this.directory}: writing failed`, error)
      return
    }
    const full = this.#parts.health.full(error)
    this.#runtime.log.warn('disk.full', { directory: this.directory, code: full.code })
    this.#undoFrom(this.#writtenOffset, full)
    await this.#cutTornWrite()
  }

  /** Removes what a failed write left behind the last whole batch. If even that fails, recovery would cut it, but appends must not follow it. */
  async #cutTornWrite(): Promise<void> {
    const active = this.#segments.at(-1)
    if (active === undefined) return
    try {
      const lease = await active.leaseLog()
      try {
        await lease.handle.truncate(active.sizeBytes)
      } finally {
        lease.release()
      }
    } catch (error) {
      this.#parts.health.fail(`${active.path}: cutting a torn write failed`, error)
    }
  }

  /** Takes back every append at or above `offset`. */
  #undoFrom(offset: number, error: TidemarkError): void {
    this.#pending = []
    this.#unwrittenBytes = 0
    if (this.#logEndOffset === offset) return
    this.#logEndOffset = offset
    this.#writtenOffset = Math.min(this.#writtenOffset, offset)
    this.#producers.truncate(offset)
    this.#epochs.truncateFromEnd(offset)
    this.#parts.tail.truncate(offset)
    this.#listener.undone(offset, error)
  }

  /** Records how far the log is durable, with what recovery needs besides. Everything written is flushed already. */
  async #makeCheckpoint(): Promise<void> {
    const active = this.#segments.at(-1)
    if (active === undefined) return
    const { files } = this.#parts
    const recoveryOffset = this.#writtenOffset
    if (active.active !== undefined) {
      active.finishTimeIndex()
      await active.writeIndexes()
    }
    const snapshot = offsetName(recoveryOffset, SNAPSHOT_SUFFIX)
    await replaceFile(files, this.directory, snapshot, this.#producers.serialize())
    await replaceFile(files, this.directory, LEADER_EPOCHS_FILE, this.#epochs.serialize())
    await files.syncDirectory(this.directory)
    await this.#writeCheckpointFile(recoveryOffset, active)
    this.#bytesSinceCheckpoint = 0
    this.#isCheckpointDue = this.#logEndOffset !== recoveryOffset
    await this.#removeOldSnapshots(recoveryOffset)
  }

  async #writeCheckpointFile(recoveryOffset: number, active: Segment): Promise<void> {
    const checkpoint = { logStartOffset: this.#logStartOffset, recoveryOffset, segmentBase: active.baseOffset, recoveryPosition: active.sizeBytes }
    await writeFileAtomic(this.#parts.files, this.directory, CHECKPOINT_FILE, serializeCheckpoint(checkpoint))
  }

  async #removeOldSnapshots(keep: number): Promise<void> {
    const names = await this.#parts.files.list(this.directory)
    const old = names.filter((name) => (offsetOfName(name, SNAPSHOT_SUFFIX) ?? keep) !== keep)
    await Promise.all(old.map((name) => this.#parts.files.remove(`${this.directory}/${name}`)))
  }

  /** The log start first, durable; then the files: a crash in between leaves files that the next start removes. */
  async #moveLogStart(offset: number, goneCount: number): Promise<void> {
    await this.flushActive()
    this.#logStartOffset = offset
    this.#epochs.truncateFromStart(offset)
    await this.#makeCheckpoint()
    const gone = this.#segments.splice(0, goneCount)
    this.#listener.advanced()
    for (const segment of gone) {
      this.#forgetFiles(segment)
      for (const suffix of [LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX]) {
        await this.#parts.trash.remove(segment.pathOf(suffix), `${segment.pathOf(suffix)}${DELETED_SUFFIX}`, this.#config.fileDeleteDelayMs)
      }
    }
    if (gone.length > 0) this.#runtime.log.info('segments.deleted', { topic: this.topic, partition: this.partition, count: gone.length, logStartOffset: offset })
  }

  #forgetFiles(segment: Segment): void {
    for (const suffix of [LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX]) this.#parts.pool.forget(segment.pathOf(suffix))
    this.#parts.indexes.forget(segment.path)
  }

  /** The segment that holds `offset`; -1 when it lies before all of them. */
  #segmentAt(offset: number): number {
    let low = 0
    let high = this.#segments.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#segments[middle] as Segment).baseOffset <= offset) low = middle + 1
      else high = middle
    }
    return low - 1
  }

  /** Runs `job` between two writes. Rejects with what it throws. */
  #onWriter(job: Job): Promise<void> {
    const done = createDeferred<void>()
    this.#jobs.push(async () => {
      try {
        this.#parts.health.checkTrusted()
        await job()
        done.resolve()
      } catch (error) {
        done.reject(isDiskFull(error) ? this.#parts.health.full(error) : error)
      }
    })
    this.#wakeWriter()
    return done.promise
  }

  async #readFromDisk(offset: number, maxBytes: number, endOffset: number): Promise<Buffer[]> {
    // A copy, because retention may remove segments meanwhile.
    for (const segment of this.#segments.slice(Math.max(0, this.#segmentAt(offset)))) {
      if (segment.baseOffset >= endOffset) break
      const from = Math.max(offset, segment.baseOffset)
      const found = await this.#onDisk(() => segment.read(from, maxBytes, endOffset, this.#config.indexIntervalBytes))
      if (found !== undefined) return [found]
    }
    this.#checkOffset(offset)
    return []
  }

  async #onDisk<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (TidemarkError.is(error)) throw error
      throw new TidemarkError('STORAGE_FAILED', `${this.directory}: reading failed`, { cause: error })
    }
  }
}

function producerOf(batch: Buffer): ProducerBatch | undefined {
  const producerId = readProducerId(batch)
  if (producerId < 0) return undefined
  return { producerId, epoch: readProducerEpoch(batch), baseSequence: readBaseSequence(batch), recordCount: readRecordCount(batch) }
}

function isDiskFull(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT')
}

