/** From a history: which faults there were, for how long partitions were not written to because of them, and how long it took to be whole again. */
import type { Entry } from './history.ts'
import type { Sends } from './sends.ts'

export interface KindMetrics {
  readonly kind: string
  readonly faults: number
  /** The longest pause of any partition in each period in which there was no other fault. */
  readonly pausesMs: readonly number[]
  /** In each of these, from healing to every replica in sync and every partition written to. */
  readonly recoveriesMs: readonly number[]
}

const SEVERAL = 'several at once'

/** A period lasts from its first fault until everything was whole again. */
export function measure(history: readonly Entry[], sends: Sends): KindMetrics[] {
  const counts = new Map<string, number>()
  const pauses = new Map<string, number[]>()
  const recoveries = new Map<string, number[]>()
  const acknowledged = acknowledgedMs(sends)
  let begin: { readonly kinds: readonly string[]; readonly t: number } | undefined
  let healedMs = 0
  for (const entry of history) {
    if (entry.op === 'fault') counts.set(entry.kind, (counts.get(entry.kind) ?? 0) + 1)
    if (entry.op === 'period') begin = entry
    if (entry.op === 'heal') healedMs = entry.t
    if ((entry.op !== 'whole' && entry.op !== 'not whole') || begin === undefined) continue
    const label = begin.kinds.length > 1 ? SEVERAL : (begin.kinds[0] ?? '')
    const longest = Math.max(...acknowledged.map((times) => longestPause(times, begin?.t ?? 0, entry.t)))
    pauses.set(label, [...(pauses.get(label) ?? []), longest])
    if (entry.op === 'whole') recoveries.set(label, [...(recoveries.get(label) ?? []), entry.t - healedMs])
    begin = undefined
  }
  return [...new Set([...counts.keys(), ...pauses.keys()])]
    .sort((a, b) => Number(a === SEVERAL) - Number(b === SEVERAL) || (a < b ? -1 : 1))
    .map((kind) => ({
      kind,
      faults: counts.get(kind) ?? 0,
      pausesMs: inOrder(pauses.get(kind)),
      recoveriesMs: inOrder(recoveries.get(kind)),
    }))
}

function inOrder(numbers: readonly number[] = []): number[] {
  return [...numbers].sort((a, b) => a - b)
}

/** Of each partition, when something was acknowledged, in order. */
function acknowledgedMs(sends: Sends): number[][] {
  const times = new Map<number, number[]>()
  for (const { at, endedMs } of sends.all) {
    if (at === undefined) continue
    const list = times.get(at[0]) ?? []
    times.set(at[0], list)
    list.push(endedMs)
  }
  return [...times.values()].map((list) => list.sort((a, b) => a - b))
}

function longestPause(times: readonly number[], fromMs: number, toMs: number): number {
  let longest = 0
  for (let at = 1; at < times.length; at++) {
    const [before, after] = [times[at - 1] ?? 0, times[at] ?? 0]
    if (after < fromMs) continue
    if (before > toMs) break
    longest = Math.max(longest, after - before)
  }
  return longest
}
