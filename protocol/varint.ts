/**
 * Variable-length integers of the record format: zigzag, seven bits a byte, least significant first.
 *
 * Whole numbers up to 2^53 - 1 either way; longer or larger encodings are refused. Reading goes
 * through a cursor so that the hot loops allocate nothing.
 */
import { TidemarkError } from './errors.ts'

/** Bytes a zigzag varint of that magnitude may take. */
export const VARINT_MAX_BYTES = 8

/** A place in a buffer; `end` bounds what may be read. */
export interface Cursor {
  readonly buffer: Buffer
  position: number
  readonly end: number
}

/** Reads one zigzag varint and moves the cursor. Throws `CORRUPT_BATCH` when it is cut off or too long. */
export function readVarint(cursor: Cursor): number {
  const { buffer } = cursor
  let position = cursor.position
  if (position >= cursor.end) throw cutOff()
  let byte = buffer[position++] as number
  if (byte < 0x80) {
    cursor.position = position
    return (byte >>> 1) ^ -(byte & 1)
  }
  let low = byte & 0x7f
  for (let shift = 7; shift < 28; shift += 7) {
    if (position >= cursor.end) throw cutOff()
    byte = buffer[position++] as number
    low |= (byte & 0x7f) << shift
    if (byte < 0x80) {
      cursor.position = position
      return (low >>> 1) ^ -(low & 1)
    }
  }
  // Beyond 28 bits arithmetic goes on in doubles. The lowest bit is the sign, so it is left out: 2^54 would not be exact.
  let half = low >>> 1
  for (let factor = 2 ** 27; ; factor *= 128) {
    if (position >= cursor.end) throw cutOff()
    if (position - cursor.position >= VARINT_MAX_BYTES) throw new TidemarkError('CORRUPT_BATCH', 'a variable-length integer is too long')
    byte = buffer[position++] as number
    half += (byte & 0x7f) * factor
    if (byte < 0x80) break
  }
  cursor.position = position
  const value = (low & 1) === 0 ? half : -half - 1
  if (!Number.isSafeInteger(value)) throw new TidemarkError('CORRUPT_BATCH', 'a variable-length integer passes 2^53')
  return value
}

/** Bytes `writeVarint` takes for `value`. */
export function varintSize(value: number): number {
  if (value >= -0x40000000 && value < 0x40000000) {
    const bits = 32 - Math.clz32((value << 1) ^ (value >> 31))
    return bits <= 7 ? 1 : Math.ceil(bits / 7)
  }
  let left = value < 0 ? -(value + 1) : value
  let size = 1
  // The first byte has room for six bits beside the sign.
  for (left = Math.floor(left / 64); left > 0; left = Math.floor(left / 128)) size++
  return size
}

/** Writes `value` (a safe integer) at `position`; returns the position after it. The buffer must have room. */
export function writeVarint(buffer: Buffer, value: number, position: number): number {
  let at = position
  if (value >= -0x40000000 && value < 0x40000000) {
    let zigzag = (value << 1) ^ (value >> 31)
    while (zigzag > 0x7f) {
      buffer[at++] = (zigzag & 0x7f) | 0x80
      zigzag >>>= 7
    }
    buffer[at++] = zigzag
    return at
  }
  const sign = value < 0 ? 1 : 0
  const half = value < 0 ? -(value + 1) : value
  buffer[at++] = ((half % 64) * 2 + sign) | 0x80
  let left = Math.floor(half / 64)
  while (left >= 128) {
    buffer[at++] = (left % 128) | 0x80
    left = Math.floor(left / 128)
  }
  buffer[at++] = left
  return at
}

function cutOff(): TidemarkError {
  return new TidemarkError('CORRUPT_BATCH', 'a variable-length integer is cut off')
}
