/**
 * Goes through the records of a batch one by one and says where their parts lie, allocating nothing. Offsets may be missing, as
 * compaction leaves them, and never go back.
 */
import { BATCH_HEADER_BYTES, codecOf, readAttributes, readLastOffsetDelta, readRecordCount } from './batch-header.ts'
import { TidemarkError } from './errors.ts'
import { type Cursor, readVarint } from './varint.ts'

export class RecordCursor {
  readonly #cursor: Cursor
  readonly #recordCount: number
  readonly #lastOffsetDelta: number
  #index = 0
  /** The record reaches from its length at `start` to `end`; what follows its timestamp begins at `restStart`. */
  start = 0
  restStart = 0
  end = 0
  attributes = 0
  timestampDelta = 0
  offsetDelta = -1
  /** -1: the record has no key. */
  keyStart = -1
  keyEnd = -1
  hasValue = false

  /** `plain`: what holds the records, decompressed; the batch itself when it is not compressed. */
  constructor(batch: Buffer, plain: Buffer) {
    const start = codecOf(readAttributes(batch)) === 0 ? BATCH_HEADER_BYTES : 0
    this.#cursor = { buffer: plain, position: start, end: plain.length }
    this.#recordCount = readRecordCount(batch)
    this.#lastOffsetDelta = readLastOffsetDelta(batch)
  }

  /** Moves to the next record; false after the last. Throws `CORRUPT_BATCH`. */
  next(): boolean {
    const cursor = this.#cursor
    if (this.#index === this.#recordCount) {
      if (cursor.position !== cursor.end) throw this.#corrupt('leaves bytes after its last record')
      return false
    }
    this.#index++
    this.start = cursor.position
    const length = readVarint(cursor)
    this.end = cursor.position + length
    if (length < 0 || this.end > cursor.end) throw this.#corrupt(`has a record of ${length} bytes, more than are left`)
    this.attributes = cursor.buffer[cursor.position++] as number
    this.timestampDelta = readVarint(cursor)
    this.restStart = cursor.position
    const offsetDelta = readVarint(cursor)
    if (offsetDelta <= this.offsetDelta || offsetDelta > this.#lastOffsetDelta)
      throw this.#corrupt(`has the offset delta ${offsetDelta} after ${this.offsetDelta}, the last is ${this.#lastOffsetDelta}`)
    this.offsetDelta = offsetDelta
    const keyBytes = this.#skipField()
    this.keyStart = keyBytes < 0 ? -1 : cursor.position - keyBytes
    this.keyEnd = keyBytes < 0 ? -1 : cursor.position
    this.hasValue = this.#skipField() >= 0
    cursor.position = this.end
    return true
  }

  /** Returns the length: -1 is null. */
  #skipField(): number {
    const length = readVarint(this.#cursor)
    if (length < -1 || this.#cursor.position + length > this.end)
      throw this.#corrupt(`has a field of ${length} bytes, more than its record`)
    if (length > 0) this.#cursor.position += length
    return length
  }

  #corrupt(what: string): TidemarkError {
    return new TidemarkError('CORRUPT_BATCH', `record ${this.#index} of a batch ${what}`)
  }
}
