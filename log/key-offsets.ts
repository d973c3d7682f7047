/**
 * The newest offset of each key in a part of a log, in memory that does not grow: 24 bytes a place, of which four in five may be taken.
 *
 * Keys are known by their hashes only. The secret of the hash is drawn for each map.
 */
import type { Random } from '../runtime/runtime.ts'
import { HASH_WORDS, hashKey, SECRET_BYTES } from './key-hash.ts'

/** Four words of hash and an offset. */
const PLACE_BYTES = HASH_WORDS * 4 + 8
/** Beyond that looking for a place takes long. */
const FILL_MAX = 0.8
/** One of them stays free: looking for a key ends there. */
const PLACES_MIN = 2
const NONE = -1

export class KeyOffsets {
  readonly #secret: Int32Array
  readonly #hashes: Int32Array
  /** By place; `NONE` where it is free. */
  readonly #offsets: Float64Array
  readonly #probe = new Int32Array(HASH_WORDS)
  readonly #keyCountMax: number
  #keyCount = 0

  /** Room for `keyCount` keys, or for as many as fit into `memoryBytes`. */
  constructor(keyCount: number, memoryBytes: number, random: Random) {
    const placeCount = Math.max(PLACES_MIN, Math.min(Math.ceil(keyCount / FILL_MAX), Math.floor(memoryBytes / PLACE_BYTES)))
    this.#keyCountMax = Math.floor(placeCount * FILL_MAX)
    this.#hashes = new Int32Array(placeCount * HASH_WORDS)
    this.#offsets = new Float64Array(placeCount).fill(NONE)
    const secret = random.bytes(SECRET_BYTES)
    this.#secret = Int32Array.from({ length: HASH_WORDS }, (_, word) => secret.readInt32LE(word * 4))
  }

  get keyCount(): number {
    return this.#keyCount
  }

  get memoryBytes(): number {
    return this.#offsets.length * PLACE_BYTES
  }

  /** Notes that the key `bytes[start, end)` has a record at `offset`, beyond all noted before. False when there is no room for another key. */
  note(bytes: Uint8Array, start: number, end: number, offset: number): boolean {
    const place = this.#find(bytes, start, end)
    if (this.#offsets[place] === NONE) {
      if (this.#keyCount >= this.#keyCountMax) return false
      this.#keyCount++
      this.#hashes.set(this.#probe, place * HASH_WORDS)
    }
    this.#offsets[place] = offset
    return true
  }

  /** The newest offset noted for the key; -1 for one that is not known. */
  newestOf(bytes: Uint8Array, start: number, end: number): number {
    return this.#offsets[this.#find(bytes, start, end)] as number
  }

  /** The place of the key, or the free one it would get. */
  #find(bytes: Uint8Array, start: number, end: number): number {
    const probe = this.#probe
    const hashes = this.#hashes
    const offsets = this.#offsets
    hashKey(bytes, start, end, this.#secret, probe, 0)
    const length = offsets.length
    for (let place = ((probe[0] as number) >>> 0) % length; ; place = place + 1 === length ? 0 : place + 1) {
      if (offsets[place] === NONE) return place
      const at = place * HASH_WORDS
      if (hashes[at] === probe[0] && hashes[at + 1] === probe[1] && hashes[at + 2] === probe[2] && hashes[at + 3] === probe[3]) return place
    }
  }
}
