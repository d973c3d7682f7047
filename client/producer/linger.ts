/** Wakes a producer when the oldest of its open batches has lingered long enough. */
import type { Timer, Timers } from '../../runtime/runtime.ts'
import type { PartitionQueue } from './partition-queue.ts'

export class Linger {
  readonly #timers: Timers
  readonly #lingerMs: number
  readonly #due: () => void
  #timer: Timer | undefined

  constructor(timers: Timers, lingerMs: number, due: () => void) {
    this.#timers = timers
    this.#lingerMs = lingerMs
    this.#due = due
  }

  /** `nowMs`: monotonic. */
  arm(queues: Iterable<PartitionQueue>, nowMs: number): void {
    if (this.#timer !== undefined || this.#lingerMs === 0) return
    let oldestMs = Number.POSITIVE_INFINITY
    for (const { open } of queues) if (open !== undefined) oldestMs = Math.min(oldestMs, open.createdMs)
    if (oldestMs === Number.POSITIVE_INFINITY) return
    this.#timer = this.#timers.after(Math.max(1, Math.ceil(oldestMs + this.#lingerMs - nowMs)), () => {
      this.#timer = undefined
      this.#due()
    })
  }

  close(): void {
    this.#timer?.cancel()
  }
}
