/**
 * Time that passes when told to, for everything in a simulation together.
 *
 * What is due is run in the order of its time, then in the order it was asked for; after each event all promises that it
 * settled have their say before the next one. So a run depends on nothing but what is in it.
 */
import type { Clock, Timer, Timers } from '../../runtime/runtime.ts'

interface Entry {
  readonly atMs: number
  readonly order: number
  run: (() => void) | undefined
}

/** 2027: an ordinary timestamp. */
const BEGIN_MS = 1_800_000_000_000

export class VirtualTime implements Clock, Timers {
  nowMs = BEGIN_MS
  /** A binary heap, the next event first. Cancelled ones stay in it without their `run`. */
  readonly #heap: Entry[] = []
  #order = 0
  #eventCount = 0

  /** Events run so far. */
  get eventCount(): number {
    return this.#eventCount
  }

  /** Milliseconds since the beginning. */
  get elapsedMs(): number {
    return this.nowMs - BEGIN_MS
  }

  now(): number {
    return Math.floor(this.nowMs)
  }

  monotonic(): number {
    return this.nowMs
  }

  after(delayMs: number, run: () => void): Timer {
    const entry: Entry = { atMs: this.nowMs + Math.max(0, delayMs), order: this.#order++, run }
    this.#push(entry)
    return {
      cancel: () => {
        entry.run = undefined
      },
    }
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
    this.after(0, run)
  }

  /** Runs the next event that is due by `untilMs` and lets what follows from it settle. False when there is none. */
  async step(untilMs: number): Promise<boolean> {
    for (;;) {
      const [next] = this.#heap
      if (next === undefined || next.atMs > untilMs) return false
      this.#pop()
      const { run } = next
      if (run === undefined) continue
      this.nowMs = Math.max(this.nowMs, next.atMs)
      this.#eventCount++
      run()
      await settle()
      return true
    }
  }

  /** Lets `ms` pass. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.nowMs + ms
    await settle()
    while (await this.step(untilMs)) continue
    this.nowMs = untilMs
  }

  #push(entry: Entry): void {
    const heap = this.#heap
    let at = heap.push(entry) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(entry, heap[parent] as Entry)) break
      heap[at] = heap[parent] as Entry
      at = parent
    }
    heap[at] = entry
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop() as Entry
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Entry, heap[child] as Entry)) child++
      if (!isBefore(heap[child] as Entry, last)) break
      heap[at] = heap[child] as Entry
      at = child
    }
    heap[at] = last
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}

/** Every promise and tick that is pending is run before an immediate is. */
function settle(): Promise<void> {
  return new Promise<void>((resolve) => setImmediate(resolve))
}
