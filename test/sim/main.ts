/**
 * Runs the simulation: `npm run sim -- --seed 7 --trace` plays one seed and prints what happens; `--seeds 300` plays many, each twice, and compares.
 */
import { spawn } from 'node:child_process'
import { parseArgs } from 'node:util'
import { noteFigures } from '../../scripts/figures.ts'
import { type RunResult, runSeed } from './run.ts'

const { values } = parseArgs({
  options: {
    /** One seed alone. */
    seed: { type: 'string' },
    /** So many, beginning with `from`. */
    seeds: { type: 'string', default: '20' },
    from: { type: 'string', default: '1' },
    /** Processes that share the seeds. */
    jobs: { type: 'string', default: '1' },
    /** Prints everything that happens. */
    trace: { type: 'boolean', default: false },
    /** Does not play each seed a second time. */
    once: { type: 'boolean', default: false },
    /** How long things go wrong in a run, in virtual milliseconds. */
    'fault-ms': { type: 'string' },
    /** Stops at the first seed that fails. */
    'first-failure': { type: 'boolean', default: false },
    /** Ends with one line of JSON instead of one for people. */
    json: { type: 'boolean', default: false },
  },
})

interface Totals {
  seedCount: number
  failedCount: number
  virtualSeconds: number
  events: number
  faults: number
  acknowledged: number
  read: number
}

const first = Number(values.seed ?? values.from)
const count = values.seed === undefined ? Number(values.seeds) : 1
const jobCount = Math.min(count, Number(values.jobs))
const isOnce = values.once || values.trace
const faultMs = values['fault-ms'] === undefined ? undefined : Number(values['fault-ms'])

const startedMs = performance.now()
const totals = jobCount > 1 ? await share() : await playAll()
const seconds = (performance.now() - startedMs) / 1000
console.log(values.json ? JSON.stringify(totals) : summary(totals))
if (!values.json) {
  const { seedCount, failedCount, virtualSeconds, events, faults, acknowledged, read } = totals
  const counted = { events, faults, 'records acknowledged': acknowledged, 'records read': read }
  noteFigures('simulation', {
    seeds: seedCount,
    failed: failedCount,
    'cluster seconds': Math.round(virtualSeconds),
    ...counted,
    seconds: Math.round(seconds),
  })
}
process.exitCode = totals.failedCount === 0 ? 0 : 1

async function playAll(): Promise<Totals> {
  const sum: Totals = { seedCount: count, failedCount: 0, virtualSeconds: 0, events: 0, faults: 0, acknowledged: 0, read: 0 }
  for (let seed = first; seed < first + count; seed++) {
    const result = await play(seed)
    sum.virtualSeconds += result.virtualMs / 1000
    sum.events += result.eventCount
    sum.faults += result.faultCount
    sum.acknowledged += result.acknowledgedCount
    sum.read += result.readCount
    const problem = result.failure ?? (isOnce ? undefined : differenceOf(result, await play(seed)))
    if (problem === undefined) continue
    sum.failedCount++
    console.error(`seed ${seed} failed: ${problem.name === 'Broken' ? problem.message : problem.stack}`)
    if (!values.trace) console.error(result.recent.map((line) => `  ${line}`).join('\n'))
    console.error(`again, with everything that happens: npm run sim -- --seed ${seed} --trace`)
    if (values['first-failure']) break
  }
  return sum
}

function play(seed: number): Promise<RunResult> {
  return runSeed({
    seed,
    ...(faultMs !== undefined && { faultMs }),
    ...(values.trace && { print: (line: string) => console.log(line) }),
  })
}

function differenceOf(one: RunResult, other: RunResult): Error | undefined {
  if (one.traceHash === other.traceHash && one.eventCount === other.eventCount) return undefined
  return new Error(`two runs differ: ${one.eventCount} events with hash ${one.traceHash}, and ${other.eventCount} with ${other.traceHash}`)
}

/** Several processes play a part of the seeds each. */
async function share(): Promise<Totals> {
  const size = Math.ceil(count / jobCount)
  const parts = await Promise.all(
    Array.from({ length: jobCount }, (_, at) => playElsewhere(first + at * size, Math.min(size, count - at * size))),
  )
  return parts.reduce((sum, part) => {
    for (const name of Object.keys(sum) as (keyof Totals)[]) sum[name] += part[name]
    return sum
  })
}

async function playElsewhere(from: number, seeds: number): Promise<Totals> {
  const args = ['--json', '--from', String(from), '--seeds', String(seeds), ...(values.once ? ['--once'] : [])]
  if (faultMs !== undefined) args.push('--fault-ms', String(faultMs))
  const child = spawn(process.execPath, [import.meta.filename, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', (text: Buffer) => (output += String(text)))
  await new Promise((resolve) => child.on('close', resolve))
  const line = output.trim().split('\n').at(-1) ?? ''
  if (!line.startsWith('{')) throw new Error(`the process that played seeds ${from} to ${from + seeds - 1} ended early`)
  return JSON.parse(line) as Totals
}

function summary({ seedCount, failedCount, virtualSeconds, events, faults, acknowledged, read }: Totals): string {
  return (
    `simulation: ${seedCount} seeds${isOnce ? '' : ', each played twice'}, ${failedCount} failed; ${virtualSeconds.toFixed(0)} s of cluster time, ` +
    `${events} events, ${faults} faults, ${acknowledged} records acknowledged, ${read} read, in ${seconds.toFixed(1)} s`
  )
}
