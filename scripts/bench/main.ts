/**
 * The benchmarks of one node.
 *
 *   npm run bench                    all of them, a few minutes
 *   npm run bench -- latency         those whose name has the word
 *   npm run bench -- --json out.json
 *
 * Each measures its baseline in the same run and prints the ratio: machines differ and are noisy, ratios less so.
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { idleMemory, manyPartitions, parkedConsumers, startUp } from './footprint.ts'
import type { Case, Result } from './harness.ts'
import { endToEnd, unpipelined } from './latency.ts'
import { consume, consumeCold, produceFsync, produceReplicated } from './throughput.ts'

const CASES: readonly Case[] = [
  startUp,
  idleMemory,
  unpipelined,
  endToEnd,
  produceFsync,
  produceReplicated,
  consume,
  consumeCold,
  parkedConsumers,
  manyPartitions,
]

const { values, positionals } = parseArgs({ options: { json: { type: 'string' } }, allowPositionals: true })
const chosen = CASES.filter(({ name }) => positionals.length === 0 || positionals.some((word) => name.includes(word)))
const results: Result[] = []
console.log(`Node ${process.version}, ${process.platform} ${process.arch}\n`)
for (const { name, run } of chosen) {
  process.stderr.write(`${name} …\n`)
  for (const result of await run()) {
    results.push(result)
    console.log(line(result))
  }
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ node: process.version, results }, undefined, 2)}\n`)

function line({ name, ours, baseline, unit, against, budget, compare, isMet, note }: Result): string {
  const compared = compare === 'ratio' ? `ratio ${(ours / baseline).toFixed(2)}` : `difference ${(ours - baseline).toFixed(1)} ${unit}`
  return `${isMet ? 'met   ' : 'MISSED'} ${name}: ${show(ours)} ${unit}; ${against}: ${show(baseline)} ${unit}; ${compared} (budget ${budget})${note === undefined ? '' : `; ${note}`}`
}

function show(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(2)
}
