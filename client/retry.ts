/** When to try again: exponential backoff with jitter, the node's own wish first. */
import { type Outcome, TidemarkError } from '../protocol/errors.ts'
import type { Clock, Random, Timers } from '../runtime/runtime.ts'

export const BACKOFF_FIRST_MS = 50
/** Half a second: a partition whose leader is gone has another within seconds, and each of them counts. */
export const BACKOFF_MAX_MS = 500

/** What retrying needs of the outside world. */
export type RetryRuntime = { readonly clock: Clock; readonly timers: Timers; readonly random: Random }

/**
 * How long to wait before attempt `attempt` (1 is the first retry): between half and all of an exponentially growing time, and at
 * least what the node asked for, spread over half as much again so that the refused do not all come back together.
 */
export function backoffMs(attempt: number, random: Random, retryAfterMs = 0): number {
  const ceilingMs = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt - 1, 20))
  const ownMs = ceilingMs * (0.5 + random.float() / 2)
  return retryAfterMs > 0 ? Math.max(ownMs, retryAfterMs * (1 + random.float() / 2)) : ownMs
}

/** Resolves after `ms`; rejects with `CANCELLED` when `signal` aborts first. */
export function pause(ms: number, timers: Timers, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(cancelled(signal))
      return
    }
    const abort = (): void => {
      timer.cancel()
      reject(cancelled(signal))
    }
    const timer = timers.after(ms, () => {
      signal?.removeEventListener('abort', abort)
      resolve()
    })
    signal?.addEventListener('abort', abort, { once: true })
  })
}

/** Tries until it works, fails for good, `deadlineMs` (monotonic) has passed or `signal` aborts. */
export async function withRetries<T>(
  runtime: RetryRuntime,
  deadlineMs: number,
  signal: AbortSignal | undefined,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let count = 1; ; count++) {
    if (signal?.aborted) throw cancelled(signal)
    try {
      return await attempt()
    } catch (caught) {
      const error = TidemarkError.from(caught)
      const waitMs = backoffMs(count, runtime.random, error.retryAfterMs)
      if (!error.retriable || runtime.clock.monotonic() + waitMs >= deadlineMs) throw error
      await pause(waitMs, runtime.timers, signal)
      // On a busy machine a pause ends late. An attempt that has no time left would only hide why the last one failed.
      if (runtime.clock.monotonic() >= deadlineMs) throw error
    }
  }
}

/** Rejects with `CANCELLED` as soon as `signal` aborts, whatever becomes of `promise`. */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  if (signal.aborted) return Promise.reject(cancelled(signal))
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(cancelled(signal))
    signal.addEventListener('abort', abort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

/** Resolves when `work` does, or after `ms`. */
export async function atMost(timers: Timers, ms: number, work: Promise<unknown>): Promise<void> {
  const late = Promise.withResolvers<void>()
  const timer = timers.after(ms, late.resolve)
  try {
    await Promise.race([work, late.promise])
  } finally {
    timer.cancel()
  }
}

export function cancelled(signal: AbortSignal | undefined, outcome?: Outcome): TidemarkError {
  return new TidemarkError('CANCELLED', undefined, { cause: signal?.reason, outcome })
}
