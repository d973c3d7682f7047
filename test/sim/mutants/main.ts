/**
 * `npm run sim:mutants`: plants one mistake after the other and looks whether the simulation notices, within so many seeds. Prints a table; fails
 * when one survives. `-- M05 M06` plants only those.
 */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { noteFigures } from '../../../scripts/figures.ts'
import type { Mutant } from './mutant.ts'
import { MUTANTS } from './table.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seeds: { type: 'string', default: '200' },
    /** Processes at the same time. */
    jobs: { type: 'string', default: '2' },
    json: { type: 'boolean', default: false },
  },
})

interface Verdict {
  readonly mutant: Mutant
  /** What noticed it; undefined: nothing. */
  readonly killedBy: string | undefined
  readonly how: string
  readonly seconds: number
}

/** A mistake may make a run hang, which is noticed as well. */
const HANG_MS = 10 * 60_000

const wanted = MUTANTS.filter(({ id }) => positionals.length === 0 || positionals.includes(id))
const verdicts: Verdict[] = []
const queue = [...wanted]
await Promise.all(
  Array.from({ length: Number(values.jobs) }, async () => {
    for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
      const verdict = await judge(mutant)
      verdicts.push(verdict)
      if (!values.json) console.log(lineOf(verdict))
    }
  }),
)
verdicts.sort((a, b) => (a.mutant.id < b.mutant.id ? -1 : 1))
const survivors = verdicts.filter(({ killedBy }) => killedBy === undefined)
if (values.json)
  console.log(
    JSON.stringify(verdicts.map(({ mutant, killedBy, how, seconds }) => ({ id: mutant.id, what: mutant.what, killedBy, how, seconds }))),
  )
else
  console.log(
    `${verdicts.length} mutants, ${verdicts.length - survivors.length} killed${survivors.length > 0 ? `; alive: ${survivors.map(({ mutant }) => mutant.id).join(', ')}` : ''}`,
  )
const seconds = Math.round(verdicts.reduce((sum, verdict) => sum + verdict.seconds, 0))
noteFigures('mutants', { mutants: verdicts.length, killed: verdicts.length - survivors.length, seconds })
process.exitCode = survivors.length === 0 ? 0 : 1

async function judge(mutant: Mutant): Promise<Verdict> {
  const startedMs = performance.now()
  const found = (mutant.isForTests ? undefined : await judgeBySimulation(mutant)) ?? (await judgeByTests(mutant))
  return { mutant, killedBy: found?.killedBy, how: found?.how ?? '', seconds: Math.round((performance.now() - startedMs) / 100) / 10 }
}

async function judgeBySimulation(mutant: Mutant): Promise<{ killedBy: string; how: string } | undefined> {
  const args = [join(import.meta.dirname, '../main.ts'), '--seeds', values.seeds, '--once', '--first-failure']
  const { code, output } = await run(mutant, ['--import', join(import.meta.dirname, 'plant.ts'), ...args])
  if (code === 0) return undefined
  const failure = /^seed (\d+) failed: (.*)$/m.exec(output)
  if (failure !== null) return { killedBy: `seed ${failure[1]} of the simulation`, how: failure[2] ?? '' }
  return { killedBy: 'the simulation', how: code === undefined ? 'it hangs' : (output.trim().split('\n').at(-1) ?? '') }
}

/** Narrower simulations and scenarios of one part. */
async function judgeByTests(mutant: Mutant): Promise<{ killedBy: string; how: string } | undefined> {
  if (mutant.tests === undefined) return undefined
  const vitest = join(import.meta.dirname, '../../../node_modules/vitest/vitest.mjs')
  const { code, output } = await run(mutant, [vitest, 'run', '--project', 'unit', '--reporter=json', '--bail=1', ...mutant.tests])
  if (code === 0) return undefined
  const report = /^\{.*"testResults".*\}$/m.exec(output)?.[0]
  if (report === undefined) return { killedBy: mutant.tests.join(', '), how: output.trim().split('\n').at(-1) ?? '' }
  const { testResults } = JSON.parse(report) as {
    testResults: { name: string; assertionResults: { status: string; fullName: string; failureMessages: string[] }[] }[]
  }
  for (const { name, assertionResults } of testResults) {
    // Too slow is not wrong.
    const failed = assertionResults.find(
      ({ status, failureMessages }) => status === 'failed' && !failureMessages.some((text) => /Test timed out/.test(text)),
    )
    if (failed !== undefined) return { killedBy: name.slice(name.indexOf('/test/') + 1), how: failed.fullName }
  }
  return testResults.some(({ assertionResults }) => assertionResults.length > 0)
    ? undefined
    : { killedBy: mutant.tests.join(', '), how: 'they cannot be run' }
}

function run({ id }: Mutant, args: readonly string[]): Promise<{ readonly code: number | undefined; readonly output: string }> {
  const child = spawn(process.execPath, args, {
    // What mistakes bring about is no figure of a suite.
    env: { ...process.env, TIDEMARK_MUTANT: id, TIDEMARK_FIGURES: '' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  child.stdout.on('data', (text: Buffer) => (output += String(text)))
  child.stderr.on('data', (text: Buffer) => (output += String(text)))
  const timer = setTimeout(() => child.kill('SIGKILL'), HANG_MS)
  return new Promise((resolve) => {
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve({ code: code ?? undefined, output })
    })
  })
}

function lineOf({ mutant, killedBy, how, seconds }: Verdict): string {
  const end = killedBy === undefined ? 'ALIVE' : `killed by ${killedBy}: ${how.slice(0, 140)}`
  return `${mutant.id} ${mutant.what}\n      ${end} (${seconds} s)`
}
