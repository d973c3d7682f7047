/**
 * The buffers of acknowledged batches, for the batches that follow: a producer that is busy makes no new ones. Each new one would be memory
 * outside V8's heap, of which V8 lets no more than a few dozen megabytes pass before it looks through the whole heap.
 */

/** Kept at most. What is in flight of a partition comes back within this. */
const KEPT_MAX = 64
const KEPT_BYTES_MAX = 4 * 1024 * 1024

export class BatchBuffers {
  readonly #kept: Buffer[] = []
  #keptBytes = 0

  /** One of at least `bytes`, with anything in it. */
  take(bytes: number): Buffer {
    const last = this.#kept.pop()
    if (last === undefined) return Buffer.allocUnsafe(bytes)
    this.#keptBytes -= last.length
    // One of another size is let go of: batches have become larger or smaller.
    return last.length >= bytes && last.length <= 2 * bytes ? last : Buffer.allocUnsafe(bytes)
  }

  /** Nobody may hold it any more. */
  giveBack(buffer: Buffer): void {
    if (this.#kept.length >= KEPT_MAX || this.#keptBytes + buffer.length > KEPT_BYTES_MAX) return
    this.#kept.push(buffer)
    this.#keptBytes += buffer.length
  }
}
