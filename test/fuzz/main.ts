/**
 * `npm run fuzz`: every decoder, with input that is made to break it. See README.md.
 *
 *     npm run fuzz                                         the slice of CI: a million executions over all targets
 *     npm run fuzz -- --each 10000000 --jobs 2 --seed 7    so many of every target, in two processes
 *     npm run fuzz -- --target batch-read,varint --executions 1e6
 *     npm run fuzz -- --target batch-read --seed 7 --at 4711      one execution again, with whole stacks
 *     npm run fuzz -- --target batch-read --input file            one input
 *     npm run fuzz -- --json counters.json
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import v8 from 'node:v8'
import { Command } from 'commander'
import { noteFigures } from '../../scripts/figures.ts'
import { fuzz, replay } from './engine.ts'
import { type Counters, type Outcome, playInProcesses, type Share } from './jobs.ts'
import { printTable, tell } from './report.ts'
import type { Target } from './target.ts'
import { targets } from './targets.ts'
import { Watchdog } from './watchdog.ts'

/** No execution takes so long, not even of a call that waits. */
const PATIENCE_MS = 60_000

interface Flags {
  readonly target?: string
  readonly skip?: string
  readonly executions: string
  readonly each?: string
  readonly seed: string
  readonly jobs: string
  readonly at?: string
  readonly input?: string
  readonly json?: string
  readonly quiet?: boolean
}

const flags = new Command('fuzz')
  .option('--target <names>', 'only these, divided by commas')
  .option('--skip <names>', 'not these')
  .option('--executions <count>', 'of all targets together, by their weights', '1000000')
  .option('--each <count>', 'executions of every target')
  .option('--seed <number>', 'everything else follows from it', '1')
  .option('--jobs <count>', 'processes that share the targets', '1')
  .option('--at <number>', 'only this execution')
  .option('--input <file>', 'only this input, as it is')
  .option('--json <file>', 'write the counters there')
  .option('--quiet', 'say only what is found')
  .parse()
  .opts<Flags>()

const seed = numberOf('seed', flags.seed)
const isOnce = flags.at !== undefined || flags.input !== undefined

// A young generation that is seldom collected: a collection in the middle of an execution hides what it allocated.
v8.setFlagsFromString('--min-semi-space-size=64')
v8.setFlagsFromString('--max-semi-space-size=128')
// Most executions end with an error, and its stack costs more than many a decoder. What is found is looked at again by itself.
Error.stackTraceLimit = isOnce ? 50 : 0

function numberOf(what: string, text: string): number {
  const number = Number(text)
  if (!Number.isSafeInteger(number) || number < 0) throw new Error(`--${what} is a whole number, not ${text}`)
  return number
}

function corpusOf(name: string): Buffer[] {
  const directory = join(import.meta.dirname, 'corpus', name)
  try {
    return readdirSync(directory)
      .sort()
      .map((file) => readFileSync(join(directory, file)))
  } catch {
    return []
  }
}

function chosenTargets(): readonly Target[] {
  const names = (text: string | undefined): string[] => text?.split(',').filter((name) => name !== '') ?? []
  const [only, not] = [names(flags.target), names(flags.skip)]
  const unknown = [...only, ...not].find((one) => !targets.some(({ name }) => name === one))
  if (unknown !== undefined) throw new Error(`no target ${unknown}; there is ${targets.map(({ name }) => name).join(', ')}`)
  return targets.filter(({ name }) => (only.length === 0 || only.includes(name)) && !not.includes(name))
}

/** By weight; at least 200 of each, and never less than asked for. */
function sharesOf(chosen: readonly Target[]): Share[] {
  const each = flags.each === undefined ? undefined : numberOf('each', flags.each)
  if (each !== undefined) return chosen.map((target) => ({ target, executions: each }))
  const wanted = numberOf('executions', flags.executions)
  const total = chosen.reduce((sum, { weight = 1 }) => sum + weight, 0)
  return chosen.map((target) => ({ target, executions: Math.max(200, Math.ceil((wanted * (target.weight ?? 1)) / total)) }))
}

async function playHere(shares: readonly Share[], ended: (outcome: Outcome) => void): Promise<void> {
  const at = flags.at === undefined ? undefined : numberOf('at', flags.at)
  for (const { target, executions } of shares) {
    const watchdog = await Watchdog.open(`npm run fuzz -- --target ${target.name} --seed ${seed} --at {at}`, PATIENCE_MS)
    const begins = (number: number): void => watchdog.begins(number)
    const result =
      flags.input === undefined
        ? await fuzz(target, { executions, seed, at, corpus: corpusOf(target.name), begins })
        : await replay(target, [readFileSync(flags.input)])
    await watchdog.close()
    for (const failure of result.failures) tell(failure, seed)
    ended(result)
  }
}

const startMs = performance.now()
const shares = sharesOf(chosenTargets())
const jobs = numberOf('jobs', flags.jobs)
/** The slice of CI is one suite. Of other runs each target is one, so that several can be added up. */
const isSlice = flags.each === undefined && flags.target === undefined && flags.skip === undefined
const secondsOf = (ms: number): number => Math.round(ms / 1000)
const outcomes: Outcome[] = []

function ended(outcome: Outcome): void {
  const { name, executions, accepted: taken, refused, elapsedMs, failures } = outcome
  outcomes.push(outcome)
  if (isSlice || isOnce) return
  const figures = { executions, taken, refused, found: failures.length, seconds: secondsOf(elapsedMs) }
  noteFigures(`fuzz-${name}`, figures)
  if (jobs > 1) console.log(`${name}: ${executions} executions in ${figures.seconds} s, ${figures.found} found`)
}

let isWhole = true
if (jobs > 1 && !isOnce) isWhole = await playInProcesses(shares, jobs, seed, ended)
else await playHere(shares, ended)

const sum = (count: (outcome: Outcome) => number): number => outcomes.reduce((total, outcome) => total + count(outcome), 0)
const executions = sum((outcome) => outcome.executions)
const found = sum(({ failures }) => failures.length)
const seconds = secondsOf(performance.now() - startMs)
const place = ({ name }: Outcome): number => shares.findIndex(({ target }) => target.name === name)
outcomes.sort((a, b) => place(a) - place(b))
if (flags.quiet !== true) {
  printTable(outcomes)
  console.log(`fuzz: ${executions} executions of ${outcomes.length} targets with seed ${seed} in ${seconds} s, ${found} found`)
}
if (isSlice && !isOnce) noteFigures('fuzzing', { executions, targets: outcomes.length, found, seconds })
if (flags.json !== undefined) {
  const targets = outcomes.map((outcome) => ({
    ...outcome,
    failures: outcome.failures.map(({ target, at, problem }) => ({ target, at, problem })),
  }))
  const counters: Counters = { seed, executions, found, targets }
  writeFileSync(flags.json, `${JSON.stringify(counters, undefined, 2)}\n`)
}
// What a client under test still waits for would keep the process.
process.exit(isWhole && found === 0 ? 0 : 1)
