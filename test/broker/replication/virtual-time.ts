/** Time that passes when told to, for all nodes of a test together; and chance that comes from a seed. */
import type { Clock, Timer, Timers } from '../../../runtime/runtime.ts'

interface Entry {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
}

export class VirtualTime implements Clock, Timers {
  nowMs = 1_800_000_000_000
  #entries: Entry[] = []
  #order = 0

  now(): number {
    return Math.floor(this.nowMs)
  }

  monotonic(): number {
    return this.nowMs
  }

  after(delayMs: number, run: () => void): Timer {
    const entry = { atMs: this.nowMs + Math.max(0, delayMs), order: this.#order++, run }
    this.#entries.push(entry)
    return { cancel: () => void (this.#entries = this.#entries.filter((one) => one !== entry)) }
  }

  every(periodMs: number, run: () => void): Timer {
    let timer: Timer
    const again = (): void => {
      timer = this.after(periodMs, again)
      run()
    }
    timer = this.after(periodMs, again)
    return { cancel: () => timer.cancel() }
  }

  nextTurn(run: () => void): void {
    setImmediate(run)
  }

  /** Lets `ms` pass. What the disks were asked to do at one moment they have done at the next. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.nowMs + ms
    await settle()
    for (;;) {
      const next = this.#entries.filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs || a.order - b.order)[0]
      if (next === undefined) break
      this.#entries = this.#entries.filter((one) => one !== next)
      this.nowMs = Math.max(this.nowMs, next.atMs)
      next.run()
      await settle()
    }
    this.nowMs = untilMs
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setImmediate(resolve))
}

/** Uniform in [0, 1), a function of the seed (mulberry32). */
export function chanceOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
