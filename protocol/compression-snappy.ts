/**
 * Snappy by `snappyjs`, in the framing that Java's library gives it and Kafka's clients expect:
 *
 * ```
 * 82 'SNAPPY' 00   magic
 * int32 int32      version and lowest compatible version, both 1
 * { int32 length, snappy block } …
 * ```
 */
import type { Codec } from './compression.ts'
import { tooLarge } from './compression.ts'
import { TidemarkError } from './errors.ts'

const FRAME_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
const FRAME_HEADER_BYTES = 16
const BLOCK_BYTES_MAX = 32 * 1024

interface SnappyJs {
  compress(plain: Uint8Array): Uint8Array
  uncompress(packed: Uint8Array, maxLength?: number): Uint8Array
}

export async function openSnappy(): Promise<Codec> {
  const { default: snappy } = (await import('snappyjs')) as { default: SnappyJs }
  return {
    compress: (plain) => compressFramed(snappy, plain),
    decompress: (packed, maxBytes) =>
      packed.subarray(0, FRAME_MAGIC.length).equals(FRAME_MAGIC)
        ? decompressFramed(snappy, packed, maxBytes)
        : decompressBlock(snappy, packed, maxBytes),
  }
}

function compressFramed(snappy: SnappyJs, plain: Buffer): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES)
  FRAME_MAGIC.copy(header)
  header.writeInt32BE(1, 8)
  header.writeInt32BE(1, 12)
  const parts: Uint8Array[] = [header]
  for (let at = 0; at < plain.length; at += BLOCK_BYTES_MAX) {
    const block = snappy.compress(plain.subarray(at, at + BLOCK_BYTES_MAX))
    const length = Buffer.alloc(4)
    length.writeInt32BE(block.length)
    parts.push(length, block)
  }
  return Buffer.concat(parts)
}

function decompressFramed(snappy: SnappyJs, packed: Buffer, maxBytes: number): Buffer {
  const parts: Buffer[] = []
  let leftBytes = maxBytes
  for (let at = FRAME_HEADER_BYTES; at < packed.length; ) {
    if (packed.length - at < 4) throw new TidemarkError('CORRUPT_BATCH', 'a snappy frame is cut off')
    const length = packed.readInt32BE(at)
    at += 4
    if (length < 0 || length > packed.length - at)
      throw new TidemarkError('CORRUPT_BATCH', `a snappy block claims ${length} bytes, ${packed.length - at} are left`)
    const block = decompressBlock(snappy, packed.subarray(at, at + length), leftBytes)
    leftBytes -= block.length
    parts.push(block)
    at += length
  }
  return Buffer.concat(parts)
}

function decompressBlock(snappy: SnappyJs, block: Buffer, maxBytes: number): Buffer {
  // The claimed length comes first, as a plain varint; the library allocates by it.
  if (claimedLength(block) > maxBytes) throw tooLarge('snappy', maxBytes)
  const plain = snappy.uncompress(block)
  return Buffer.from(plain.buffer, plain.byteOffset, plain.byteLength)
}

function claimedLength(block: Buffer): number {
  let length = 0
  for (let at = 0, factor = 1; at < 5; at++, factor *= 128) {
    const byte = block[at]
    if (byte === undefined) break
    length += (byte & 0x7f) * factor
    if (byte < 0x80) return length
  }
  throw new TidemarkError('CORRUPT_BATCH', 'a snappy block has no length')
}
