/**
 * Sets two results side by side.
 *
 *   node scripts/run.mjs scripts/bench/compare.ts before.json after.json
 *
 * The ratio to the baseline of the same run says more than the number: it changes less when the machine does.
 */
import type { Result } from './harness.ts'
import { compared, markdown, readReport, type Report, show } from './report.ts'

const [first, second] = process.argv.slice(2)
if (first === undefined || second === undefined) {
  console.error('usage: compare.ts before.json after.json')
  process.exit(2)
}
const reports = [readReport(first), readReport(second)] as const
for (const [at, { at: when, node, load }] of reports.entries())
  console.log(`${'ab'[at]}: ${[first, second][at]}, ${when}, Node ${node}, load ${load.before.toFixed(1)} to ${load.after.toFixed(1)}`)
console.log(`\n${compare(...reports)}`)

function compare(a: Report, b: Report): string {
  const rows = a.results.flatMap((before) => {
    const after = b.results.find(({ name }) => name === before.name)
    return after === undefined ? [] : [row(before, after)]
  })
  const only = (one: Report, other: Report): string[][] =>
    one.results
      .filter(({ name }) => !other.results.some((result) => result.name === name))
      .map(({ name }) => [name, `only in ${one === a ? 'a' : 'b'}`, '', '', '', ''])
  return markdown(['what', 'a', 'b', 'change', 'a to its baseline', 'b to its baseline'], [...rows, ...only(a, b), ...only(b, a)])
}

function row(before: Result, after: Result): string[] {
  const change = (after.ours / before.ours - 1) * 100
  const values = [before, after].map(({ ours, unit }) => `${show(ours)} ${unit}`)
  return [before.name, ...values, `${change >= 0 ? '+' : ''}${change.toFixed(0)} %`, compared(before), compared(after)]
}
