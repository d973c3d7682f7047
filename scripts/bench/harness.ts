/** What the benchmarks share: repeated runs, medians, the price of a process, and what a result is. */
import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type Tidemark } from '../../client/index.ts'
import { NodeProcess } from '../node-process.ts'

/** One line of the report: ours beside a baseline of the same run. */
export interface Result {
  readonly name: string
  readonly ours: number
  readonly baseline: number
  readonly unit: string
  /** What the baseline is. */
  readonly against: string
  /** What design asks for, such as `≥ 0.60` or `≤ 2 ×`. Undefined: nothing, the number is for those who want to know. */
  readonly budget?: string
  /** `ours ÷ baseline` unless the difference is what counts. */
  readonly compare: 'ratio' | 'difference'
  /** Undefined without a budget. */
  readonly isMet?: boolean
  /** Lowest and highest of the runs whose median `ours` is. */
  readonly range?: readonly [number, number]
  /** What else the run showed, each with its unit in the name. */
  readonly figures?: Readonly<Record<string, number>>
  readonly note?: string
}

export interface Case {
  readonly name: string
  readonly run: () => Promise<Result[]>
}

export const MIB: number = 1024 * 1024

/** The median of `count` runs. */
export async function medianOf(count: number, run: () => Promise<number>): Promise<number> {
  return (await measured(count, run)).ours
}

/** `count` runs as a result shows them. */
export async function measured(count: number, run: () => Promise<number>): Promise<Pick<Result, 'ours'> & Required<Pick<Result, 'range'>>> {
  const values: number[] = []
  for (let round = 0; round < count; round++) values.push(await run())
  return { ours: median(values), range: [Math.min(...values), Math.max(...values)] }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] as number
}

export async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now()
  await work()
  return performance.now() - startedMs
}

/** Runs `work` with an empty directory. */
export async function inDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-bench-'))
  try {
    return await work(directory)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

/** Runs `work` with a node in a process of its own and a client in this one. */
export function withNode<T>(work: (tm: Tidemark, node: NodeProcess) => Promise<T>, flags: readonly string[] = []): Promise<T> {
  return inDirectory(async (directory) => {
    const node = await NodeProcess.start(join(directory, 'data'), ['--log-level', 'warn', ...flags])
    const tm = await connect(node.address)
    try {
      return await work(tm, node)
    } finally {
      await tm.close()
      await node.stop()
    }
  })
}

/** CPU seconds the threads of a process have used so far (Linux). To the nanosecond: a process that wakes with the clock would be counted wrongly by its ticks. */
export function cpuSeconds(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`)
  return threads.reduce((sum, thread) => sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]), 0) / 1e9
}

/** Resident memory of a process in MiB (Linux). */
export function residentMib(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(text)?.[1]) / 1024
}

type Parts = Omit<Result, 'compare' | 'isMet'>

/** Without a budget there is neither `atLeast` nor `atMost`. */
export function ratioResult(parts: Parts & { readonly atLeast?: number; readonly atMost?: number }): Result {
  const { atLeast, atMost, ...rest } = parts
  const ratio = parts.ours / parts.baseline
  return { ...rest, compare: 'ratio', ...verdict(parts, ratio >= (atLeast ?? 0) && ratio <= (atMost ?? Number.POSITIVE_INFINITY)) }
}

export function differenceResult(parts: Parts & { readonly atMost?: number }): Result {
  const { atMost, ...rest } = parts
  return { ...rest, compare: 'difference', ...verdict(parts, parts.ours - parts.baseline <= (atMost ?? Number.POSITIVE_INFINITY)) }
}

function verdict({ budget }: Parts, isMet: boolean): Pick<Result, 'isMet'> {
  return budget === undefined ? {} : { isMet }
}

/** What `work` costs the processes with these ids: processor seconds for a gigabyte of values, and for a million records. */
export async function withCost<T>(
  pids: readonly number[],
  records: { readonly count: number; readonly bytes: number },
  work: () => Promise<T>,
): Promise<{ readonly done: T; readonly figures: Readonly<Record<string, number>> }> {
  const used = (): number => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0)
  const before = used()
  const clientBefore = process.cpuUsage()
  const done = await work()
  const nodes = used() - before
  const { user, system } = process.cpuUsage(clientBefore)
  const gigabytes = (records.count * records.bytes) / 1e9
  return {
    done,
    figures: {
      'node CPU-s/GB': nodes / gigabytes,
      'node CPU-s/M records': nodes / (records.count / 1e6),
      'client CPU-s/GB': (user + system) / 1e6 / gigabytes,
    },
  }
}
