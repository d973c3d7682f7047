/**
 * The codecs of record batches. gzip and zstd are Node's own; snappy and lz4 come from
 * packages that are loaded when first used, and an application that uses neither
 * never loads them.
 *
 * snappy is written in the framing of Java's library, as Kafka's clients do, and read with or without it. lz4 is the
 * LZ4 frame format. Decompression never makes more than the bytes the caller allows.
 */
import { TidemarkError } from './errors.ts'

export type CompressionName = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'

/** Position = the number in a batch's attributes. */
export const COMPRESSIONS: readonly CompressionName[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']

/** What one batch may decompress to when the caller does not say. */
export const DECOMPRESSED_BYTES_MAX_DEFAULT: number = 64 * 1024 * 1024

export function codecNumber(name: CompressionName): number {
  const number = COMPRESSIONS.indexOf(name)
  if (number < 0)
    throw new TidemarkError(
      'UNSUPPORTED_COMPRESSION',
      `compression ${JSON.stringify(name)} is unknown, there is ${COMPRESSIONS.join(', ')}`,
    )
  return number
}

/**
 * Synchronous once loaded. For zstd, and for decompression, handing the work to the thread pool keeps the event loop as busy
 * as doing it (measured from 4 KiB to 1 MiB: 0.1 to 3 ms either way) and takes longer. Compressing with gzip is
 * the exception: 64 KiB of text take 1 to 4 ms and 1 MiB up to 40. Who must not wait that long uses zstd or lz4.
 */
export interface Codec {
  compress(plain: Buffer): Buffer
  /** Throws `CORRUPT_BATCH` for a broken stream, `LIMIT_EXCEEDED` for one that grows beyond `maxBytes`. */
  decompress(packed: Buffer, maxBytes: number): Buffer
}

const loaded = new Map<CompressionName, Codec>()

/** The codec when it is already loaded. */
export function loadedCodec(name: CompressionName): Codec | undefined {
  return loaded.get(name)
}

/** Loads a codec. Throws `UNSUPPORTED_COMPRESSION` when its package is missing. */
export async function loadCodec(name: CompressionName): Promise<Codec> {
  const present = loaded.get(name)
  if (present !== undefined) return present
  const codec = guarded(name, await openCodec(name))
  loaded.set(name, codec)
  return codec
}

/** The codec of a batch's attributes. Throws `UNSUPPORTED_COMPRESSION` for a number nobody gave a meaning. */
export function compressionOfNumber(number: number): CompressionName {
  const name = COMPRESSIONS[number]
  if (name === undefined) throw new TidemarkError('UNSUPPORTED_COMPRESSION', `compression codec ${number} is unknown`)
  return name
}

async function openCodec(name: CompressionName): Promise<Codec> {
  switch (name) {
    case 'none':
      return { compress: (plain) => plain, decompress: (packed) => packed }
    case 'gzip': {
      const { gzipSync, gunzipSync } = await import('node:zlib')
      return { compress: (plain) => gzipSync(plain), decompress: (packed, maxBytes) => gunzipSync(packed, { maxOutputLength: maxBytes }) }
    }
    case 'zstd': {
      const { zstdCompressSync, zstdDecompressSync } = await import('node:zlib')
      return {
        compress: (plain) => zstdCompressSync(plain),
        decompress: (packed, maxBytes) => zstdDecompressSync(packed, { maxOutputLength: maxBytes }),
      }
    }
    case 'snappy': {
      const { openSnappy } = await import('./compression-snappy.ts')
      return openSnappy()
    }
    case 'lz4': {
      const { openLz4 } = await import('./compression-lz4.ts')
      return openLz4()
    }
    default:
      throw new TidemarkError(
        'UNSUPPORTED_COMPRESSION',
        `compression ${JSON.stringify(name)} is unknown, there is ${COMPRESSIONS.join(', ')}`,
      )
  }
}

/** Every failure of a library as one of ours. */
function guarded(name: CompressionName, codec: Codec): Codec {
  return {
    compress: (plain) => codec.compress(plain),
    decompress(packed, maxBytes) {
      try {
        return codec.decompress(packed, maxBytes)
      } catch (error) {
        throw asCodecError(name, error, maxBytes)
      }
    },
  }
}

/** What decompressing to at most `maxBytes` failed with, as one of ours. */
export function asCodecError(name: CompressionName, error: unknown, maxBytes: number): TidemarkError {
  if (TidemarkError.is(error)) return error
  if (error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE') return tooLarge(name, maxBytes)
  return corruptStream(name, error instanceof Error ? error.message : String(error), error)
}

export function corruptStream(name: CompressionName, detail: string, cause?: unknown): TidemarkError {
  return new TidemarkError('CORRUPT_BATCH', `a ${name} stream cannot be decompressed: ${detail}`, { cause })
}

export function tooLarge(name: CompressionName, maxBytes: number): TidemarkError {
  return new TidemarkError('LIMIT_EXCEEDED', `a ${name} stream decompresses to more than ${maxBytes} bytes`)
}
