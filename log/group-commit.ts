/**
 * Gets the batches of one log onto the disk.
 *
 * One writer takes what queued up and writes it with one call; one syncer makes it durable, a sync at a time, each
 * covering all that was written when it began. They overlap: the next write goes on while a sync runs. Work that changes
 * which files there are (`run`) has its turn between two writes, so that it never meets a write half done.
 *
 * ```
 * flushedOffset <= writtenOffset <= end of the queue
 * durable          in the kernel
 * ```
 * `#isWriting` and `#isSyncing` change in the same turn as the decision they stand for, never a promise later:
 * whatever comes between two turns finds either someone at work who will look again, or nobody.
 */
import type { TidemarkError } from '../protocol/errors.ts'
import { createDeferred, type Deferred } from '../runtime/deferred.ts'
import { invariant } from '../runtime/invariant.ts'
import type { Clock, Timers } from '../runtime/runtime.ts'
import type { DirectoryHealth } from './directory-health.ts'
import type { FileLease } from './file-pool.ts'
import { RELATIVE_OFFSET_MAX, type Segment } from './segment.ts'
import type { CachedBatch } from './tail-cache.ts'

/** Bytes one write may carry: enough for the disk, little enough that a sync follows soon. */
const WRITE_BYTES_MAX = 8 * 1024 * 1024

/** Without syncs of its own, so many unsynced bytes bring the background's sync forward: what `replicated` may lose beside the last second. */
const BACKGROUND_FLUSH_BYTES = 1024 * 1024

/** The log whose batches these are. */
export interface CommitOwner {
  /** True: every write is followed by a sync at once. False: someone asks for it within a second. */
  readonly syncsAtOnce: boolean
  /** The segment that `next` goes into, rolled if need be. Between two writes. */
  segmentFor(next: CachedBatch): Promise<Segment>
  /** Bytes until the segment is full. */
  roomIn(segment: Segment): number
  /** `group` lies at `position` of the segment, and `writtenOffset` has moved. */
  wrote(segment: Segment, group: readonly CachedBatch[], position: number): void
  /** `flushedOffset` has moved. */
  synced(): void
  /** Nothing of the last group counts as written. Between two writes. */
  writeFailed(error: unknown): Promise<void>
  syncFailed(error: unknown): void
}

export interface CommitParts {
  readonly clock: Clock
  readonly timers: Timers
  readonly health: DirectoryHealth
}

interface FlushWaiter extends Deferred<void> {
  readonly offset: number
}

export class GroupCommit {
  readonly #owner: CommitOwner
  readonly #parts: CommitParts
  #writtenOffset: number
  #flushedOffset: number
  #queue: CachedBatch[] = []
  #queuedBytes = 0
  #unflushedBytes = 0
  readonly #jobs: (() => Promise<void>)[] = []
  #isWriterDue = false
  #isWriting = false
  #isSyncing = false
  #isStopped = false
  /** Open while its file has bytes that are not synced, so that the handle that wrote them syncs them. */
  #lease: { readonly segment: Segment; readonly lease: FileLease } | undefined
  #flushWaiters: FlushWaiter[] = []
  #idleWaiters: Deferred<void>[] = []

  constructor(owner: CommitOwner, parts: CommitParts, endOffset: number) {
    this.#owner = owner
    this.#parts = parts
    this.#writtenOffset = endOffset
    this.#flushedOffset = endOffset
  }

  get writtenOffset(): number {
    return this.#writtenOffset
  }

  get flushedOffset(): number {
    return this.#flushedOffset
  }

  /** Bytes added and not yet written. */
  get queuedBytes(): number {
    return this.#queuedBytes
  }

  /** Queues a batch; it is written with all others of this turn of the event loop. */
  add(batch: CachedBatch): void {
    this.#queue.push(batch)
    this.#queuedBytes += batch.buffer.length
    this.#wakeWriter()
  }

  /** Runs `job` between two writes. Rejects with what it throws. */
  run(job: () => Promise<void>): Promise<void> {
    const done = createDeferred<void>()
    this.#jobs.push(() => job().then(done.resolve, done.reject))
    this.#wakeWriter()
    return done.promise
  }

  /** Resolves when everything below `offset` is durable, and makes it so without delay. Rejects when it was taken back. */
  whenFlushed(offset: number): Promise<void> {
    if (offset <= this.#flushedOffset) return Promise.resolve()
    if (this.#parts.health.failure !== undefined) return Promise.reject(this.#parts.health.failure)
    const waiter = { ...createDeferred<void>(), offset }
    this.#flushWaiters.push(waiter)
    this.syncSoon()
    return waiter.promise
  }

  /** Syncs what is written, whatever the durability setting. */
  syncSoon(): void {
    if (this.#isSyncing || this.#isStopped || this.#flushedOffset >= this.#writtenOffset || this.#lease === undefined) return
    this.#isSyncing = true
    void this.#sync(this.#lease.lease)
  }

  /** Takes back what is queued, and what was written at or above `offset`. */
  undo(offset: number, error: TidemarkError): void {
    this.#queue = []
    this.#queuedBytes = 0
    this.#writtenOffset = Math.min(this.#writtenOffset, offset)
    const undone = this.#flushWaiters.filter((waiter) => waiter.offset > offset)
    this.#flushWaiters = this.#flushWaiters.filter((waiter) => waiter.offset <= offset)
    for (const waiter of undone) waiter.reject(error)
  }

  /** No more is written or synced, and what is under way no longer counts. Jobs still have their turn. */
  stop(error: TidemarkError): void {
    this.#isStopped = true
    this.undo(this.#flushedOffset, error)
  }

  /** Resolves when nothing is under way, with the files let go. */
  async whenIdle(): Promise<void> {
    while (this.#isWriting || this.#isSyncing || this.#jobs.length > 0 || this.#queue.length > 0) {
      const waiter = createDeferred<void>()
      this.#idleWaiters.push(waiter)
      await waiter.promise
    }
    this.releaseFile()
  }

  /** Lets go of the file written to. Nothing may be under way; what is not synced yet must not matter any more. */
  releaseFile(): void {
    invariant(!this.#isSyncing, 'a file that is being synced stays open')
    this.#lease?.lease.release()
    this.#lease = undefined
  }

  #wakeWriter(): void {
    if (this.#isWriterDue || this.#isWriting) return
    this.#isWriterDue = true
    this.#parts.timers.nextTurn(() => {
      this.#isWriterDue = false
      if (this.#isWriting) return
      this.#isWriting = true
      void this.#work()
    })
  }

  async #work(): Promise<void> {
    for (;;) {
      const job = this.#jobs.shift()
      if (job !== undefined) await job()
      else if (this.#queue.length > 0 && !this.#isStopped) await this.#writeNext()
      else break
    }
    this.#isWriting = false
    this.#settle()
  }

  async #writeNext(): Promise<void> {
    try {
      const segment = await this.#owner.segmentFor(this.#queue[0] as CachedBatch)
      const position = segment.sizeBytes
      // Deleted or failed while the segment was being made ready.
      if (this.#isStopped || this.#queue.length === 0) return
      const group = this.#takeGroup(segment)
      const handle = (await this.#leaseOf(segment)).handle
      await handle.write(
        group.map(({ buffer }) => buffer),
        position,
      )
      if (this.#isStopped) return
      this.#noteWritten(segment, group, position)
    } catch (error) {
      if (!this.#isStopped) await this.#owner.writeFailed(error)
    }
  }

  async #leaseOf(segment: Segment): Promise<FileLease> {
    if (this.#lease !== undefined && this.#lease.segment !== segment) {
      invariant(this.#flushedOffset === this.#writtenOffset, 'a segment is durable before the next is written to')
      this.releaseFile()
    }
    this.#lease ??= { segment, lease: await segment.leaseLog() }
    return this.#lease.lease
  }

  #noteWritten(segment: Segment, group: readonly CachedBatch[], position: number): void {
    let bytes = 0
    for (const { buffer } of group) bytes += buffer.length
    this.#queue.splice(0, group.length)
    this.#queuedBytes -= bytes
    this.#unflushedBytes += bytes
    this.#writtenOffset = (group.at(-1) as CachedBatch).lastOffset + 1
    if (this.#owner.syncsAtOnce || this.#flushWaiters.length > 0 || this.#unflushedBytes > BACKGROUND_FLUSH_BYTES) this.syncSoon()
    this.#owner.wrote(segment, group, position)
  }

  /** What the next write carries: at least one batch, as many as fit into the segment. */
  #takeGroup(segment: Segment): CachedBatch[] {
    const maxBytes = Math.min(this.#owner.roomIn(segment), WRITE_BYTES_MAX)
    let bytes = 0
    let count = 0
    for (const { buffer, lastOffset } of this.#queue) {
      bytes += buffer.length
      if (count > 0 && (bytes > maxBytes || lastOffset - segment.baseOffset > RELATIVE_OFFSET_MAX)) break
      count++
    }
    return count === this.#queue.length ? [...this.#queue] : this.#queue.slice(0, count)
  }

  async #sync(lease: FileLease): Promise<void> {
    const { clock, health } = this.#parts
    try {
      do {
        const target = this.#writtenOffset
        const bytes = this.#unflushedBytes
        const startedMs = clock.monotonic()
        await lease.handle.datasync()
        health.syncTook(clock.monotonic() - startedMs)
        if (this.#isStopped) break
        this.#flushedOffset = target
        this.#unflushedBytes -= bytes
        this.#releaseWaiters()
        this.#owner.synced()
      } while (
        this.#flushedOffset < this.#writtenOffset &&
        (this.#owner.syncsAtOnce || this.#flushWaiters.length > 0 || this.#unflushedBytes > BACKGROUND_FLUSH_BYTES)
      )
    } catch (error) {
      this.#owner.syncFailed(error)
    }
    this.#isSyncing = false
    this.#settle()
  }

  #releaseWaiters(): void {
    if (this.#flushWaiters.length === 0) return
    const reached = this.#flushWaiters.filter((waiter) => waiter.offset <= this.#flushedOffset)
    this.#flushWaiters = this.#flushWaiters.filter((waiter) => waiter.offset > this.#flushedOffset)
    for (const waiter of reached) waiter.resolve()
  }

  /** The writer or the syncer has come to an end. */
  #settle(): void {
    if (this.#isWriting || this.#isSyncing) return
    if (this.#flushedOffset === this.#writtenOffset) this.releaseFile()
    const waiters = this.#idleWaiters
    this.#idleWaiters = []
    for (const waiter of waiters) waiter.resolve()
  }
}
