/**
 * What keeps compaction from getting in the way: so many bytes a second read and written, and the event loop for others after a few
 * milliseconds of work. One for all logs of a node, of which one is compacted at a time.
 */
import { createDeferred } from '../runtime/deferred.ts'
import type { Runtime } from '../runtime/runtime.ts'

/** Work without a pause. */
const TURN_MS = 2
/** Shorter waits are saved up. */
const WAIT_MIN_MS = 10

export class CompactionPace {
  readonly #runtime: Pick<Runtime, 'clock' | 'timers'>
  readonly #bytesPerMs: number
  #turnStartMs = 0
  /** When what was spent so far fits the rate. */
  #paidAtMs = 0

  /** `bytesPerSecond`: 0 for as fast as it goes. */
  constructor(runtime: Pick<Runtime, 'clock' | 'timers'>, bytesPerSecond: number) {
    this.#runtime = runtime
    this.#bytesPerMs = bytesPerSecond === 0 ? Number.POSITIVE_INFINITY : bytesPerSecond / 1000
  }

  /** It is time for `pause`. */
  get isTurnOver(): boolean {
    return this.#runtime.clock.monotonic() - this.#turnStartMs >= TURN_MS
  }

  /** Lets the event loop do what else there is. Rejects with the signal's reason. */
  async pause(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => this.#runtime.timers.nextTurn(resolve))
    this.#turnStartMs = this.#runtime.clock.monotonic()
    signal.throwIfAborted()
  }

  /** So many bytes were read or written: waits until the rate allows more. Rejects with the signal's reason, at once. */
  async spend(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const nowMs = this.#runtime.clock.monotonic()
    this.#paidAtMs = Math.max(this.#paidAtMs, nowMs) + bytes / this.#bytesPerMs
    const waitMs = this.#paidAtMs - nowMs
    if (waitMs >= WAIT_MIN_MS) await this.#wait(waitMs, signal)
    else if (this.isTurnOver) await this.pause(signal)
  }

  async #wait(delayMs: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = createDeferred<void>()
    const stop = (): void => resolve()
    const timer = this.#runtime.timers.after(delayMs, stop)
    signal.addEventListener('abort', stop, { once: true })
    await promise
    timer.cancel()
    signal.removeEventListener('abort', stop)
    this.#turnStartMs = this.#runtime.clock.monotonic()
    signal.throwIfAborted()
  }
}
