/** The order of sends, and of what one consumer is given. */
import type { Anomaly, AnomalyKind } from './anomalies.ts'
import type { Entry, Seen } from './history.ts'
import type { Send, Sends } from './sends.ts'

export function checkOrder(history: readonly Entry[], sends: Sends): Anomaly[] {
  return [...checkRealTime(sends), ...checkProducers(sends), ...checkPolls(history)]
}

/** A send that began when another, of whomever, had been acknowledged stands behind it. */
function checkRealTime(sends: Sends): Anomaly[] {
  const anomalies: Anomaly[] = []
  for (const list of acknowledgedByPartition(sends).values()) {
    const byOffset = [...list].sort((a, b) => offsetOf(a) - offsetOf(b))
    /** Of those below, the one that began last. */
    let latest: Send | undefined
    for (const send of byOffset) {
      if (latest !== undefined && send.endedMs < latest.invokedMs)
        anomalies.push({
          kind: 'nonmonotonic-send',
          what: `${latest.value} was sent when ${send.value} had been acknowledged, and stands before it, at ${latest.at?.join('@')}`,
        })
      if (latest === undefined || send.invokedMs > latest.invokedMs) latest = send
    }
  }
  return anomalies
}

/** What one idempotent producer sends to a partition stands in the order of its sends. */
function checkProducers(sends: Sends): Anomaly[] {
  const anomalies: Anomaly[] = []
  for (const list of acknowledgedByPartition(sends).values()) {
    const last = new Map<string, Send>()
    for (const send of list) {
      if (!send.isIdempotent) continue
      const before = last.get(send.process)
      if (before !== undefined && offsetOf(before) >= offsetOf(send))
        anomalies.push({
          kind: 'int-nonmonotonic-send',
          what: `${send.value} was sent after ${before.value} and stands at ${send.at?.join('@')}, before ${before.at?.join('@')}`,
        })
      last.set(send.process, send)
    }
  }
  return anomalies
}

function acknowledgedByPartition(sends: Sends): ReadonlyMap<number, readonly Send[]> {
  return Map.groupBy(
    sends.all.filter(({ at }) => at !== undefined),
    ({ at }) => at?.[0] ?? -1,
  )
}

function offsetOf({ at }: Send): number {
  return at?.[1] ?? -1
}

/** A consumer gets one offset after the other, from where it begins or was told to begin. */
function checkPolls(history: readonly Entry[]): Anomaly[] {
  const anomalies: Anomaly[] = []
  const next = new Map<string, number>()
  for (const entry of history) {
    const { process } = entry
    if (entry.op === 'take') next.set(`${process} has ${entry.at[0]} in epoch ${entry.epoch}`, entry.at[1])
    if (entry.op !== 'poll') continue
    const who = `${process} has ${entry.partition}${entry.epoch === undefined ? '' : ` in epoch ${entry.epoch}`}`
    let expected = next.get(who)
    for (const [index, [offset]] of entry.records.entries()) {
      if (expected !== undefined && offset !== expected)
        anomalies.push({ kind: kindOf(offset > expected, index > 0), what: `${who}, where ${expected} comes next, and gets ${offset}` })
      expected = offset + 1
    }
    if (expected !== undefined) next.set(who, expected)
  }
  return anomalies
}

function kindOf(isSkip: boolean, isWithin: boolean): AnomalyKind {
  if (isSkip) return isWithin ? 'int-poll-skip' : 'poll-skip'
  return isWithin ? 'int-nonmonotonic-poll' : 'nonmonotonic-poll'
}

/** One past the last of them. */
export function endOf(records: readonly Seen[]): number {
  return (records.at(-1)?.[0] ?? -1) + 1
}
