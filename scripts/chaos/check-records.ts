/** What stands at which offset: seen by whoever sent, whoever read, and in the end. */
import type { Anomaly } from './anomalies.ts'
import type { Entry } from './history.ts'
import type { Sends } from './sends.ts'

/** Of each partition, the value at each offset. */
type Log = Map<number, Map<number, string>>

export interface RecordsChecked {
  readonly anomalies: readonly Anomaly[]
  /** Copies that producers wrote which do not claim to write once. */
  readonly toleratedCopies: number
  /** Records that were read in the end. */
  readonly finalCount: number
}

export function checkRecords(history: readonly Entry[], sends: Sends): RecordsChecked {
  const anomalies: Anomaly[] = []
  const seen: Log = new Map()
  const final: Log = new Map()
  const see = (log: Log, partition: number, offset: number, value: string): void => {
    const values = log.get(partition) ?? new Map<number, string>()
    log.set(partition, values)
    const known = values.get(offset)
    if (known !== undefined && known !== value)
      anomalies.push({ kind: 'inconsistent-offsets', what: `${partition}@${offset} is ${known} and ${value}` })
    else values.set(offset, value)
  }
  for (const entry of history) {
    if (entry.op !== 'poll' && entry.op !== 'final') continue
    for (const [offset, value] of entry.records) {
      see(seen, entry.partition, offset, value)
      if (entry.op === 'final') see(final, entry.partition, offset, value)
    }
  }
  for (const { at, value } of sends.all) if (at !== undefined) see(seen, at[0], at[1], value)
  const tolerated = checkValues(seen, sends, anomalies)
  for (const [partition, values] of seen) checkThere(partition, values, final.get(partition) ?? new Map(), sends, anomalies)
  const finalCount = [...final.values()].reduce((sum, { size }) => sum + size, 0)
  return { anomalies, toleratedCopies: tolerated, finalCount }
}

/** Each value comes from a send that may have been written, and stands in one place. Counts the copies of those that may. */
function checkValues(seen: Log, sends: Sends, anomalies: Anomaly[]): number {
  const places = new Map<string, string>()
  let tolerated = 0
  for (const [partition, values] of seen) {
    for (const [offset, value] of values) {
      const place = `${partition}@${offset}`
      const sent = sends.byValue.get(value)
      if (sent === undefined) anomalies.push({ kind: 'phantom', what: `${place} is ${value}, which nobody sent` })
      else if (sent.outcome === 'fail')
        anomalies.push({ kind: 'aborted-read', what: `${value} failed with ${sent.error} and is at ${place}` })
      const before = places.get(value)
      if (before === undefined) places.set(value, place)
      else if (sent?.isIdempotent === false) tolerated++
      else anomalies.push({ kind: 'duplicate', what: `${value} is at ${before} and at ${place}` })
    }
  }
  return tolerated
}

/** Whatever was acknowledged or read is there in the end, and there is no hole. */
function checkThere(
  partition: number,
  seen: ReadonlyMap<number, string>,
  final: ReadonlyMap<number, string>,
  sends: Sends,
  anomalies: Anomaly[],
): void {
  let end = 0
  for (const offset of final.keys()) end = Math.max(end, offset + 1)
  for (const [offset, value] of seen) {
    if (final.has(offset)) continue
    const how = sends.byValue.get(value)?.outcome === 'ok' ? 'acknowledged' : 'read'
    const what = `${value} was ${how} at ${partition}@${offset}, and is not there in the end`
    anomalies.push({ kind: offset < end ? 'lost-write' : 'unseen', what: `${what}, where the partition ends at ${end}` })
  }
  for (let offset = 0; offset < end; offset++)
    if (!final.has(offset) && !seen.has(offset))
      anomalies.push({ kind: 'int-poll-skip', what: `in the end ${partition}@${offset} is not there, and nobody knows what it was` })
}
