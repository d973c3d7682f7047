/**
 * The time index of a segment: from which offset on records may be as young as a given time.
 *
 * ```
 * entry = int64 timestamp, int32 offset - base offset                        (12 bytes, big-endian)
 * ```
 * An entry (T, O) says: T is the largest timestamp up to here, and it is in the batch that ends at O. Timestamps strictly
 * increase. Written beside the offset index when the maximum grew, and once more when the segment is
 * sealed, so that the last entry is the segment's largest timestamp. It has no checksum: whoever relies on an entry compares it with the
 * batch it names (`Segment`).
 */
const ENTRY_BYTES = 12
const INITIAL_ENTRIES = 16

export interface TimeEntry {
  readonly timestampMs: number
  readonly relativeOffset: number
}

export class TimeIndex {
  #bytes: Buffer
  #count = 0

  constructor(bytes: Buffer = Buffer.alloc(0), count = 0) {
    this.#bytes = bytes
    this.#count = count
  }

  /** From the bytes of a file. Undefined when they cannot be a time index. */
  static parse(bytes: Buffer): TimeIndex | undefined {
    if (bytes.length % ENTRY_BYTES !== 0) return undefined
    const index = new TimeIndex(bytes, bytes.length / ENTRY_BYTES)
    for (let at = 0; at < index.#count; at++) {
      const isIncreasing =
        at === 0
          ? index.#timestamp(0) >= 0 && index.#offset(0) >= 0
          : index.#timestamp(at) > index.#timestamp(at - 1) && index.#offset(at) >= index.#offset(at - 1)
      if (!isIncreasing) return undefined
    }
    return index
  }

  get entryCount(): number {
    return this.#count
  }

  /** A view: valid until the next `append`. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#count * ENTRY_BYTES)
  }

  /** The largest timestamp indexed; -1 without entries. */
  get maxTimestamp(): number {
    return this.#count === 0 ? -1 : this.#timestamp(this.#count - 1)
  }

  /** Adds an entry if the maximum grew. */
  append(timestampMs: number, relativeOffset: number): void {
    if (timestampMs <= this.maxTimestamp) return
    if ((this.#count + 1) * ENTRY_BYTES > this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(INITIAL_ENTRIES * ENTRY_BYTES, this.#bytes.length * 2))
      this.#bytes.copy(grown)
      this.#bytes = grown
    }
    this.#bytes.writeBigInt64BE(BigInt(timestampMs), this.#count * ENTRY_BYTES)
    this.#bytes.writeInt32BE(relativeOffset, this.#count * ENTRY_BYTES + 8)
    this.#count++
  }

  /** The last entry that is older than `timestampMs`: so is everything up to its offset. */
  lastBefore(timestampMs: number): TimeEntry | undefined {
    let low = 0
    let high = this.#count
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#timestamp(middle) < timestampMs) low = middle + 1
      else high = middle
    }
    return low === 0 ? undefined : this.#entry(low - 1)
  }

  /** The last entry: the largest timestamp of what is indexed. */
  get last(): TimeEntry | undefined {
    return this.#count === 0 ? undefined : this.#entry(this.#count - 1)
  }

  /** Oldest first. */
  *entries(): Generator<TimeEntry> {
    for (let at = 0; at < this.#count; at++) yield this.#entry(at)
  }

  /** Drops what lies at or beyond `relativeOffset`. */
  truncate(relativeOffset: number): void {
    while (this.#count > 0 && this.#offset(this.#count - 1) >= relativeOffset) this.#count--
  }

  #entry(at: number): TimeEntry {
    return { timestampMs: this.#timestamp(at), relativeOffset: this.#offset(at) }
  }

  #timestamp(at: number): number {
    return Number(this.#bytes.readBigInt64BE(at * ENTRY_BYTES))
  }

  #offset(at: number): number {
    return this.#bytes.readInt32BE(at * ENTRY_BYTES + 8)
  }
}
