/** From a history to what is wrong in it, and what was counted. Pure: the same history gives the same result. */
import type { Anomaly } from './anomalies.ts'
import { checkChanges } from './check-changes.ts'
import { checkGroups } from './check-groups.ts'
import { checkKept } from './check-kept.ts'
import { checkLooks } from './check-looks.ts'
import { checkOrder } from './check-order.ts'
import { checkProgress } from './check-progress.ts'
import { checkRecords } from './check-records.ts'
import type { Entry } from './history.ts'
import { type Send, sendsOf } from './sends.ts'

export interface Checked {
  readonly anomalies: readonly Anomaly[]
  readonly acknowledged: number
  readonly failed: number
  readonly indeterminate: number
  /** Records that were read in the end and compared. */
  readonly checked: number
  /** Records given to readers and members while it went on. */
  readonly delivered: number
  readonly commits: number
  readonly toleratedCopies: number
  /** Acknowledged to the compacted topic, and how many records are left of them. */
  readonly puts: number
  readonly putsLeft: number
  /** Times at which a start of a partition was seen that had moved. */
  readonly cuts: number
  /** Changes of topics that were acknowledged. */
  readonly changes: number
  readonly entries: number
}

/** Longer than three sessions, and than it takes to notice a half-open connection: 30 s to the next ping, 10 s for its answer. */
export const STALL_MS = 45_000

/** `history` in the order of time. */
export function check(history: readonly Entry[], stallMs = STALL_MS): Checked {
  const sends = sendsOf(history)
  const records = checkRecords(history, sends)
  const kept = checkKept(history)
  const count = (outcome: Send['outcome']): number => sends.all.reduce((sum, send) => sum + (send.outcome === outcome ? 1 : 0), 0)
  return {
    anomalies: [
      ...records.anomalies,
      ...checkOrder(history, sends),
      ...checkGroups(history),
      ...checkLooks(history),
      ...kept.anomalies,
      ...checkChanges(history),
      ...checkProgress(history, sends, stallMs),
    ],
    acknowledged: count('ok'),
    failed: count('fail'),
    indeterminate: count('info'),
    checked: records.finalCount,
    delivered: history.reduce((sum, entry) => sum + (entry.op === 'poll' ? entry.records.length : 0), 0),
    commits: history.reduce((sum, entry) => sum + (entry.op === 'commit' && entry.type === 'ok' ? 1 : 0), 0),
    toleratedCopies: records.toleratedCopies,
    puts: kept.puts,
    putsLeft: kept.left,
    cuts: history.reduce((sum, entry) => sum + (entry.op === 'kept' && entry.start > 0 ? 1 : 0), 0),
    changes: history.reduce((sum, entry) => sum + (entry.op === 'change' && entry.type === 'ok' ? 1 : 0), 0),
    entries: history.length,
  }
}
