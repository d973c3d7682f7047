/** Small pieces of what users type. */
import { TidemarkError } from '../protocol/errors.ts'

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

/** For options that may be repeated. */
export function collect(value: string, values: readonly string[]): readonly string[] {
  return [...values, value]
}

/** What `--acks`, `--compression` and `--durability` may be. */
export const ACKS: readonly string[] = ['all', 'leader', 'none']
export const COMPRESSIONS: readonly string[] = ['none', 'gzip', 'zstd', 'lz4', 'snappy']
export const DURABILITIES: readonly string[] = ['fsync', 'replicated', 'none']
