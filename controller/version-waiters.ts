/** Those who wait for newer metadata: the far end of the metadata long poll. */
import { TidemarkError } from '../protocol/errors.ts'
import type { Timers } from '../runtime/runtime.ts'

/** Parked polls; each is a few hundred bytes, and every change looks at all of them. */
export const WAITERS_MAX = 10_000

interface Waiter {
  /** Done when the image is newer. */
  readonly version: number
  readonly release: () => void
}

export class VersionWaiters {
  readonly #timers: Pick<Timers, 'after'>
  readonly #waiters = new Set<Waiter>()

  constructor(timers: Pick<Timers, 'after'>) {
    this.#timers = timers
  }

  /** Resolves at the first of: an image newer than `version`, `timeoutMs`, an abort, `releaseAll`. Rejects with `BUSY` when too many wait. */
  async wait(version: number, options: { readonly timeoutMs: number; readonly signal?: AbortSignal }): Promise<void> {
    const { timeoutMs, signal } = options
    if (signal?.aborted || timeoutMs <= 0) return
    if (this.#waiters.size >= WAITERS_MAX)
      throw new TidemarkError('BUSY', `${WAITERS_MAX} requests wait for newer metadata already`, { retryAfterMs: 1000 })
    await new Promise<void>((resolve) => {
      const release = (): void => {
        this.#waiters.delete(waiter)
        timer.cancel()
        signal?.removeEventListener('abort', release)
        resolve()
      }
      const waiter = { version, release }
      const timer = this.#timers.after(timeoutMs, release)
      signal?.addEventListener('abort', release)
      this.#waiters.add(waiter)
    })
  }

  get count(): number {
    return this.#waiters.size
  }

  /** The image has this version now. */
  reached(version: number): void {
    for (const waiter of this.#waiters) {
      if (version > waiter.version) waiter.release()
    }
  }

  releaseAll(): void {
    for (const waiter of this.#waiters) waiter.release()
  }
}
