/**
 * Runs a target many times and looks after every time: what it threw, how long it took, what it allocated.
 *
 * The input of execution i is a function of (seed, target, i), so one execution can be made again by itself. The README says how each
 * property is measured and what that can miss.
 */
import v8 from 'node:v8'
import { streamOf } from '../../scripts/random.ts'
import { mutated } from './mutate.ts'
import { isTypedError, type Target } from './target.ts'

/** Buffers beyond 2 × input (and what a limit allows). */
const BUFFER_SLACK_BYTES = 64 * 1024
/** Objects on the heap: records, fields and errors are larger than the bytes that stand for them. */
const HEAP_SLACK_BYTES = 512 * 1024
const HEAP_PER_BYTE = 256
/** The first time may compile, or load, what later ones find, and a busy machine is slow: only what is above a bound five times in a row is. */
const SLOW_MS = 100
const SLOW_MS_PER_KIB = 5
const REPEATS = 4
/** What waits for others is not measured one by one; it has to end. */
const END_MS = 30_000

export interface TargetResult {
  readonly name: string
  executions: number
  /** Taken without an error. */
  accepted: number
  /** Refused with a typed error. */
  refused: number
  /** Executions whose memory was measured. */
  measured: number
  /** The most that one execution allocated beyond its input, in bytes. */
  buffersMaxBytes: number
  heapMaxBytes: number
  slowestMs: number
  elapsedMs: number
  readonly failures: Failure[]
  figures: Readonly<Record<string, string | number>>
}

export interface Failure {
  readonly target: string
  /** Undefined for an input that came from a file. */
  readonly at: number | undefined
  readonly problem: string
  readonly input: Buffer
}

export interface RunOptions {
  readonly executions: number
  readonly seed: number
  /** Only this one of them. */
  readonly at?: number | undefined
  /** Of the corpus. */
  readonly corpus: readonly Buffer[]
  /** Hears of every execution before it begins. */
  readonly begins?: (at: number) => void
}

/** Executions between two turns of the event loop. */
const TURN_EVERY = 1024
/** A run ends early after so many different failures. */
const FAILURES_MAX = 10

export async function fuzz(target: Target, { executions, seed, at, corpus, begins = () => {} }: RunOptions): Promise<TargetResult> {
  const result = emptyResult(target.name)
  await target.open?.()
  try {
    const seeds = [...(await target.seeds(seed)), ...corpus]
    const startMs = performance.now()
    if (at !== undefined) await execute(target, inputAt(target, seeds, seed, at), at, result)
    else if ((target.concurrency ?? 1) > 1) await runSideBySide(target, seeds, { executions, seed, begins }, result)
    else
      for (let i = 0; i < executions && result.failures.length < FAILURES_MAX; i++) {
        begins(i)
        const rest = execute(target, inputAt(target, seeds, seed, i), i, result)
        if (rest !== undefined) await rest
        // What libraries leave for the next turn piles up where there is none.
        if (i % TURN_EVERY === 0) await new Promise(setImmediate)
      }
    result.elapsedMs = performance.now() - startMs
    result.figures = target.figures?.() ?? {}
  } finally {
    await target.close?.()
  }
  return result
}

/** The seeds first, as they are; then what becomes of them. */
export function inputAt(target: Target, seeds: readonly Buffer[], seed: number, at: number): Buffer {
  const whole = seeds[at]
  if (whole !== undefined) return whole
  const chance = streamOf(seed, `${target.name} ${at}`)
  if (target.fresh !== undefined && at % 2 === 1) return target.fresh(chance)
  const input = mutated(chance, seeds)
  return target.mend === undefined || at % 2 === 0 ? input : target.mend(input)
}

async function runSideBySide(
  target: Target,
  seeds: readonly Buffer[],
  { executions, seed, begins }: Pick<RunOptions, 'executions' | 'seed'> & { readonly begins: (at: number) => void },
  result: TargetResult,
): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < executions && result.failures.length < FAILURES_MAX) {
      const at = next++
      begins(at)
      result.executions++
      const input = inputAt(target, seeds, seed, at)
      if (!(await endsInTime(Promise.resolve(judge(target, input, at, result)))))
        fail(target, input, at, `has no end after ${END_MS} ms`, result)
    }
  }
  await Promise.all(Array.from({ length: target.concurrency ?? 1 }, worker))
}

/** True when `work` ends before patience does. */
async function endsInTime(work: Promise<unknown>): Promise<boolean> {
  const patience = Promise.withResolvers<false>()
  const timer = setTimeout(() => patience.resolve(false), END_MS)
  try {
    return await Promise.race([work.then(() => true), patience.promise])
  } finally {
    clearTimeout(timer)
  }
}

/** What one execution took. */
interface Cost {
  readonly ms: number
  /** Negative when a collection ran in between: it hides some of it. */
  readonly buffers: number
  readonly heap: number
}

function costNow(): Cost {
  // Cheaper than `process.memoryUsage()`, which asks the kernel as well. The external memory is that of array buffers for the most part.
  const { external_memory: buffers, used_heap_size: heap } = v8.getHeapStatistics()
  return { ms: performance.now(), buffers, heap }
}

function costSince(before: Cost): Cost {
  const ms = performance.now() - before.ms
  const after = costNow()
  return { ms, buffers: after.buffers - before.buffers, heap: after.heap - before.heap }
}

/** What an input may cost. */
function allowedFor(target: Target, input: Buffer): Cost {
  const paid = input.length + (target.outputBytesMax ?? 0)
  return {
    ms: SLOW_MS + (SLOW_MS_PER_KIB * input.length) / 1024,
    buffers: 2 * paid + BUFFER_SLACK_BYTES,
    heap: (target.heapPerByte ?? HEAP_PER_BYTE) * paid + HEAP_SLACK_BYTES,
  }
}

function isWithin(cost: Cost, allowed: Cost): boolean {
  return cost.ms <= allowed.ms && cost.buffers <= allowed.buffers && cost.heap <= allowed.heap
}

/** Undefined when it is over at once. */
function execute(target: Target, input: Buffer, at: number | undefined, result: TargetResult): Promise<void> | undefined {
  result.executions++
  const before = costNow()
  const outcome = judge(target, input, at, result)
  if (outcome !== undefined) return outcome.then(() => weigh(target, input, at, costSince(before), result))
  return weigh(target, input, at, costSince(before), result)
}

/** Looks at what an execution cost. What is above the bounds is done again, and the least counts. */
function weigh(target: Target, input: Buffer, at: number | undefined, cost: Cost, result: TargetResult): Promise<void> | undefined {
  const allowed = allowedFor(target, input)
  if (!isWithin(cost, allowed)) return repeat(target, input, at, cost, result)
  noteCost(cost, result)
  return undefined
}

async function repeat(target: Target, input: Buffer, at: number | undefined, first: Cost, result: TargetResult): Promise<void> {
  const allowed = allowedFor(target, input)
  let least = first
  for (let count = 0; count < REPEATS && !isWithin(least, allowed); count++) {
    const before = costNow()
    await ignored(target, input)
    const again = costSince(before)
    const isMeasured = again.buffers >= 0 && again.heap >= 0
    least = {
      ms: Math.min(least.ms, again.ms),
      buffers: isMeasured ? Math.min(least.buffers, again.buffers) : least.buffers,
      heap: isMeasured ? Math.min(least.heap, again.heap) : least.heap,
    }
  }
  noteCost(least, result)
  const tooMuch = (what: string, bytes: number, most: number): void =>
    fail(target, input, at, `allocates too much: ${bytes} bytes of ${what} for ${input.length} of input, allowed are ${most}`, result)
  if (least.buffers > allowed.buffers) tooMuch('buffers', least.buffers, allowed.buffers)
  if (least.heap > allowed.heap) tooMuch('heap', least.heap, allowed.heap)
  if (least.ms > allowed.ms) fail(target, input, at, `takes too long: ${least.ms.toFixed(0)} ms at best for ${input.length} bytes`, result)
}

function noteCost({ ms, buffers, heap }: Cost, result: TargetResult): void {
  if (ms > result.slowestMs) result.slowestMs = ms
  if (buffers < 0 || heap < 0) return
  result.measured++
  if (buffers > result.buffersMaxBytes) result.buffersMaxBytes = buffers
  if (heap > result.heapMaxBytes) result.heapMaxBytes = heap
}

/** Runs an input and counts what came of it. Undefined when it was over at once: most decoders need no turn of the event loop. */
function judge(target: Target, input: Buffer, at: number | undefined, result: TargetResult): Promise<void> | undefined {
  const failed = (error: unknown): void => note(target, input, at, error, result)
  try {
    const outcome = target.run(input)
    if (!(outcome instanceof Promise)) {
      result.accepted++
      return undefined
    }
    return outcome.then(() => void result.accepted++, failed)
  } catch (error) {
    failed(error)
    return undefined
  }
}

function note(target: Target, input: Buffer, at: number | undefined, error: unknown, result: TargetResult): void {
  if ((target.isTyped ?? isTypedError)(error)) result.refused++
  else fail(target, input, at, error instanceof Error ? (error.stack ?? String(error)) : `threw ${String(error)}`, result)
}

function fail(target: Target, input: Buffer, at: number | undefined, problem: string, result: TargetResult): void {
  const isKnown = result.failures.some((failure) => failure.problem.split('\n')[0] === problem.split('\n')[0])
  if (!isKnown) result.failures.push({ target: target.name, at, problem, input: Buffer.from(input) })
}

/** Once more, its outcome having been counted already. */
async function ignored(target: Target, input: Buffer): Promise<void> {
  try {
    await target.run(input)
  } catch {
    // Known.
  }
}

function emptyResult(name: string): TargetResult {
  const counts = { executions: 0, accepted: 0, refused: 0, measured: 0, buffersMaxBytes: 0, heapMaxBytes: 0, slowestMs: 0, elapsedMs: 0 }
  return { name, ...counts, failures: [], figures: {} }
}

/** Inputs as they are, for the corpus. */
export async function replay(target: Target, inputs: readonly Buffer[]): Promise<TargetResult> {
  const result = emptyResult(target.name)
  await target.open?.()
  try {
    for (const input of inputs) await execute(target, input, undefined, result)
  } finally {
    await target.close?.()
  }
  return result
}
