/** Nothing stops in silence: when all is well again everything goes on, and in the end everybody has read everything. */
import type { Anomaly } from './anomalies.ts'
import { endOf } from './check-order.ts'
import type { Entry } from './history.ts'
import type { Sends } from './sends.ts'

/** What a send may end with while nodes fail for longer than its deadline. */
const EXPECTED: ReadonlySet<string> = new Set([
  'DELIVERY_TIMED_OUT',
  'REQUEST_TIMED_OUT',
  'UNAVAILABLE',
  'BUFFER_FULL',
  'CLOSED',
  'CANCELLED',
])

/** `stallMs`: how long after healing a partition may take until something is written to it. */
export function checkProgress(history: readonly Entry[], sends: Sends, stallMs: number): Anomaly[] {
  return [...checkErrors(history, sends), ...checkHealing(history, sends, stallMs), ...checkDrained(history)]
}

/** Without sequences a copy of what may have been written would stay, so the producer does not send it again. */
const EXPECTED_WITHOUT_SEQUENCES = 'NOT_ENOUGH_REPLICAS_AFTER_APPEND'

function checkErrors(history: readonly Entry[], sends: Sends): Anomaly[] {
  const anomalies: Anomaly[] = []
  for (const { outcome, error, value, isIdempotent } of sends.all)
    if (outcome !== 'ok' && error !== '' && !EXPECTED.has(error) && (isIdempotent || error !== EXPECTED_WITHOUT_SEQUENCES))
      anomalies.push({ kind: 'wrong-error', what: `the send of ${value} ended with ${error}` })
  for (const entry of history) {
    if (entry.op === 'die') anomalies.push({ kind: 'wrong-error', what: `${entry.process} ended with ${entry.error}` })
    if (entry.op === 'not whole') anomalies.push({ kind: 'stall', what: `not whole again in time: ${entry.what}` })
  }
  return anomalies
}

/** Between each healing and the next fault each partition is written to, if there was time for it. */
function checkHealing(history: readonly Entry[], sends: Sends, stallMs: number): Anomaly[] {
  const anomalies: Anomaly[] = []
  const acknowledged = Map.groupBy(
    sends.all.filter(({ outcome }) => outcome === 'ok'),
    ({ at }) => at?.[0] ?? -1,
  )
  const marks = history.filter(({ op }) => op === 'period' || op === 'heal' || op === 'drained')
  for (const [index, { op, t }] of marks.entries()) {
    const untilMs = marks[index + 1]?.t ?? t
    if (op !== 'heal' || untilMs - t < stallMs) continue
    for (const [partition, list] of acknowledged)
      if (!list.some(({ endedMs }) => endedMs >= t && endedMs <= t + stallMs))
        anomalies.push({
          kind: 'stall',
          what: `nothing was written to partition ${partition} within ${stallMs} ms of ${Math.round(t)}, when all was well again`,
        })
  }
  return anomalies
}

/** Groups, and readers that lived to see it, have got to the end of every partition. */
function checkDrained(history: readonly Entry[]): Anomaly[] {
  const ends = new Map<number, number>()
  /** Who reads on its own, and who together: up to where, by partition. */
  const reached = new Map<string, Map<number, number>>()
  const nameOf = new Map<string, string>()
  const drainedMs = history.find(({ op }) => op === 'drained')?.t
  if (drainedMs === undefined) return []
  const stopped = new Set(history.flatMap(({ op, process, t }) => (op === 'stop' && t > drainedMs ? [process] : [])))
  for (const entry of history) {
    const { process } = entry
    if (entry.op === 'start' && entry.role === 'member') nameOf.set(process, `group ${entry.group}`)
    if (entry.op === 'start' && entry.role === 'reader' && stopped.has(process)) nameOf.set(process, process)
    if (entry.op === 'final') ends.set(entry.partition, Math.max(endOf(entry.records), ends.get(entry.partition) ?? 0))
    const name = nameOf.get(process)
    if (name === undefined) continue
    const far = reached.get(name) ?? new Map<number, number>()
    reached.set(name, far)
    if (entry.op === 'poll') far.set(entry.partition, Math.max(endOf(entry.records), far.get(entry.partition) ?? 0))
  }
  return [...reached].flatMap(([name, far]) =>
    [...ends].flatMap(([partition, end]): Anomaly[] =>
      (far.get(partition) ?? 0) >= end
        ? []
        : [{ kind: 'stall', what: `${name} has read partition ${partition} up to ${far.get(partition) ?? 0}, and it ends at ${end}` }],
    ),
  )
}
