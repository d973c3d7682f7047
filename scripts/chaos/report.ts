/** What a run came to: a table for people, a file of numbers for machines. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Table from 'cli-table3'
import { ANOMALIES } from './anomalies.ts'
import { check, type Checked } from './checker.ts'
import { readHistory } from './history.ts'
import { type KindMetrics, measure } from './metrics.ts'
import { sendsOf } from './sends.ts'

export interface Result {
  readonly checked: Checked
  readonly kinds: readonly KindMetrics[]
}

/** Reads the histories of a run, checks them, writes `result.json` beside them. */
export function judge(directory: string, about: Readonly<Record<string, unknown>>): Result {
  const history = readHistory(join(directory, 'history'))
  const checked = check(history)
  const kinds = measure(history, sendsOf(history))
  const { anomalies, ...counts } = checked
  const result = {
    ...about,
    faults: faultsOf(kinds),
    ...counts,
    anomalies: anomalies.length,
    anomalyKinds: Object.fromEntries(Object.keys(ANOMALIES).map((kind) => [kind, anomalies.filter((one) => one.kind === kind).length])),
    kinds: kinds.map(({ kind, faults, pausesMs, recoveriesMs }) => ({
      kind,
      faults,
      notWrittenTo: middleAndWorst(pausesMs),
      recovery: middleAndWorst(recoveriesMs),
    })),
  }
  writeFileSync(join(directory, 'result.json'), `${JSON.stringify(result, undefined, 2)}\n`)
  return { checked, kinds }
}

export function faultsOf(kinds: readonly KindMetrics[]): number {
  return kinds.reduce((sum, { faults }) => sum + faults, 0)
}

function middleAndWorst(sorted: readonly number[]): { readonly p50Ms: number | undefined; readonly maxMs: number | undefined } {
  const whole = (ms: number | undefined): number | undefined => (ms === undefined ? undefined : Math.round(ms))
  return { p50Ms: whole(sorted[sorted.length >> 1]), maxMs: whole(sorted.at(-1)) }
}

const SHOWN_MAX = 20

export function print({ checked, kinds }: Result, skipped: ReadonlyMap<string, string>): void {
  const table = new Table({
    head: ['fault', 'times', 'not written to, p50', 'max', 'whole again after, p50', 'max'],
    style: { head: [], border: [] },
  })
  const shown = (ms: number | undefined): string => (ms === undefined ? '' : `${ms} ms`)
  for (const { kind, faults, pausesMs, recoveriesMs } of kinds) {
    const columns = [pausesMs, recoveriesMs].map(middleAndWorst).flatMap(({ p50Ms, maxMs }) => [shown(p50Ms), shown(maxMs)])
    table.push([kind, faults === 0 ? '' : String(faults), ...columns])
  }
  console.log(table.toString())
  for (const [kind, why] of skipped) console.log(`skipped: ${kind}, ${why}`)
  const { acknowledged, failed, indeterminate, checked: read, delivered, commits, toleratedCopies, anomalies } = checked
  const { puts, putsLeft, cuts, changes } = checked
  console.log(`${faultsOf(kinds)} faults`)
  console.log(`sends: ${acknowledged} acknowledged, ${failed} failed, ${indeterminate} open`)
  console.log(
    `records: ${read} read in the end and checked, ${delivered} delivered meanwhile; ${toleratedCopies} copies of producers that may write them`,
  )
  console.log(`commits of groups: ${commits}`)
  console.log(
    `compacted topic: ${puts} values acknowledged, ${putsLeft} records left; retention by size looked at ${cuts} times; ${changes} changes of topics`,
  )
  for (const { kind, what } of anomalies.slice(0, SHOWN_MAX)) console.log(`ANOMALY ${kind}: ${what}`)
  console.log(`anomalies: ${anomalies.length}`)
}
