/**
 * tidemark and its peers, one beside the other, in rounds: what changes on the machine meanwhile changes for all.
 *
 *   node scripts/run.mjs scripts/bench/peers/main.ts [--rounds 5] [--json out.json] [--only redis]
 *
 * README.md says how to install them. Those that are not installed are left out, and said to be.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runTool } from '../../tools.ts'
import { median } from '../harness.ts'
import { beginReport, markdown, show } from '../report.ts'
import type { Round } from './round.ts'

if (!existsSync(join(import.meta.dirname, 'node_modules')))
  throw new Error('the clients are missing: npm install --prefix scripts/bench/peers')
const { PEERS } = await import('./peers.ts')
const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '5' }, json: { type: 'string' }, only: { type: 'string', default: '' } },
})
const COLUMNS: readonly { readonly key: keyof Round; readonly head: string }[] = [
  { key: 'produceMbs', head: 'produce MB/s' },
  { key: 'sendP50Ms', head: 'send p50 ms' },
  { key: 'sendP99Ms', head: 'send p99 ms' },
  { key: 'consumeMbs', head: 'consume MB/s' },
  { key: 'startMs', head: 'start to first ack ms' },
  { key: 'idleMib', head: 'idle MiB' },
  { key: 'serverCpuPerGb', head: 'server CPU-s/GB' },
]

if (!runTool('scripts/build.ts')) throw new Error('the package cannot be built')
const report = beginReport()
console.log(`${report.heading}; records of 1 KiB`)
for (const peer of PEERS) console.log(`${peer.name} ${peer.version() ?? 'is not installed'}; client: ${peer.client}`)

const entries = PEERS.filter(({ name }) => name.toLowerCase().includes(values.only.toLowerCase()))
  .filter((peer) => peer.version() !== undefined)
  .flatMap((peer) => peer.modes().map((mode) => ({ peer, mode, rounds: [] as Round[] })))
for (let round = 1; round <= Number(values.rounds); round++)
  for (const { peer, mode, rounds } of entries) {
    const text = execFileSync(process.execPath, [join(import.meta.dirname, 'round.ts'), peer.name, mode.name], { encoding: 'utf8' })
    rounds.push(JSON.parse(text) as Round)
    process.stderr.write(`round ${round}: ${peer.name}, ${mode.name}: ${text}\n`)
  }

const results = entries.map(({ peer, mode, rounds }) => ({
  peer: peer.name,
  version: peer.version(),
  mode: mode.name,
  isDurable: mode.isDurable,
  means: mode.means,
  medians: Object.fromEntries(COLUMNS.map(({ key }) => [key, median(rounds.map((round) => round[key]))])),
  rounds,
}))
const rows = results
  .toSorted((a, b) => Number(b.isDurable) - Number(a.isDurable))
  .map(({ peer, mode, means, medians }) => [`${peer}, ${mode}`, means, ...COLUMNS.map(({ key }) => show(medians[key] ?? Number.NaN))])
const head = ['server', 'acknowledged means', ...COLUMNS.map((column) => column.head)]
console.log(`\n${markdown(head, rows)}`)
const { results: _, ...machine } = report.finish([])
console.log(`\nload ${machine.load.before.toFixed(1)} before, ${machine.load.after.toFixed(1)} after`)
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ ...machine, results }, undefined, 2)}\n`)
