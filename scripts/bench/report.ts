/** Results as text, as a table, and as a file that `compare.ts` reads. */
import { readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'
import type { Result } from './harness.ts'

export interface Report {
  readonly at: string
  readonly node: string
  readonly platform: string
  readonly cores: number
  /** Load of the machine over the last minute, before and after. Ours is in the second. */
  readonly load: { readonly before: number; readonly after: number }
  readonly results: readonly Result[]
}

/** Begins a report; `finish` takes what was measured meanwhile. */
export function beginReport(): { readonly heading: string; finish(results: readonly Result[]): Report } {
  const before = loadavg()[0] ?? 0
  const machine = { node: process.version, platform: `${process.platform} ${process.arch}`, cores: availableParallelism() }
  return {
    heading: `Node ${machine.node}, ${machine.platform}, ${machine.cores} cores, load ${before.toFixed(1)}`,
    finish: (results) => ({ at: new Date().toISOString(), ...machine, load: { before, after: loadavg()[0] ?? 0 }, results }),
  }
}

export function writeReport(path: string, report: Report): void {
  writeFileSync(path, `${JSON.stringify(report, undefined, 2)}\n`)
}

export function readReport(path: string): Report {
  return JSON.parse(readFileSync(path, 'utf8')) as Report
}

/** As soon as it is known. */
export function line(result: Result): string {
  const { name, ours, baseline, unit, against, budget, note, range } = result
  const runs = range === undefined ? '' : ` (${show(range[0])} to ${show(range[1])})`
  const parts = [
    `${verdict(result).padEnd(6)} ${name}: ${show(ours)} ${unit}${runs}`,
    `${against}: ${show(baseline)} ${unit}`,
    `${compared(result)}${budget === undefined ? '' : ` (budget ${budget})`}`,
    ...figuresOf(result),
    ...(note === undefined ? [] : [note]),
  ]
  return parts.join('; ')
}

export function table(results: readonly Result[]): string {
  const rows = results.map((result) => {
    const { name, ours, baseline, unit, against, budget, note } = result
    const also = [...figuresOf(result), ...(note === undefined ? [] : [note])].join('; ')
    return [name, `${show(ours)} ${unit}`, `${against}: ${show(baseline)} ${unit}`, compared(result), budget ?? '', verdict(result), also]
  })
  return markdown(['what', 'tidemark', 'baseline', 'compared', 'budget', '', 'also'], rows)
}

export function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [row(head), row(head.map(() => '---')), ...rows.map(row)].join('\n')
}

export function show(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2)
}

export function compared({ ours, baseline, unit, compare }: Result): string {
  return compare === 'ratio' ? `${(ours / baseline).toFixed(2)} ×` : `${(ours - baseline).toFixed(1)} ${unit} above`
}

function verdict({ isMet }: Result): string {
  return isMet === undefined ? '' : isMet ? 'met' : 'MISSED'
}

function figuresOf({ figures = {} }: Result): string[] {
  return Object.entries(figures).map(([name, value]) => `${name} ${show(value)}`)
}
