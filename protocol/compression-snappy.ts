/**
 * Snappy, in the framing that Java's library gives it and Kafka's clients expect:
 *
 * ```
 * 82 'SNAPPY' 00   magic
 * int32 int32      version and lowest compatible version, both 1
 * { int32 length, snappy block } …
 * ```
 *
 * A bare block, as some clients send, is read too. Compression is by `snappyjs`. Blocks are
 * decompressed here, because what is read may be hostile: in `snappyjs` 0.7.0 a literal with a
 * negative length moves the position back, and it never returns.
 */
import type { Codec } from './compression.ts'
import { corruptStream, tooLarge } from './compression.ts'
import { repeatCopy } from './repeat-copy.ts'

const FRAME_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
const FRAME_HEADER_BYTES = 16
const BLOCK_BYTES_MAX = 32 * 1024

/** What a byte may stand for at most: a copy of 64 bytes takes three. */
const EXPANSION_MAX = 22

interface SnappyJs {
  compress(plain: Uint8Array): Uint8Array
}

export async function openSnappy(): Promise<Codec> {
  const { default: snappy } = (await import('snappyjs')) as { default: SnappyJs }
  return {
    compress: (plain) => compressFramed(snappy, plain),
    decompress: (packed, maxBytes) =>
      packed.subarray(0, FRAME_MAGIC.length).equals(FRAME_MAGIC) ? decompressFramed(packed, maxBytes) : decompressBlock(packed, maxBytes),
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

function decompressFramed(packed: Buffer, maxBytes: number): Buffer {
  const parts: Buffer[] = []
  let leftBytes = maxBytes
  if (packed.length < FRAME_HEADER_BYTES) throw corruptStream('snappy', 'the frame header is cut off')
  for (let at = FRAME_HEADER_BYTES; at < packed.length; ) {
    if (packed.length - at < 4) throw corruptStream('snappy', 'the frame is cut off')
    const length = packed.readInt32BE(at)
    at += 4
    if (length < 0 || length > packed.length - at)
      throw corruptStream('snappy', `a block claims ${length} bytes, ${packed.length - at} are left`)
    const block = decompressBlock(packed.subarray(at, at + length), leftBytes)
    leftBytes -= block.length
    parts.push(block)
    at += length
  }
  return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
}

function decompressBlock(block: Buffer, maxBytes: number): Buffer {
  const { plainBytes, position } = readPlainLength(block)
  if (plainBytes > maxBytes) throw tooLarge('snappy', maxBytes)
  if (plainBytes > block.length * EXPANSION_MAX)
    throw corruptStream('snappy', `a block of ${block.length} bytes claims to hold ${plainBytes}`)
  const output = Buffer.allocUnsafe(plainBytes)
  let written = 0
  for (let at = position; at < block.length; ) {
    const tag = block[at++] as number
    const kind = tag & 3
    if (kind === 0) {
      let length = (tag >>> 2) + 1
      if (length > 60) {
        const lengthBytes = length - 60
        if (lengthBytes > block.length - at) throw corruptStream('snappy', 'a length is cut off')
        length = block.readUIntLE(at, lengthBytes) + 1
        at += lengthBytes
      }
      if (length > block.length - at || length > plainBytes - written) throw corruptStream('snappy', `a literal claims ${length} bytes`)
      block.copy(output, written, at, at + length)
      at += length
      written += length
    } else {
      const offsetBytes = kind === 3 ? 4 : kind
      if (offsetBytes > block.length - at) throw corruptStream('snappy', 'an offset is cut off')
      const length = kind === 1 ? ((tag >>> 2) & 7) + 4 : (tag >>> 2) + 1
      const distance = block.readUIntLE(at, offsetBytes) + (kind === 1 ? (tag >>> 5) << 8 : 0)
      if (distance === 0 || distance > written || length > plainBytes - written)
        throw corruptStream('snappy', `a copy of ${length} bytes from ${distance} back, ${written} written`)
      repeatCopy(output, written, distance, length)
      at += offsetBytes
      written += length
    }
  }
  if (written !== plainBytes) throw corruptStream('snappy', `a block claims ${plainBytes} bytes and holds ${written}`)
  return output
}

/** The length of the plain bytes comes first, as a varint of up to 32 bits. */
function readPlainLength(block: Buffer): { plainBytes: number; position: number } {
  let plainBytes = 0
  for (let at = 0, factor = 1; at < 5; at++, factor *= 128) {
    const byte = block[at]
    if (byte === undefined) break
    plainBytes += (byte & 0x7f) * factor
    if (byte < 0x80) return { plainBytes, position: at + 1 }
  }
  throw corruptStream('snappy', 'a block has no length')
}
