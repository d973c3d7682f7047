/**
 * LZ4 frames by `lz4js`: pure JavaScript, small, and silent for years because the format is
 * finished. The faster packages are native add-ons, which a client must not need.
 */
import type { Codec } from './compression.ts'
import { tooLarge } from './compression.ts'

interface Lz4Js {
  compress(plain: Uint8Array): Uint8Array
  decompress(packed: Uint8Array, maxSize?: number): Uint8Array
  decompressBound(packed: Uint8Array): number
}

export async function openLz4(): Promise<Codec> {
  const { default: lz4 } = (await import('lz4js')) as { default: Lz4Js }
  return {
    compress: (plain) => asBuffer(lz4.compress(plain)),
    decompress(packed, maxBytes) {
      // An upper bound from the frame's own block headers; the library allocates by it.
      const boundBytes = lz4.decompressBound(packed)
      if (boundBytes > maxBytes) throw tooLarge('lz4', maxBytes)
      return asBuffer(lz4.decompress(packed, boundBytes))
    },
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
