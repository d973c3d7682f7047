/**
 * Who waits for appends of one partition: acknowledgements, for the high watermark or for this node's own disk, and parked fetches, for bytes
 * that become readable.
 */
import type { TidemarkError } from '../protocol/errors.ts'
import { OffsetWaiters, type Reached } from './offset-waiters.ts'

export class Acknowledgements {
  readonly #committed = new OffsetWaiters()
  readonly #durable = new OffsetWaiters()
  /** Appends above the high watermark, in order of offset. */
  #uncommitted: { readonly endOffset: number; readonly bytes: number }[] = []

  /** Acknowledgements that wait. */
  get size(): number {
    return this.#committed.size + this.#durable.size
  }

  appended(endOffset: number, bytes: number): void {
    this.#uncommitted.push({ endOffset, bytes })
  }

  /** `offset` is above what has been reached. */
  add(what: 'committed' | 'durable', offset: number, deadlineMs: number, reached: Reached): void {
    const waiters = what === 'committed' ? this.#committed : this.#durable
    waiters.add(offset, deadlineMs, reached)
  }

  /** The high watermark is `offset` now; returns the bytes of appends that became readable. */
  committed(offset: number): number {
    this.#committed.release(offset)
    let bytes = 0
    let count = 0
    for (const append of this.#uncommitted) {
      if (append.endOffset > offset) break
      bytes += append.bytes
      count++
    }
    this.#uncommitted.splice(0, count)
    return bytes
  }

  durable(offset: number): void {
    this.#durable.release(offset)
  }

  /** Fails those whose deadline (monotonic) has passed. */
  expire(nowMs: number, error: () => TidemarkError): void {
    this.#committed.expire(nowMs, error)
    this.#durable.expire(nowMs, error)
  }

  /** The appends at and above `fromOffset` are gone. */
  undone(fromOffset: number, error: TidemarkError): void {
    this.#uncommitted = this.#uncommitted.filter((append) => append.endOffset <= fromOffset)
    this.#committed.rejectFrom(fromOffset, error)
    this.#durable.rejectFrom(fromOffset, error)
  }

  /** Nothing more is committed for now. */
  rejectCommitted(error: TidemarkError): void {
    this.#committed.rejectFrom(-1, error)
  }

  /** Whoever waits is told `error`; nothing is expected any more. */
  dismiss(error: TidemarkError): void {
    this.undone(-1, error)
  }
}
