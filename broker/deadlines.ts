/**
 * Many deadlines on one timer.
 *
 * A binary heap ordered by time; the one runtime timer is armed for the earliest
 * entry and only while there are entries, so that ten thousand parked requests cost no CPU and one
 * timer. Removing is lazy: a removed entry stays in the heap until its time
 * or until removed ones are the majority.
 */
import type { Clock, Timer, Timers } from '../runtime/runtime.ts'

export interface Deadline {
  /** On the monotonic clock. */
  readonly atMs: number
  /** Called once, at or after `atMs`, unless removed before. */
  expired(): void
}

interface Entry {
  readonly deadline: Deadline
  removed: boolean
}

export class Deadlines {
  readonly #clock: Clock
  readonly #timers: Timers
  #heap: Entry[] = []
  readonly #entries = new Map<Deadline, Entry>()
  #timer: Timer | undefined
  /** When the armed timer fires; infinite when none is armed. */
  #armedForMs = Number.POSITIVE_INFINITY

  constructor(clock: Clock, timers: Timers) {
    this.#clock = clock
    this.#timers = timers
  }

  get size(): number {
    return this.#entries.size
  }

  add(deadline: Deadline): void {
    const entry = { deadline, removed: false }
    this.#entries.set(deadline, entry)
    this.#heap.push(entry)
    siftUp(this.#heap, this.#heap.length - 1)
    if (deadline.atMs < this.#armedForMs) this.#arm(deadline.atMs)
  }

  remove(deadline: Deadline): void {
    const entry = this.#entries.get(deadline)
    if (entry === undefined) return
    entry.removed = true
    this.#entries.delete(deadline)
    if (this.#heap.length > 64 && this.#entries.size * 2 < this.#heap.length) this.#sweep()
    if (this.#entries.size === 0) this.#disarm()
  }

  close(): void {
    this.#disarm()
    this.#heap = []
    this.#entries.clear()
  }

  #arm(atMs: number): void {
    this.#timer?.cancel()
    this.#armedForMs = atMs
    this.#timer = this.#timers.after(Math.max(0, Math.ceil(atMs - this.#clock.monotonic())), () => this.#fire())
  }

  #disarm(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#armedForMs = Number.POSITIVE_INFINITY
    this.#heap = []
  }

  #fire(): void {
    this.#timer = undefined
    this.#armedForMs = Number.POSITIVE_INFINITY
    const nowMs = this.#clock.monotonic()
    for (let first = this.#heap[0]; first !== undefined && (first.removed || first.deadline.atMs <= nowMs); first = this.#heap[0]) {
      popTop(this.#heap)
      if (first.removed) continue
      this.#entries.delete(first.deadline)
      first.deadline.expired()
    }
    const next = this.#heap[0]
    if (next !== undefined && next.deadline.atMs < this.#armedForMs) this.#arm(next.deadline.atMs)
  }

  #sweep(): void {
    // A sorted array is a heap.
    this.#heap = this.#heap.filter((entry) => !entry.removed).sort((a, b) => a.deadline.atMs - b.deadline.atMs)
  }
}

function siftUp(heap: Entry[], start: number): void {
  for (let child = start; child > 0; ) {
    const parent = (child - 1) >> 1
    if (timeAt(heap, parent) <= timeAt(heap, child)) return
    swap(heap, parent, child)
    child = parent
  }
}

function popTop(heap: Entry[]): void {
  const last = heap.pop()
  if (last === undefined || heap.length === 0) return
  heap[0] = last
  for (let parent = 0; ; ) {
    const left = 2 * parent + 1
    const right = left + 1
    let smallest = parent
    if (left < heap.length && timeAt(heap, left) < timeAt(heap, smallest)) smallest = left
    if (right < heap.length && timeAt(heap, right) < timeAt(heap, smallest)) smallest = right
    if (smallest === parent) return
    swap(heap, parent, smallest)
    parent = smallest
  }
}

function timeAt(heap: readonly Entry[], index: number): number {
  return (heap[index] as Entry).deadline.atMs
}

function swap(heap: Entry[], a: number, b: number): void {
  const entry = heap[a] as Entry
  heap[a] = heap[b] as Entry
  heap[b] = entry
}
