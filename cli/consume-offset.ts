/**
 * `--offset`: where `consume` starts and ends. The grammar is rpk's:
 *
 * ```
 * start            the earliest record        :end        up to the end as it is now
 * end              only new records           5           from offset 5
 * +5               5 after the start          -5          the last 5 of each partition
 * 5:10             offsets 5 to 9             @time       the first at or after a time
 * @time:time       between two times          @-1h:end    from one hour ago to now
 * ```
 * A time is milliseconds since 1970, seconds (10 digits), a date such as 2026-11-20T10:00:00Z, or a duration before now.
 */
import { TidemarkError } from '../protocol/errors.ts'
import { durationOf } from './arguments.ts'

export type OffsetBound =
  | { readonly kind: 'start' }
  | { readonly kind: 'end' }
  | { readonly kind: 'absolute'; readonly offset: bigint }
  | { readonly kind: 'afterStart'; readonly count: number }
  | { readonly kind: 'beforeEnd'; readonly count: number }
  | { readonly kind: 'time'; readonly timestampMs: number }

export interface OffsetRange {
  readonly from: OffsetBound
  /** Exclusive; undefined: go on for ever. */
  readonly to: OffsetBound | undefined
}

/** Throws `USAGE`. */
export function parseOffsetRange(text: string, nowMs: number): OffsetRange {
  const isTime = text.startsWith('@')
  const body = isTime ? text.slice(1) : text
  const at = splitAt(body, isTime)
  const [from, to] = at < 0 ? [body, undefined] : [body.slice(0, at), body.slice(at + 1)]
  const bound = (part: string): OffsetBound => (isTime ? timeBound(part, nowMs, text) : offsetBound(part, text))
  const range = {
    from: from === '' ? ({ kind: 'start' } as const) : bound(from),
    to: to === undefined ? undefined : to === '' ? ({ kind: 'end' } as const) : bound(to),
  }
  if (isBackwards(range)) throw new TidemarkError('USAGE', `${JSON.stringify(text)} ends before it begins`)
  return range
}

/** As far as it can be told without asking where the partitions begin and end. */
function isBackwards({ from, to }: OffsetRange): boolean {
  if (from.kind === 'absolute' && to?.kind === 'absolute') return to.offset < from.offset
  if (from.kind === 'time' && to?.kind === 'time') return to.timestampMs < from.timestampMs
  if (from.kind === 'afterStart' && to?.kind === 'afterStart') return to.count < from.count
  return from.kind === 'beforeEnd' && to?.kind === 'beforeEnd' && to.count > from.count
}

/** The colon between two bounds; dates have colons of their own. */
function splitAt(body: string, isTime: boolean): number {
  if (!isTime) return body.indexOf(':')
  const match = /^(?:\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?|[^:]*)/.exec(body)
  const end = match?.[0].length ?? 0
  return body[end] === ':' ? end : -1
}

function offsetBound(part: string, whole: string): OffsetBound {
  if (part === 'start') return { kind: 'start' }
  if (part === 'end') return { kind: 'end' }
  const match = /^([+-]?)(\d+)$/.exec(part)
  if (match === null)
    throw new TidemarkError('USAGE', `${JSON.stringify(whole)} is not an offset: use start, end, 5, +5, -5, 5:10 or @time`)
  const [, sign, digits = ''] = match
  if (sign === '+') return { kind: 'afterStart', count: Number(digits) }
  if (sign === '-') return { kind: 'beforeEnd', count: Number(digits) }
  return { kind: 'absolute', offset: BigInt(digits) }
}

function timeBound(part: string, nowMs: number, whole: string): OffsetBound {
  if (part === 'start') return { kind: 'start' }
  if (part === 'end') return { kind: 'end' }
  if (/^\d{10}$/.test(part)) return { kind: 'time', timestampMs: Number(part) * 1000 }
  if (/^\d{11,}$/.test(part)) return { kind: 'time', timestampMs: Number(part) }
  if (/^-\d/.test(part)) return { kind: 'time', timestampMs: nowMs - durationOf(part.slice(1), '--offset') }
  const timestampMs = Date.parse(part)
  if (Number.isNaN(timestampMs))
    throw new TidemarkError(
      'USAGE',
      `${JSON.stringify(whole)} is not a time: use milliseconds, a date such as 2026-11-20T10:00:00Z, or -1h`,
    )
  return { kind: 'time', timestampMs }
}
