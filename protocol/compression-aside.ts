/**
 * The codecs for who can wait, on an event loop that cannot: gzip and zstd work on the thread pool, whatever the size. snappy and lz4 know
 * no other thread; they take a few milliseconds a MiB here.
 */
import { promisify } from 'node:util'
import { asCodecError, type CompressionName, loadCodec } from './compression.ts'

export async function compressAside(name: CompressionName, plain: Buffer): Promise<Buffer> {
  if (name !== 'gzip' && name !== 'zstd') return (await loadCodec(name)).compress(plain)
  const { gzip, zstdCompress } = await import('node:zlib')
  return name === 'gzip' ? promisify(gzip)(plain) : promisify(zstdCompress)(plain)
}

/** Throws `CORRUPT_BATCH` for a broken stream, `LIMIT_EXCEEDED` for one that grows beyond `maxBytes`. */
export async function decompressAside(name: CompressionName, packed: Buffer, maxBytes: number): Promise<Buffer> {
  if (name !== 'gzip' && name !== 'zstd') return (await loadCodec(name)).decompress(packed, maxBytes)
  const { gunzip, zstdDecompress } = await import('node:zlib')
  const limits = { maxOutputLength: maxBytes }
  try {
    return await (name === 'gzip' ? promisify(gunzip)(packed, limits) : promisify(zstdDecompress)(packed, limits))
  } catch (error) {
    throw asCodecError(name, error, maxBytes)
  }
}
