/** Topics of which a part goes: of each key the newest stays, and of a partition at least as much as was promised. */
import type { Anomaly } from './anomalies.ts'
import type { At, Entry } from './history.ts'
import { KEPT_RECORD_BYTES_MAX, RECENT_BYTES } from './topics.ts'

type Kept = Extract<Entry, { readonly op: 'kept' }>

interface Put {
  readonly key: string
  readonly value: string
  at?: At
  hasFailed?: boolean
}

/** What stands in the end, the newest of each key. */
interface Standing {
  readonly partition: number
  readonly offset: number
  readonly value: string
}

export interface KeptChecked {
  readonly anomalies: readonly Anomaly[]
  /** Acknowledged to the compacted topic, and how many records it has in the end. */
  readonly puts: number
  readonly left: number
}

export function checkKept(history: readonly Entry[]): KeptChecked {
  const puts = putsOf(history)
  const { newest, left } = standingOf(history)
  const acknowledged = [...puts.values()].filter(({ at }) => at !== undefined)
  return { anomalies: [...checkLatest(puts, newest), ...checkRecent(history)], puts: acknowledged.length, left }
}

function putsOf(history: readonly Entry[]): ReadonlyMap<string, Put> {
  const puts = new Map<string, Put>()
  const open = new Map<string, Put>()
  for (const entry of history) {
    if (entry.op !== 'put') continue
    const name = `${entry.process} ${entry.id}`
    if (entry.type === 'invoke') {
      const put = { key: entry.key, value: entry.value }
      puts.set(entry.value, put)
      open.set(name, put)
      continue
    }
    const put = open.get(name)
    if (put === undefined) throw new Error(`${name} ends a put that did not begin`)
    if (entry.type === 'ok') put.at = entry.at
    else put.hasFailed = entry.type === 'fail'
  }
  return puts
}

function standingOf(history: readonly Entry[]): { readonly newest: ReadonlyMap<string, Standing>; readonly left: number } {
  const newest = new Map<string, Standing>()
  const places = new Set<string>()
  for (const entry of history) {
    if (entry.op !== 'latest') continue
    for (const [offset, key, value] of entry.records) {
      places.add(`${entry.partition}@${offset}`)
      const before = newest.get(key)
      if (before === undefined || offset >= before.offset) newest.set(key, { partition: entry.partition, offset, value })
    }
  }
  return { newest, left: places.size }
}

/** Nothing that is older than what was acknowledged stands as the newest of its key, and nothing that nobody put there. */
function checkLatest(puts: ReadonlyMap<string, Put>, newest: ReadonlyMap<string, Standing>): Anomaly[] {
  const anomalies: Anomaly[] = []
  const say = (kind: Anomaly['kind'], what: string): number => anomalies.push({ kind, what })
  for (const [key, { partition, offset, value }] of newest) {
    const put = puts.get(value)
    const place = `the newest of ${key} is ${value}, at ${partition}@${offset}`
    if (put === undefined || put.key !== key) say('phantom', `${place}, which nobody put there`)
    else if (put.hasFailed === true) say('aborted-read', `${place}, which failed`)
  }
  for (const [key, { at, value }] of newestAcknowledged(puts)) {
    const standing = newest.get(key)
    if (standing !== undefined && (standing.offset > at[1] || (standing.offset === at[1] && standing.value === value))) continue
    const instead = standing === undefined ? 'nothing' : `${standing.value}, at ${standing.partition}@${standing.offset},`
    say('lost-update', `${value} was acknowledged at ${at.join('@')} for ${key}, and in the end ${instead} is there`)
  }
  return anomalies
}

function newestAcknowledged(puts: ReadonlyMap<string, Put>): ReadonlyMap<string, { readonly at: At; readonly value: string }> {
  const newest = new Map<string, { readonly at: At; readonly value: string }>()
  for (const { key, value, at } of puts.values())
    if (at !== undefined && at[1] > (newest.get(key)?.at[1] ?? -1)) newest.set(key, { at, value })
  return newest
}

/**
 * When the start of a partition has moved, at least as much is behind it as was promised. Its end has gone on a little since, so this is told late rather than
 * falsely. And neither goes back for whoever has seen it.
 */
function checkRecent(history: readonly Entry[]): Anomaly[] {
  const anomalies: Anomaly[] = []
  const seen = new Map<string, Kept>()
  for (const entry of history) {
    if (entry.op !== 'kept') continue
    const who = `${entry.process} ${entry.partition}`
    const before = seen.get(who)
    if (before !== undefined && (entry.start < before.start || entry.end < before.end))
      anomalies.push({
        kind: 'offset-regress',
        what: `${entry.process} saw partition ${entry.partition} from ${before.start} to ${before.end}, and then from ${entry.start} to ${entry.end}`,
      })
    seen.set(who, entry)
    if (entry.start === 0) continue
    const bytesMax = (entry.end - entry.start) * KEPT_RECORD_BYTES_MAX
    if (bytesMax < RECENT_BYTES)
      anomalies.push({
        kind: 'early-deletion',
        what: `partition ${entry.partition} is kept from ${entry.start} to ${entry.end}: ${bytesMax} bytes at most, of ${RECENT_BYTES}`,
      })
  }
  return anomalies
}
