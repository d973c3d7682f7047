/**
 * Topics by value: a name with the types of its keys and values and how they become bytes.
 */
import { TidemarkError } from '../protocol/errors.ts'

/** How values of one type become bytes and back. Encoding and decoding may be asynchronous. */
export interface Codec<T> {
  encode(value: T): Buffer | Promise<Buffer>
  decode(bytes: Buffer): T | Promise<T>
}

/** What Standard Schema asks of a validator (zod, valibot, arktype and others): see standardschema.dev. */
export interface StandardSchema<T> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => StandardResult<T> | Promise<StandardResult<T>>
    readonly types?: { readonly input: unknown; readonly output: T } | undefined
  }
}

type StandardResult<T> =
  | { readonly value: T; readonly issues?: undefined }
  | {
      readonly issues: readonly {
        readonly message: string
        readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
      }[]
    }

/** A topic with typed keys and values. */
export interface TopicRef<K, V> {
  readonly name: string
  readonly key: Codec<K>
  readonly value: Codec<V>
}

/** A topic by its name alone: keys and values are bytes, and strings are taken as UTF-8. */
export type TopicLike<K, V> = TopicRef<K, V> | string

export type CodecLike<T> = Codec<T> | (T extends string ? 'string' : never) | (T extends Buffer ? 'bytes' : never)

export const stringCodec: Codec<string> = { encode: (value) => Buffer.from(value), decode: (bytes) => bytes.toString() }
export const bytesCodec: Codec<Buffer> = { encode: (value) => value, decode: (bytes) => bytes }

/** JSON; with a schema, checked by it in both directions. Without one the type is the caller's word. */
export function json<T = unknown>(schema?: StandardSchema<T>): Codec<T> {
  return {
    encode: (value) => {
      const checked = schema === undefined ? value : check(schema, value)
      return checked instanceof Promise ? checked.then(toJson) : toJson(checked)
    },
    decode: (bytes) => {
      const value = fromJson(bytes)
      return schema === undefined ? (value as T) : check(schema, value)
    },
  }
}

type CodecOption = Codec<unknown> | 'string' | 'bytes'

/** The type of the keys or values that a codec reads and writes. */
type TypeOf<C extends CodecOption> = C extends Codec<infer T> ? T : C extends 'string' ? string : Buffer

/** A topic whose records have the types of these codecs: `'string'`, `'bytes'` (default), `json(...)` or your own. */
export function topic<K extends CodecOption = 'bytes', V extends CodecOption = 'bytes'>(
  name: string,
  codecs?: { readonly key?: K; readonly value?: V },
): TopicRef<TypeOf<K>, TypeOf<V>>
/** The same with the types named: `topic<string, Order>('orders', ...)`. */
export function topic<K, V>(name: string, codecs: { readonly key?: CodecLike<K>; readonly value?: CodecLike<V> }): TopicRef<K, V>
export function topic<K, V>(name: string, codecs: { readonly key?: CodecLike<K>; readonly value?: CodecLike<V> } = {}): TopicRef<K, V> {
  return { name, key: codecOf(codecs.key), value: codecOf(codecs.value) }
}

/** What a plain name stands for. */
export function refOf<K, V>(like: TopicLike<K, V>): TopicRef<K, V> {
  return typeof like === 'string' ? ({ name: like, key: looseCodec, value: looseCodec } as unknown as TopicRef<K, V>) : like
}

const looseCodec: Codec<Buffer | string> = {
  encode: (value) => (typeof value === 'string' ? Buffer.from(value) : value),
  decode: (bytes) => bytes,
}

function codecOf<T>(like: CodecLike<T> | undefined): Codec<T> {
  if (like === undefined || like === 'bytes') return bytesCodec as unknown as Codec<T>
  return like === 'string' ? (stringCodec as unknown as Codec<T>) : (like as Codec<T>)
}

function toJson(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}

function fromJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch (error) {
    throw new TidemarkError('SERIALIZATION_FAILED', `a value is not JSON: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    })
  }
}

function check<T>(schema: StandardSchema<T>, value: unknown): T | Promise<T> {
  const result = schema['~standard'].validate(value)
  return result instanceof Promise ? result.then(valueOf) : valueOf(result)
}

function valueOf<T>(result: StandardResult<T>): T {
  if (result.issues === undefined) return result.value
  const [first] = result.issues
  const path = first?.path?.map((part) => String(typeof part === 'object' ? part.key : part)).join('.')
  throw new TidemarkError(
    'SERIALIZATION_FAILED',
    `a value does not fit the schema${path ? ` at ${path}` : ''}: ${first?.message ?? 'invalid'}`,
    { outcome: 'failed' },
  )
}
