/**
 * The real outside world. The only files that touch global time, timers, randomness and
 * `node:fs` are this one and `node-files.ts`; only composition roots import them.
 */
import { randomFillSync } from 'node:crypto'
import { nodeFiles } from './node-files.ts'
import type { Clock, Log, Random, Runtime, Timer, Timers } from './runtime.ts'

export const nodeClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
}

export const nodeTimers: Timers = {
  after(delayMs, run): Timer {
    const handle = setTimeout(run, Math.min(delayMs, TIMEOUT_MAX_MS))
    return { cancel: () => clearTimeout(handle) }
  },
  every(periodMs, run): Timer {
    const handle = setInterval(run, Math.min(periodMs, TIMEOUT_MAX_MS))
    return { cancel: () => clearInterval(handle) }
  },
  nextTurn(run): void {
    setImmediate(run)
  },
}

/** Node fires a longer timeout at once; nobody here waits 24 days. */
const TIMEOUT_MAX_MS = 2 ** 31 - 1

export const nodeRandom: Random = {
  float: () => Math.random(),
  bytes: (count) => randomFillSync(Buffer.allocUnsafe(count)),
}

/** Says nothing. For clients and tests that bring no log of their own. */
export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
}

/** The real world with the given log. */
export function nodeRuntime(log: Log = silentLog): Runtime {
  return { clock: nodeClock, timers: nodeTimers, random: nodeRandom, files: nodeFiles, log }
}
