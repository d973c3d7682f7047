/** Indexes of sealed segments that were needed lately, bounded in bytes over the whole data directory. */
import type { OffsetIndex } from './offset-index.ts'
import type { TimeIndex } from './time-index.ts'

export interface SegmentIndexes {
  readonly offsets: OffsetIndex
  readonly times: TimeIndex
}

export class IndexCache {
  readonly #maxBytes: number
  #usedBytes = 0
  /** By path of the segment, least recently used first. */
  readonly #entries = new Map<string, SegmentIndexes>()

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get(path: string): SegmentIndexes | undefined {
    const found = this.#entries.get(path)
    if (found === undefined) return undefined
    this.#entries.delete(path)
    this.#entries.set(path, found)
    return found
  }

  put(path: string, indexes: SegmentIndexes): void {
    this.forget(path)
    this.#entries.set(path, indexes)
    this.#usedBytes += bytesOf(indexes)
    for (const [oldest] of this.#entries) {
      if (this.#usedBytes <= this.#maxBytes || oldest === path) break
      this.forget(oldest)
    }
  }

  forget(path: string): void {
    const present = this.#entries.get(path)
    if (present === undefined) return
    this.#entries.delete(path)
    this.#usedBytes -= bytesOf(present)
  }
}

function bytesOf(indexes: SegmentIndexes): number {
  return indexes.offsets.bytes.length + indexes.times.bytes.length
}
