/** Calls the codecs of a topic, and names the place in the error when one of them refuses. */
import { TidemarkError } from '../protocol/errors.ts'
import type { Codec } from './topic.ts'

type Part = 'key' | 'value'

/** Null stays null; everything else goes through the codec. Throws `SERIALIZATION_FAILED`, as do the promises of codecs that give one. */
export function encodeField<T>(codec: Codec<T>, field: T | null | undefined, topic: string, part: Part): Buffer | null | Promise<Buffer> {
  if (field === null || field === undefined) return null
  const place = (): string => `a ${part} for ${topic}`
  try {
    const encoded: unknown = codec.encode(field)
    return isThenable(encoded) ? later(encoded, bytesOf, place) : bytesOf(encoded)
  } catch (error) {
    throw refused(error, place())
  }
}

/** `where` names the record, and is called only when it cannot be decoded. */
export function decodeField<T>(codec: Codec<T>, bytes: Buffer | null, where: () => string, part: Part): T | null | Promise<T> {
  if (bytes === null) return null
  const place = (): string => `the ${part} of ${where()}`
  try {
    const decoded = codec.decode(bytes)
    return isThenable(decoded) ? later(decoded, (value) => value, place) : decoded
  } catch (error) {
    throw refused(error, place())
  }
}

async function later<A, B>(promise: PromiseLike<A>, then: (value: A) => B, place: () => string): Promise<B> {
  try {
    return then(await promise)
  } catch (error) {
    throw refused(error, place())
  }
}

function bytesOf(encoded: unknown): Buffer {
  if (Buffer.isBuffer(encoded)) return encoded
  if (encoded instanceof Uint8Array) return Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength)
  throw new TidemarkError('SERIALIZATION_FAILED', `its codec gave ${encoded === null ? 'null' : typeof encoded}, expected bytes`)
}

function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}

function refused(error: unknown, place: string): TidemarkError {
  const reason = error instanceof Error ? error.message : String(error)
  return new TidemarkError('SERIALIZATION_FAILED', `${place}: ${reason}`, { cause: error, outcome: 'failed' })
}
