/**
 * Acknowledgements that wait for an offset of one partition to be reached.
 *
 * Appends happen in offset order, so the waiters form a queue and every operation
 * works at its ends.
 */
import type { TidemarkError } from '../protocol/errors.ts'

/** Called once: without an error when the offset was reached. */
export type Reached = (error: TidemarkError | undefined) => void

interface Waiter {
  /** Satisfied when the watched offset is at least this. */
  readonly offset: number
  readonly deadlineMs: number
  readonly reached: Reached
}

export class OffsetWaiters {
  /** `#queue[#head...]` wait, in ascending order of offset. */
  #queue: Waiter[] = []
  #head = 0

  get size(): number {
    return this.#queue.length - this.#head
  }

  /** `offset` is at least that of every waiter before, or one already there (a duplicate's answer waits for the first copy). */
  add(offset: number, deadlineMs: number, reached: Reached): void {
    const waiter = { offset, deadlineMs, reached }
    const last = this.#queue.at(-1)
    if (this.size === 0 || last === undefined || last.offset <= offset) {
      this.#queue.push(waiter)
      return
    }
    let at = this.#queue.length
    while (at > this.#head && (this.#queue[at - 1] as Waiter).offset > offset) at--
    this.#queue.splice(at, 0, waiter)
  }

  /** Tells every waiter at or below `offset`. */
  release(offset: number): void {
    while (this.#head < this.#queue.length) {
      const waiter = this.#queue[this.#head] as Waiter
      if (waiter.offset > offset) break
      this.#head++
      waiter.reached(undefined)
    }
    this.#compact()
  }

  /** Fails every waiter whose append lies at or above `fromOffset`. */
  rejectFrom(fromOffset: number, error: TidemarkError): void {
    const failed: Waiter[] = []
    while (this.size > 0 && (this.#queue.at(-1) as Waiter).offset > fromOffset) failed.push(this.#queue.pop() as Waiter)
    this.#compact()
    for (const waiter of failed.reverse()) waiter.reached(error)
  }

  /** Fails every waiter whose deadline has passed. */
  expire(nowMs: number, error: () => TidemarkError): void {
    const late = this.#queue.slice(this.#head).filter((waiter) => waiter.deadlineMs <= nowMs)
    if (late.length === 0) return
    this.#queue = this.#queue.slice(this.#head).filter((waiter) => waiter.deadlineMs > nowMs)
    this.#head = 0
    for (const waiter of late) waiter.reached(error())
  }

  #compact(): void {
    if (this.#head === this.#queue.length) {
      this.#queue = []
      this.#head = 0
    } else if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
  }
}
