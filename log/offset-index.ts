/**
 * The offset index of a segment: where in the file to start looking for an offset.
 *
 * ```
 * entry = int32 offset - base offset, int32 position in the .log file        (8 bytes, big-endian)
 * ```
 * One entry per `index.interval.bytes` of log: the last offset of a batch and the position of its first byte. Both
 * columns strictly increase. Sparse, without checksum: it can always be made again from the log, and is
 * whenever it looks wrong.
 */
const ENTRY_BYTES = 8
const INITIAL_ENTRIES = 32

export class OffsetIndex {
  #bytes: Buffer
  #count = 0

  constructor(bytes: Buffer = Buffer.alloc(0), count = 0) {
    this.#bytes = bytes
    this.#count = count
  }

  /** From the bytes of a file, without the entries at or beyond `logBytes`. Undefined when they cannot be an index. */
  static parse(bytes: Buffer, logBytes: number): OffsetIndex | undefined {
    if (bytes.length % ENTRY_BYTES !== 0) return undefined
    const index = new OffsetIndex(bytes, bytes.length / ENTRY_BYTES)
    for (let at = 0; at < index.#count; at++) {
      const isIncreasing =
        at === 0
          ? index.#offset(0) >= 0 && index.#position(0) >= 0
          : index.#offset(at) > index.#offset(at - 1) && index.#position(at) > index.#position(at - 1)
      if (!isIncreasing) return undefined
    }
    index.truncate(logBytes)
    return index
  }

  get entryCount(): number {
    return this.#count
  }

  /** What to write to the file. A view: valid until the next `append`. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#count * ENTRY_BYTES)
  }

  append(relativeOffset: number, position: number): void {
    if ((this.#count + 1) * ENTRY_BYTES > this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(INITIAL_ENTRIES * ENTRY_BYTES, this.#bytes.length * 2))
      this.#bytes.copy(grown)
      this.#bytes = grown
    }
    this.#bytes.writeInt32BE(relativeOffset, this.#count * ENTRY_BYTES)
    this.#bytes.writeInt32BE(position, this.#count * ENTRY_BYTES + 4)
    this.#count++
  }

  /** Where to start reading to find `relativeOffset`: at or before the batch that holds it. */
  lookup(relativeOffset: number): number {
    let low = 0
    let high = this.#count
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#offset(middle) < relativeOffset) low = middle + 1
      else high = middle
    }
    // `low` is the first entry whose batch ends at or after the offset; its batch may begin after it, so start one earlier unless it ends exactly there.
    if (low < this.#count && this.#offset(low) === relativeOffset) return this.#position(low)
    return low === 0 ? 0 : this.#position(low - 1)
  }

  /** Oldest first. */
  *entries(): Generator<{ readonly relativeOffset: number; readonly position: number }> {
    for (let at = 0; at < this.#count; at++) yield { relativeOffset: this.#offset(at), position: this.#position(at) }
  }

  /** Drops what lies at or beyond `position`. */
  truncate(position: number): void {
    while (this.#count > 0 && this.#position(this.#count - 1) >= position) this.#count--
  }

  #offset(at: number): number {
    return this.#bytes.readInt32BE(at * ENTRY_BYTES)
  }

  #position(at: number): number {
    return this.#bytes.readInt32BE(at * ENTRY_BYTES + 4)
  }
}
