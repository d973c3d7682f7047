/**
 * `npm run test:faults`: the faults of resources, E01 to E15. Plays every test with such an id in its title and prints them by id. README.md
 * says which fault is shown where.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Table from 'cli-table3'
import { noteFigures } from '../../scripts/figures.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** Where tests with such ids are. */
const FILES = [
  'test/faults',
  'test/log/data-dir.test.ts',
  'test/log/faults.test.ts',
  'test/log/file-pool.test.ts',
  'test/log/recovery.test.ts',
  'test/integration/failed-sync.test.ts',
  'test/integration/full-disk.test.ts',
  'test/integration/bad-input.test.ts',
  'test/integration/unreliable-network.test.ts',
  'test/broker/replication/leader-state.test.ts',
  'test/sim/scenarios/clocks.test.ts',
]

interface Result {
  readonly fullName: string
  readonly status: string
  readonly duration?: number | null
  readonly meta?: { readonly figures?: string }
}

const directory = mkdtempSync(join(tmpdir(), 'tidemark-faults-'))
const report = join(directory, 'report.json')
const vitest = [
  join(root, 'scripts/run.mjs'),
  'vitest',
  'run',
  ...FILES,
  '-t',
  'E\\d\\d ',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${report}`,
]
const env = { ...process.env, TIDEMARK_HEAVY_TESTS: '1' }
const { status } = spawnSync(process.execPath, vitest, { cwd: root, stdio: 'inherit', env })
const { testResults } = JSON.parse(readFileSync(report, 'utf8')) as {
  readonly testResults: readonly { readonly assertionResults: readonly Result[] }[]
}
rmSync(directory, { recursive: true })

const table = new Table({
  head: ['fault', 'what', 'result', 's', 'figures'],
  style: { head: [], border: [] },
  colWidths: [10, 70, 9, 7, 40],
  wordWrap: true,
})
const rows = testResults
  .flatMap(({ assertionResults }) => assertionResults)
  .map((result) => ({ ...result, ids: result.fullName.match(/\bE\d\d\b/g) ?? [] }))
  // Those whose title has no id were not chosen.
  .filter(({ ids }) => ids.length > 0)
  .sort((a, b) => a.ids.join().localeCompare(b.ids.join()))
for (const { ids, fullName, status: result, duration, meta } of rows)
  table.push([ids.join(' '), fullName.replace(/\bE\d\d /g, ''), result, ((duration ?? 0) / 1000).toFixed(1), meta?.figures ?? ''])
console.log(table.toString())
const count = (wanted: string): number => rows.filter((row) => row.status === wanted).length
const skipped = rows.length - count('passed') - count('failed')
const kinds = new Set(rows.flatMap(({ ids }) => ids)).size
console.log(`faults: ${kinds} kinds, ${count('passed')} tests passed, ${count('failed')} failed, ${skipped} skipped`)
noteFigures('resource-faults', { kinds, played: rows.length, passed: count('passed'), failed: count('failed'), skipped })
process.exitCode = status ?? 1
