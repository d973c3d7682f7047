/** Reads that wait until this node has applied all that was committed when they were asked. */
import { TidemarkError } from '../protocol/errors.ts'
import { createDeferred, type Deferred } from '../runtime/deferred.ts'
import type { Timer, Timers } from '../runtime/runtime.ts'

/** Reads that may wait. */
const WAITING_MAX = 1024

interface Waiting {
  readonly done: Deferred<void>
  readonly timeout: Timer
  /** Once the quorum has answered: what has to be applied. */
  index: number | undefined
}

export class ReadBarriers {
  readonly #timers: Timers
  readonly #run: string
  readonly #timeoutMs: number
  readonly #waiting = new Map<string, Waiting>()
  #count = 0

  /** `run`: of this log object alone, so that an answer meant for an earlier one is none of ours. */
  constructor(timers: Timers, run: string, timeoutMs: number) {
    this.#timers = timers
    this.#run = run
    this.#timeoutMs = timeoutMs
  }

  /** Rejects with `onTimeout()` when nothing is heard in time. */
  ask(onTimeout: () => TidemarkError): { readonly isDone: Promise<void>; readonly context: string } {
    const context = `${this.#run}-${++this.#count}`
    const done = createDeferred<void>()
    if (this.#waiting.size >= WAITING_MAX)
      done.reject(new TidemarkError('BUSY', `${WAITING_MAX} reads wait already`, { retryAfterMs: 100 }))
    else
      this.#waiting.set(context, {
        done,
        index: undefined,
        timeout: this.#timers.after(this.#timeoutMs, () => this.reject(context, onTimeout())),
      })
    return { isDone: done.promise, context }
  }

  answered(context: string, index: number): void {
    const waiting = this.#waiting.get(context)
    if (waiting !== undefined) waiting.index = index
  }

  applied(index: number): void {
    for (const [context, { index: needed, done, timeout }] of this.#waiting) {
      if (needed === undefined || needed > index) continue
      this.#waiting.delete(context)
      timeout.cancel()
      done.resolve()
    }
  }

  reject(context: string, error: Error): void {
    const waiting = this.#waiting.get(context)
    if (waiting === undefined) return
    this.#waiting.delete(context)
    waiting.timeout.cancel()
    waiting.done.reject(error)
  }

  rejectAll(error: Error): void {
    for (const context of [...this.#waiting.keys()]) this.reject(context, error)
  }
}
