/** Small pieces of what users type. */
import { TidemarkError } from '../protocol/errors.ts'
import { parseDuration, parseSize } from '../protocol/units.ts'

/** `key=value`. Throws `USAGE`. */
export function pairOf(text: string): [string, string] {
  const at = text.indexOf('=')
  if (at <= 0) throw new TidemarkError('USAGE', `${JSON.stringify(text)} is not of the form key=value`)
  return [text.slice(0, at), text.slice(at + 1)]
}

/** Throws `USAGE`, naming `what`. */
export function wholeNumber(text: string, what: string): number {
  const number = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number))
    throw new TidemarkError('USAGE', `${what} is ${JSON.stringify(text)}, expected a whole number`)
  return number
}

/** Milliseconds of `30s` and the like. Throws `USAGE`, naming `what`. */
export function durationOf(text: string, what: string): number {
  return asUsage(() => parseDuration(text, what))
}

/** Bytes of `1MiB` and the like. Throws `USAGE`, naming `what`. */
export function sizeOf(text: string, what: string): number {
  return asUsage(() => parseSize(text, what))
}

/** What is wrong with a setting of a node is wrong with an option of a command in another way: other help applies. */
function asUsage<T>(parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    throw new TidemarkError('USAGE', (error as Error).message, { cause: error })
  }
}

/** For options that may be repeated. */
export function collect(value: string, values: readonly string[] = []): readonly string[] {
  return [...values, value]
}

/** As a word of a shell. */
export function quoted(text: string): string {
  return /^[\w./:=@,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}

/** What `--acks`, `--compression` and `--durability` may be. */
export const ACKS: readonly string[] = ['all', 'leader', 'none']
export const COMPRESSIONS: readonly string[] = ['none', 'gzip', 'zstd', 'lz4', 'snappy']
export const DURABILITIES: readonly string[] = ['fsync', 'replicated', 'none']
