/**
 * Variable-length integers of the record format: zigzag, seven bits a byte, least significant first.
 *
 * Magnitudes below 2^52 only (see `ids.ts`); longer or larger encodings are refused. Reading goes
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
  // Beyond 28 bits arithmetic goes on in doubles.
  let high = 0
  for (let factor = 1; ; factor *= 128) {
    if (position >= cursor.end) throw cutOff()
    if (position - cursor.position >= VARINT_MAX_BYTES) throw new TidemarkError('CORRUPT_BATCH', 'a variable-length integer is too long')
    byte = buffer[position++] as number
    high += (byte & 0x7f) * factor
    if (byte < 0x80) break
  }
  cursor.position = position
  const zigzag = high * 2 ** 28 + low
  if (zigzag > Number.MAX_SAFE_INTEGER) throw new TidemarkError('CORRUPT_BATCH', 'a variable-length integer passes 2^52')
  const isNegative = zigzag % 2 === 1
  const magnitude = (zigzag - (isNegative ? 1 : 0)) / 2
  return isNegative ? -magnitude - 1 : magnitude
}

/** Bytes `writeVarint` takes for `value`. */
export function varintSize(value: number): number {
  let zigzag = value < 0 ? -2 * value - 1 : 2 * value
  let size = 1
  while (zigzag >= 128) {
    zigzag = Math.floor(zigzag / 128)
    size++
  }
  return size
}

/** Writes `value` (whole, magnitude below 2^52) at `position`; returns the position after it. The buffer must have room. */
export function writeVarint(buffer: Buffer, value: number, position: number): number {
  let at = position
  if (value >= -0x20000000 && value < 0x20000000) {
    let zigzag = (value << 1) ^ (value >> 31)
    while (zigzag > 0x7f || zigzag < 0) {
      buffer[at++] = (zigzag & 0x7f) | 0x80
      zigzag >>>= 7
    }
    buffer[at++] = zigzag
    return at
  }
  let zigzag = value < 0 ? -2 * value - 1 : 2 * value
  while (zigzag >= 128) {
    buffer[at++] = (zigzag % 128) | 0x80
    zigzag = Math.floor(zigzag / 128)
  }
  buffer[at++] = zigzag
  return at
}

function cutOff(): TidemarkError {
  return new TidemarkError('CORRUPT_BATCH', 'a variable-length integer is cut off')
}
