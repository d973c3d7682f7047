/**
 * The newest batches of all partitions, as the buffers that were written: consumers at
 * the tail and followers cost no disk read and no copy.
 *
 * Bounded in bytes over the whole data directory. The batch written first of all goes first. A batch not yet written cannot
 * go, for it exists nowhere else; those are bounded by whoever appends.
 */
import { readLastOffsetDelta } from '../protocol/batch-header.ts'
import { invariant } from '../runtime/invariant.ts'

/** Stands in for a buffer that was dropped while its entry waits to be cut off the queue. */
const NOTHING = Buffer.alloc(0)

/** Emptied slots at the front of a list that are worth moving the rest for. */
const SLACK_MAX = 64

/** What a batch takes besides its bytes: the objects that hold it. */
const ENTRY_BYTES = 256

/** A batch in memory, its offsets assigned. */
export interface CachedBatch {
  readonly owner: LogTail
  buffer: Buffer
  readonly baseOffset: number
  readonly lastOffset: number
}

export class TailCache {
  readonly maxBytes: number
  #usedBytes = 0
  /** Written batches of all partitions in the order they were written; those before `#head` are gone. */
  #queue: CachedBatch[] = []
  #head = 0
  /** Entries of the queue whose batches were taken back or whose logs are gone. */
  #deadCount = 0

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
  }

  /** Unwritten batches included. */
  get usedBytes(): number {
    return this.#usedBytes
  }

  /** The part of the cache that belongs to one log. */
  createTail(): LogTail {
    return new LogTail(this)
  }

  /** For `LogTail`: memory was taken or given back. */
  resized(bytes: number): void {
    this.#usedBytes += bytes
  }

  /** For `LogTail`: the batch may go from now on. */
  written(batch: CachedBatch): void {
    this.#queue.push(batch)
  }

  /** For `LogTail`: batches in the queue are no longer cached. */
  died(count: number): void {
    this.#deadCount += count
    if (this.#deadCount <= SLACK_MAX || this.#deadCount * 2 < this.#queue.length - this.#head) return
    this.#queue = this.#queue.filter((batch, at) => at >= this.#head && batch.buffer !== NOTHING)
    this.#head = 0
    this.#deadCount = 0
  }

  /** Drops the oldest written batches until the bound holds. */
  evict(): void {
    while (this.#usedBytes > this.maxBytes && this.#head < this.#queue.length) {
      const oldest = this.#queue[this.#head++] as CachedBatch
      if (oldest.buffer === NOTHING) this.#deadCount--
      else oldest.owner.drop(oldest)
    }
    if (this.#head > SLACK_MAX && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
  }
}

export class LogTail {
  readonly #cache: TailCache
  /** `#batches[#head...]` are cached, without gaps, in order of offset; `[#unwritten...]` are not written yet. */
  #batches: CachedBatch[] = []
  #head = 0
  #unwritten = 0

  constructor(cache: TailCache) {
    this.#cache = cache
  }

  /** Adds a batch that is about to be written. */
  add(buffer: Buffer, baseOffset: number): CachedBatch {
    const batch = { owner: this, buffer, baseOffset, lastOffset: baseOffset + readLastOffsetDelta(buffer) }
    this.#batches.push(batch)
    this.#cache.resized(buffer.length + ENTRY_BYTES)
    return batch
  }

  /** The batches below `offset` are in their file and may be evicted. */
  setWritten(offset: number): void {
    for (; this.#unwritten < this.#batches.length; this.#unwritten++) {
      const batch = this.#batches[this.#unwritten] as CachedBatch
      if (batch.lastOffset >= offset) break
      this.#cache.written(batch)
    }
    this.#cache.evict()
  }

  /** The cached batches from the one that holds `offset`: whole, at least one, up to `maxBytes`, below `endOffset`. Undefined when the first is not cached. */
  read(offset: number, maxBytes: number, endOffset: number): Buffer[] | undefined {
    const oldest = this.#batches[this.#head]
    if (oldest === undefined || offset < oldest.baseOffset) return undefined
    const found: Buffer[] = []
    let bytes = 0
    for (let at = this.#find(offset); at < this.#batches.length; at++) {
      const { buffer, lastOffset } = this.#batches[at] as CachedBatch
      if (lastOffset >= endOffset || (found.length > 0 && bytes + buffer.length > maxBytes)) break
      found.push(buffer)
      bytes += buffer.length
    }
    return found
  }

  /** Drops the written batches that end below `offset`: in their file there is something else by now. */
  dropBelow(offset: number): void {
    let count = 0
    while (this.#head < this.#unwritten && (this.#batches[this.#head] as CachedBatch).lastOffset < offset) {
      this.#dropOldest()
      count++
    }
    this.#cache.died(count)
  }

  /** For `TailCache`: lets go of the oldest batch. */
  drop(batch: CachedBatch): void {
    invariant(this.#batches[this.#head] === batch && this.#head < this.#unwritten, 'the oldest written batch of a log goes first')
    this.#dropOldest()
  }

  #dropOldest(): void {
    this.#release(this.#batches[this.#head++] as CachedBatch)
    if (this.#head > SLACK_MAX && this.#head * 2 > this.#batches.length) {
      this.#batches = this.#batches.slice(this.#head)
      this.#unwritten -= this.#head
      this.#head = 0
    }
  }

  /** Drops the batches at and above `offset`. */
  truncate(offset: number): void {
    while (this.#batches.length > this.#head && (this.#batches.at(-1) as CachedBatch).baseOffset >= offset) {
      this.#release(this.#batches.pop() as CachedBatch)
    }
    const queuedCount = Math.max(0, this.#unwritten - this.#batches.length)
    this.#unwritten -= queuedCount
    this.#cache.died(queuedCount)
  }

  clear(): void {
    this.truncate(0)
    this.#batches = []
    this.#head = 0
    this.#unwritten = 0
  }

  #release(batch: CachedBatch): void {
    this.#cache.resized(-batch.buffer.length - ENTRY_BYTES)
    batch.buffer = NOTHING
  }

  /** The first cached batch that ends at or after `offset`. */
  #find(offset: number): number {
    let low = this.#head
    let high = this.#batches.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#batches[middle] as CachedBatch).lastOffset < offset) low = middle + 1
      else high = middle
    }
    return low
  }
}
