/**
 * The benchmarks of one node, and of three.
 *
 *   npm run bench                    all of them, a quarter of an hour
 *   npm run bench -- latency         those whose name has the word
 *   npm run bench -- --json out.json
 *
 * Each measures its baseline in the same run and prints the ratio: machines differ and are noisy, ratios less so. `compare.ts` sets two
 * files of results side by side.
 */
import { parseArgs } from 'node:util'
import { consumeCold, consumeTail } from './consume.ts'
import { idleCpu, idleMemory, manyPartitions, parkedConsumers, startUp } from './footprint.ts'
import type { Case, Result } from './harness.ts'
import { endToEnd, unpipelined } from './latency.ts'
import { produceCompressed, produceFsync, produceReplicated } from './produce.ts'
import { recovery } from './recovery.ts'
import { replication } from './replication.ts'
import { beginReport, line, table, writeReport } from './report.ts'

const CASES: readonly Case[] = [
  startUp,
  idleMemory,
  idleCpu,
  unpipelined,
  endToEnd,
  produceFsync,
  produceReplicated,
  produceCompressed,
  consumeTail,
  consumeCold,
  replication,
  recovery,
  parkedConsumers,
  manyPartitions,
]

const { values, positionals } = parseArgs({ options: { json: { type: 'string' } }, allowPositionals: true })
const chosen = CASES.filter(({ name }) => positionals.length === 0 || positionals.some((word) => name.includes(word)))
const report = beginReport()
const results: Result[] = []
console.log(`${report.heading}\n`)
for (const { name, run } of chosen) {
  process.stderr.write(`${name} …\n`)
  for (const result of await run()) {
    results.push(result)
    console.log(line(result))
  }
}
console.log(`\n${table(results)}`)
if (values.json !== undefined) writeReport(values.json, report.finish(results))
