/**
 * `npm run fuzz`: every decoder, with input that is made to break it. See README.md.
 *
 *     npm run fuzz                                         the slice of CI: a million executions over all targets
 *     npm run fuzz -- --each 10000000 --seed 7             so many of every target
 *     npm run fuzz -- --target batch-read --executions 1e6
 *     npm run fuzz -- --target batch-read --seed 7 --at 4711      one execution again
 *     npm run fuzz -- --target batch-read --input file            one input
 *     npm run fuzz -- --json counters.json
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import v8 from 'node:v8'
import { Command } from 'commander'
import Table from 'cli-table3'
import { noteFigures } from '../../scripts/figures.ts'
import { fuzz, type Failure, replay, type TargetResult } from './engine.ts'
import type { Target } from './target.ts'
import { targets } from './targets.ts'
import { Watchdog } from './watchdog.ts'

/** No execution takes so long, not even of a call that waits. */
const PATIENCE_MS = 60_000

// A young generation that is seldom collected: a collection in the middle of an execution hides what it allocated.
v8.setFlagsFromString('--min-semi-space-size=64')
v8.setFlagsFromString('--max-semi-space-size=128')

const here = dirname(fileURLToPath(import.meta.url))
const root = dirname(dirname(here))

interface Flags {
  readonly target?: string
  readonly executions: string
  readonly each?: string
  readonly seed: string
  readonly at?: string
  readonly input?: string
  readonly json?: string
}

const flags = new Command('fuzz')
  .option('--target <name>', 'only this one')
  .option('--executions <count>', 'of all targets together, by their weights', '1000000')
  .option('--each <count>', 'executions of every target')
  .option('--seed <number>', 'everything else follows from it', '1')
  .option('--at <number>', 'only this execution')
  .option('--input <file>', 'only this input, as it is')
  .option('--json <file>', 'write the counters there')
  .parse()
  .opts<Flags>()

export function corpusOf(name: string): Buffer[] {
  const directory = join(here, 'corpus', name)
  try {
    return readdirSync(directory)
      .sort()
      .map((file) => readFileSync(join(directory, file)))
  } catch {
    return []
  }
}

function chosenTargets(): readonly Target[] {
  if (flags.target === undefined) return targets
  const chosen = targets.filter(({ name }) => name === flags.target)
  if (chosen.length === 0) throw new Error(`no target ${flags.target}; there is ${targets.map(({ name }) => name).join(', ')}`)
  return chosen
}

/** By weight; at least 200 of each, and never less than asked for. */
function shares(chosen: readonly Target[]): number[] {
  if (flags.each !== undefined) return chosen.map(() => Number(flags.each))
  const total = chosen.reduce((sum, { weight = 1 }) => sum + weight, 0)
  return chosen.map(({ weight = 1 }) => Math.max(200, Math.ceil((Number(flags.executions) * weight) / total)))
}

/** Keeps the input of a failure, and says how to see it again. */
function tell({ target, at, problem, input }: Failure): void {
  const directory = join(root, 'test/fuzz/found', target)
  mkdirSync(directory, { recursive: true })
  const file = join(directory, createHash('sha256').update(input).digest('hex').slice(0, 12))
  writeFileSync(file, input)
  console.log(`\nFOUND in ${target}${at === undefined ? '' : `, execution ${at}`}: ${problem}`)
  console.log(`input: ${input.subarray(0, 80).toString('hex')}${input.length > 80 ? '…' : ''} (${input.length} bytes)`)
  console.log(`again: npm run fuzz -- --target ${target} --input ${relative(root, file)}`)
  if (at !== undefined) console.log(`   or: npm run fuzz -- --target ${target} --seed ${flags.seed} --at ${at}`)
}

function print(results: readonly TargetResult[]): void {
  const table = new Table({
    head: ['target', 'executions', 'taken', 'refused', 'per s', 'slowest ms', 'buffers max', 'heap max', 'found'],
    style: { head: [], border: [], compact: true },
    colAligns: ['left', 'right', 'right', 'right', 'right', 'right', 'right', 'right', 'right'],
  })
  const kib = (bytes: number): string => `${(bytes / 1024).toFixed(1)} KiB`
  for (const { name, executions, accepted, refused, elapsedMs, slowestMs, buffersMaxBytes, heapMaxBytes, measured, failures } of results)
    table.push([
      name,
      executions,
      accepted,
      refused,
      Math.round((1000 * executions) / Math.max(1, elapsedMs)),
      slowestMs.toFixed(1),
      measured === 0 ? '-' : kib(buffersMaxBytes),
      measured === 0 ? '-' : kib(heapMaxBytes),
      failures.length,
    ])
  console.log(table.toString())
  for (const { name, figures } of results)
    if (Object.keys(figures).length > 0)
      console.log(
        `${name}: ${Object.entries(figures)
          .map(([what, value]) => `${what} ${value}`)
          .join(', ')}`,
      )
}

async function run(): Promise<TargetResult[]> {
  const chosen = chosenTargets()
  const counts = shares(chosen)
  const results: TargetResult[] = []
  for (const [index, target] of chosen.entries()) {
    const options = {
      executions: counts[index] as number,
      seed: Number(flags.seed),
      at: flags.at === undefined ? undefined : Number(flags.at),
    }
    const watchdog = await Watchdog.open(`npm run fuzz -- --target ${target.name} --seed ${flags.seed} --at {at}`, PATIENCE_MS)
    const result =
      flags.input === undefined
        ? await fuzz(target, { ...options, corpus: corpusOf(target.name), begins: (at) => watchdog.begins(at) })
        : await replay(target, [readFileSync(flags.input)])
    await watchdog.close()
    for (const failure of result.failures) tell(failure)
    results.push(result)
  }
  return results
}

const startMs = performance.now()
const results = await run()
print(results)
const executions = results.reduce((sum, result) => sum + result.executions, 0)
const found = results.reduce((sum, { failures }) => sum + failures.length, 0)
console.log(
  `fuzz: ${executions} executions of ${results.length} targets with seed ${flags.seed} in ${((performance.now() - startMs) / 1000).toFixed(0)} s, ${found} found`,
)
noteFigures('fuzzing', { executions, targets: results.length, found, seconds: Math.round((performance.now() - startMs) / 1000) })
if (flags.json !== undefined) {
  const counters = results.map(({ failures, ...counts }) => ({
    ...counts,
    found: failures.map(({ at, problem }) => ({ at, problem: problem.split('\n')[0] })),
  }))
  writeFileSync(flags.json, `${JSON.stringify({ seed: Number(flags.seed), executions, found, targets: counters }, undefined, 2)}\n`)
}
// What a client under test still waits for would keep the process.
process.exit(found > 0 ? 1 : 0)
