/**
 * CRC-32C (Castagnoli), the checksum of record batches.
 *
 * Slicing by eight: eight table look-ups per eight bytes, in plain JavaScript, so that the client needs no
 * native code. `scripts/bench/codec.ts` measures it beside a memory copy.
 */

/** Reversed polynomial 0x1EDC6F41. */
const POLYNOMIAL = 0x82f63b78

const TABLES: readonly Int32Array[] = makeTables()

function makeTables(): Int32Array[] {
  const first = new Int32Array(256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
    first[byte] = crc
  }
  const tables = [first]
  for (let slice = 1; slice < 8; slice++) {
    const previous = tables[slice - 1] as Int32Array
    const next = new Int32Array(256)
    for (let byte = 0; byte < 256; byte++) {
      const crc = previous[byte] as number
      next[byte] = (crc >>> 8) ^ (first[crc & 0xff] as number)
    }
    tables.push(next)
  }
  return tables
}

const [T0, T1, T2, T3, T4, T5, T6, T7] = TABLES as [
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
]

/** The checksum of `bytes[start, end)`, unsigned. `seed` is the checksum of what came before. */
export function crc32c(bytes: Uint8Array, start = 0, end: number = bytes.length, seed = 0): number {
  let crc = ~seed
  let at = start
  for (const last = end - 7; at < last; at += 8) {
    const low =
      crc ^
      ((bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24))
    crc =
      (T7[low & 0xff] as number) ^
      (T6[(low >>> 8) & 0xff] as number) ^
      (T5[(low >>> 16) & 0xff] as number) ^
      (T4[low >>> 24] as number) ^
      (T3[bytes[at + 4] as number] as number) ^
      (T2[bytes[at + 5] as number] as number) ^
      (T1[bytes[at + 6] as number] as number) ^
      (T0[bytes[at + 7] as number] as number)
  }
  for (; at < end; at++) crc = (crc >>> 8) ^ (T0[(crc ^ (bytes[at] as number)) & 0xff] as number)
  return ~crc >>> 0
}
