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

/** Array buffers beyond 2 × input (and what a limit allows). */
const BUFFER_SLACK_BYTES = 64 * 1024
/** Objects on the heap: records, fields and errors with their stacks are larger than the bytes that stand for them. */
const HEAP_SLACK_BYTES = 512 * 1024
const HEAP_PER_BYTE = 256
/** One execution in so many is measured. */
const MEASURE_EVERY = 16
/** A machine that is busy with other things is slow too: only what is slow five times in a row is. */
const SLOW_MS = 100
const SLOW_MS_PER_KIB = 5
const REPEATS = 4
/** What waits for others is not measured one by one; it has to end. */
const END_MS = 30_000

export interface TargetResult {
  readonly name: string
  readonly executions: number
  /** Taken without an error. */
  accepted: number
  /** Refused with a typed error. */
  refused: number
  /** Executions measured one by one. */
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

/** A run ends early after so many different failures. */
const FAILURES_MAX = 10

export async function fuzz(target: Target, { executions, seed, at, corpus, begins = () => {} }: RunOptions): Promise<TargetResult> {
  const result = emptyResult(target.name, at === undefined ? executions : 1)
  await target.open?.()
  try {
    const seeds = [...(await target.seeds(seed)), ...corpus]
    const startMs = performance.now()
    if (at !== undefined) await execute(target, inputAt(target, seeds, seed, at), at, result)
    else if ((target.concurrency ?? 1) > 1) await runSideBySide(target, seeds, { seed, begins }, result)
    else
      for (let i = 0; i < executions && result.failures.length < FAILURES_MAX; i++) {
        begins(i)
        await execute(target, inputAt(target, seeds, seed, i), i, result)
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
  const input = mutated(streamOf(seed, `${target.name} ${at}`), seeds)
  return target.mend === undefined || at % 2 === 0 ? input : target.mend(input)
}

async function runSideBySide(
  target: Target,
  seeds: readonly Buffer[],
  { seed, begins }: { readonly seed: number; readonly begins: (at: number) => void },
  result: TargetResult,
): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < result.executions && result.failures.length < FAILURES_MAX) {
      const at = next++
      begins(at)
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

async function execute(target: Target, input: Buffer, at: number | undefined, result: TargetResult): Promise<void> {
  if (at !== undefined && at % MEASURE_EVERY === 0) return measure(target, input, at, result)
  const startMs = performance.now()
  const outcome = judge(target, input, at, result)
  if (outcome !== undefined) await outcome
  const tookMs = performance.now() - startMs
  if (tookMs > result.slowestMs) result.slowestMs = tookMs
  if (tookMs > slowMs(input)) await repeatSlow(target, input, at, tookMs, result)
}

function slowMs(input: Buffer): number {
  return SLOW_MS + (SLOW_MS_PER_KIB * input.length) / 1024
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

interface Allocated {
  readonly buffers: number
  readonly heap: number
}

/** What one execution allocates. What is above the bounds is measured anew: the first time may compile, or load, what later ones find. */
async function measure(target: Target, input: Buffer, at: number | undefined, result: TargetResult): Promise<void> {
  let most = await allocatedBy(() => judge(target, input, at, result))
  if (most === undefined) return
  const paid = input.length + (target.outputBytesMax ?? 0)
  const buffersAllowed = 2 * paid + BUFFER_SLACK_BYTES
  const heapAllowed = (target.heapPerByte ?? HEAP_PER_BYTE) * paid + HEAP_SLACK_BYTES
  for (let repeat = 0; repeat < REPEATS && (most.buffers > buffersAllowed || most.heap > heapAllowed); repeat++) {
    const again: Allocated | undefined = await allocatedBy(() => ignored(target, input))
    if (again !== undefined) most = { buffers: Math.min(most.buffers, again.buffers), heap: Math.min(most.heap, again.heap) }
  }
  result.measured++
  result.buffersMaxBytes = Math.max(result.buffersMaxBytes, most.buffers)
  result.heapMaxBytes = Math.max(result.heapMaxBytes, most.heap)
  const tooMuch = (what: string, bytes: number, allowed: number): void =>
    fail(target, input, at, `allocates too much: ${bytes} bytes of ${what} for ${input.length} of input, allowed are ${allowed}`, result)
  if (most.buffers > buffersAllowed) tooMuch('buffers', most.buffers, buffersAllowed)
  if (most.heap > heapAllowed) tooMuch('heap', most.heap, heapAllowed)
}

/** Undefined when a collection ran in between: it hides some of it. */
async function allocatedBy(work: () => Promise<void> | undefined): Promise<Allocated | undefined> {
  const buffersBefore = process.memoryUsage().arrayBuffers
  const heapBefore = v8.getHeapStatistics().used_heap_size
  const outcome = work()
  if (outcome !== undefined) await outcome
  const heap = v8.getHeapStatistics().used_heap_size - heapBefore
  const buffers = process.memoryUsage().arrayBuffers - buffersBefore
  return heap < 0 || buffers < 0 ? undefined : { buffers, heap }
}

/** Once more, its outcome having been counted already. */
async function ignored(target: Target, input: Buffer): Promise<void> {
  try {
    await target.run(input)
  } catch {
    // Known.
  }
}

async function repeatSlow(target: Target, input: Buffer, at: number | undefined, firstMs: number, result: TargetResult): Promise<void> {
  let fastestMs = firstMs
  for (let repeat = 0; repeat < REPEATS && fastestMs > slowMs(input); repeat++) {
    const startMs = performance.now()
    await ignored(target, input)
    fastestMs = Math.min(fastestMs, performance.now() - startMs)
  }
  if (fastestMs > slowMs(input))
    fail(target, input, at, `takes too long: ${fastestMs.toFixed(0)} ms at best for ${input.length} bytes`, result)
}

function emptyResult(name: string, executions: number): TargetResult {
  const counts = { accepted: 0, refused: 0, measured: 0, buffersMaxBytes: 0, heapMaxBytes: 0, slowestMs: 0, elapsedMs: 0 }
  return { name, executions, ...counts, failures: [], figures: {} }
}

/** Inputs as they are, for the corpus: each once by the clock and once by what it allocates. */
export async function replay(target: Target, inputs: readonly Buffer[]): Promise<TargetResult> {
  const result = emptyResult(target.name, 2 * inputs.length)
  await target.open?.()
  try {
    for (const input of inputs) {
      await execute(target, input, undefined, result)
      await measure(target, input, undefined, result)
    }
  } finally {
    await target.close?.()
  }
  return result
}
