/** Durations and sizes as people write them: `30s`, `7d`, `512KiB`, `1GB`. */
import { TidemarkError } from './errors.ts'

/** Milliseconds, or a number with a unit: ms, s, m, h, d, w. */
export type Duration = number | string

/** Bytes, or a number with a unit: B, KB/MB/GB/TB (powers of 1000), KiB/MiB/GiB/TiB (powers of 1024). */
export type Size = number | string

const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 }

const SIZE_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1000,
  MB: 1000 ** 2,
  GB: 1000 ** 3,
  TB: 1000 ** 4,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
}

/** A duration in milliseconds. `what` names the setting in the error. Throws `INVALID_CONFIG`. */
export function parseDuration(value: Duration, what: string): number {
  return parseQuantity(value, what, DURATION_UNITS, 'a duration such as 500ms, 30s, 15m, 7d')
}

/** A size in bytes. `what` names the setting in the error. Throws `INVALID_CONFIG`. */
export function parseSize(value: Size, what: string): number {
  return parseQuantity(value, what, SIZE_UNITS, 'a size such as 1048576, 512KiB, 1GiB')
}

function parseQuantity(value: number | string, what: string, units: Readonly<Record<string, number>>, expected: string): number {
  const result = typeof value === 'number' ? value : quantityOfText(value.trim(), units)
  if (result === undefined || !Number.isFinite(result) || result < 0 || result > Number.MAX_SAFE_INTEGER) {
    throw new TidemarkError('INVALID_CONFIG', `${what} is ${JSON.stringify(value)}, expected ${expected}`)
  }
  return Math.round(result)
}

function quantityOfText(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text)
  if (match === null) return undefined
  const [, digits = '', unit = ''] = match
  const factor = unit === '' ? 1 : Object.entries(units).find(([name]) => name.toLowerCase() === unit.toLowerCase())?.[1]
  return factor === undefined ? undefined : Number(digits) * factor
}

/** The shortest exact form: 604800000 → `7d`, 1500 → `1500ms`. */
export function formatDuration(ms: number): string {
  return formatExact(
    ms,
    [
      ['d', 86_400_000],
      ['h', 3_600_000],
      ['m', 60_000],
      ['s', 1000],
    ],
    'ms',
  )
}

/** The shortest exact form: 1048576 → `1MiB`, 1000 → `1000B`. */
export function formatSize(bytes: number): string {
  return formatExact(
    bytes,
    [
      ['TiB', 1024 ** 4],
      ['GiB', 1024 ** 3],
      ['MiB', 1024 ** 2],
      ['KiB', 1024],
    ],
    'B',
  )
}

function formatExact(value: number, units: readonly (readonly [string, number])[], smallest: string): string {
  for (const [unit, factor] of units) {
    if (value >= factor && value % factor === 0) return `${value / factor}${unit}`
  }
  return `${value}${smallest}`
}
