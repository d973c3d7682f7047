/** Several processes that share the targets of a run, each playing one target at a time. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Failure, TargetResult } from './engine.ts'
import type { Target } from './target.ts'

export interface Share {
  readonly target: Target
  readonly executions: number
}

/** A result as it goes from process to process, and into files. */
export type Outcome = Omit<TargetResult, 'failures'> & { readonly failures: readonly Omit<Failure, 'input'>[] }

/** What `--json` writes. */
export interface Counters {
  readonly seed: number
  readonly executions: number
  readonly found: number
  readonly targets: readonly Outcome[]
}

/** Plays the shares, the longest first, and hands on what came of each as it ends. True when every one came to its end. */
export async function playInProcesses(
  shares: readonly Share[],
  jobs: number,
  seed: number,
  ended: (outcome: Outcome) => void,
): Promise<boolean> {
  // A small weight is a slow target.
  const cost = ({ target, executions }: Share): number => executions / (target.weight ?? 1)
  const left = [...shares].sort((a, b) => cost(b) - cost(a))
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-fuzz-jobs-'))
  let isWhole = true
  const worker = async (): Promise<void> => {
    for (let share = left.shift(); share !== undefined; share = left.shift()) {
      const outcome = await playElsewhere(share, seed, join(directory, share.target.name))
      if (outcome === undefined) isWhole = false
      else ended(outcome)
    }
  }
  try {
    await Promise.all(Array.from({ length: jobs }, worker))
  } finally {
    rmSync(directory, { recursive: true })
  }
  return isWhole
}

/** Undefined when the process died of it, having said why. */
async function playElsewhere({ target, executions }: Share, seed: number, file: string): Promise<Outcome | undefined> {
  const main = join(import.meta.dirname, 'main.ts')
  const args = ['--target', target.name, '--each', String(executions), '--seed', String(seed), '--json', file, '--quiet']
  // The figures of a run are noted by the process that shares it out.
  const env = { ...process.env, TIDEMARK_FIGURES: '' }
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'inherit', 'inherit'], env })
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => child.on('close', (...end) => resolve(end)))
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as Counters).targets[0]
  } catch {
    console.log(`${target.name}: its process ended with ${signal ?? code} and without a result`)
    return undefined
  }
}
