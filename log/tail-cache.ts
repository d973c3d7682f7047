/**
 * The newest batches of all partitions, as the buffers that were written: consumers at
 * the tail and followers cost no disk read and no copy.
 *
 * Bounded in bytes over the whole data directory. The oldest batch of all goes first, except that a batch
 * not yet written cannot go: it exists nowhere else.
 */
import { readBaseOffset, readLastOffset } from '../protocol/batch-header.ts'

/** Stands in for a buffer that was dropped while its entry waits to be cut off the queue. */
const NOTHING = Buffer.alloc(0)

interface Cached {
  readonly owner: LogTail
  buffer: Buffer
  readonly baseOffset: number
  readonly lastOffset: number
}

export class TailCache {
  readonly maxBytes: number
  #usedBytes = 0
  /** All partitions, in order of arrival; `#head` is the oldest that may still be cached. */
  #queue: Cached[] = []
  #head = 0

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** The part of the cache that belongs to one log. */
  createTail(): LogTail {
    return new LogTail(this)
  }

  added(cached: Cached): void {
    this.#queue.push(cached)
    this.#usedBytes += cached.buffer.length
  }

  removed(bytes: number): void {
    this.#usedBytes -= bytes
  }

  /** Drops the oldest batches until the bound holds, or only unwritten ones are left in front. */
  evict(): void {
    while (this.#usedBytes > this.maxBytes && this.#head < this.#queue.length) {
      const oldest = this.#queue[this.#head] as Cached
      if (!oldest.owner.evictOldest(oldest)) break
      this.#head++
    }
    if (this.#head > 256 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
  }
}

export class LogTail {
  readonly #cache: TailCache
  /** `#batches[#head...]` are cached, without gaps, in order of offset. */
  #batches: Cached[] = []
  #head = 0
  /** Batches at or above may not be evicted. */
  #writtenOffset = 0

  constructor(cache: TailCache) {
    this.#cache = cache
  }

  add(buffer: Buffer): void {
    const cached = { owner: this, buffer, baseOffset: readBaseOffset(buffer), lastOffset: readLastOffset(buffer) }
    this.#batches.push(cached)
    this.#cache.added(cached)
  }

  /** Everything below is on disk (or in its page cache) and may be evicted. */
  setWritten(offset: number): void {
    this.#writtenOffset = offset
    this.#cache.evict()
  }

  /** The cached batches from the one that holds `offset`: whole, at least one, up to `maxBytes`, below `endOffset`. Undefined when the first is not cached. */
  read(offset: number, maxBytes: number, endOffset: number): Buffer[] | undefined {
    const oldest = this.#batches[this.#head]
    if (oldest === undefined || offset < oldest.baseOffset) return undefined
    const found: Buffer[] = []
    let bytes = 0
    for (let at = this.#find(offset); at < this.#batches.length; at++) {
      const { buffer, lastOffset } = this.#batches[at] as Cached
      if (lastOffset >= endOffset || (found.length > 0 && bytes + buffer.length > maxBytes)) break
      found.push(buffer)
      bytes += buffer.length
    }
    return found
  }

  /** True when it was dropped, or had been before. */
  evictOldest(cached: Cached): boolean {
    const oldest = this.#batches[this.#head]
    if (oldest !== cached) return true
    if (cached.lastOffset >= this.#writtenOffset) return false
    this.#head++
    this.#cache.removed(cached.buffer.length)
    cached.buffer = NOTHING
    if (this.#head > 64 && this.#head * 2 > this.#batches.length) {
      this.#batches = this.#batches.slice(this.#head)
      this.#head = 0
    }
    return true
  }

  /** Drops the batches at and above `offset`. */
  truncate(offset: number): void {
    while (this.#batches.length > this.#head && (this.#batches.at(-1) as Cached).baseOffset >= offset) {
      const dropped = this.#batches.pop() as Cached
      this.#cache.removed(dropped.buffer.length)
      dropped.buffer = NOTHING
    }
  }

  clear(): void {
    this.#writtenOffset = Number.POSITIVE_INFINITY
    this.truncate(0)
    this.#batches = []
    this.#head = 0
  }

  /** The first cached batch that ends at or after `offset`. */
  #find(offset: number): number {
    let low = this.#head
    let high = this.#batches.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#batches[middle] as Cached).lastOffset < offset) low = middle + 1
      else high = middle
    }
    return low
  }
}
