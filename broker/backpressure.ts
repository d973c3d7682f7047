/**
 * Byte budgets: how much work a node, a connection or a partition has in hand.
 *
 * A budget never blocks: what does not fit is refused with `BUSY` and a time to come back
 * that follows from how fast the budget drains. One request is always admitted
 * to an empty budget, so that a request larger than the budget is slow, not
 * impossible.
 */
import { TidemarkError } from '../protocol/errors.ts'
import type { Clock, Log } from '../runtime/runtime.ts'

/** Share of a budget at which the node warns, before it has to refuse. */
const WARN_AT = 0.7
/** The warning is given again only after the use fell below this share. */
const CALM_AT = 0.5

/** Bounds of the time a refused client is asked to wait: long enough to be worth it, short enough not to idle. */
const RETRY_AFTER_MIN_MS = 10
const RETRY_AFTER_MAX_MS = 2000

export class ByteBudget {
  readonly what: string
  readonly maxBytes: number
  readonly #clock: Clock
  readonly #log: Log | undefined
  #usedBytes = 0
  #warned = false
  #refusedCount = 0
  /** Bytes released in the present and the last full measuring window. */
  #window = { startMs: 0, bytes: 0 }
  #drainBytesPerMs = 0

  /** `what` names the budget in messages, such as "produce bytes of the node". Without a log it gives no warnings. */
  constructor(what: string, maxBytes: number, clock: Clock, log?: Log) {
    this.what = what
    this.maxBytes = maxBytes
    this.#clock = clock
    this.#log = log
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  get refusedCount(): number {
    return this.#refusedCount
  }

  fits(bytes: number): boolean {
    return this.#usedBytes === 0 || this.#usedBytes + bytes <= this.maxBytes
  }

  /** Takes `bytes`; only after `fits` said so. */
  take(bytes: number): void {
    this.#usedBytes += bytes
    if (!this.#warned && this.#usedBytes >= this.maxBytes * WARN_AT) {
      this.#warned = true
      this.#log?.warn('backpressure.near', { budget: this.what, usedBytes: this.#usedBytes, maxBytes: this.maxBytes })
    }
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes
    if (this.#warned && this.#usedBytes <= this.maxBytes * CALM_AT) this.#warned = false
    this.#measureDrain(bytes)
  }

  /** The error for a request that does not fit now. */
  refuse(bytes: number): TidemarkError {
    this.#refusedCount++
    return new TidemarkError('BUSY', `${this.what}: ${this.#usedBytes} of ${this.maxBytes} are in use, ${bytes} more do not fit`, {
      retryAfterMs: this.#retryAfterMs(bytes),
      outcome: 'failed',
    })
  }

  #measureDrain(bytes: number): void {
    const nowMs = this.#clock.monotonic()
    this.#window.bytes += bytes
    const elapsedMs = nowMs - this.#window.startMs
    if (elapsedMs < 100) return
    this.#drainBytesPerMs = this.#window.bytes / elapsedMs
    this.#window = { startMs: nowMs, bytes: 0 }
  }

  /** How long it takes to drain what is above half the budget. */
  #retryAfterMs(bytes: number): number {
    if (this.#drainBytesPerMs === 0) return 100
    const surplusBytes = this.#usedBytes + bytes - this.maxBytes * CALM_AT
    return Math.min(RETRY_AFTER_MAX_MS, Math.max(RETRY_AFTER_MIN_MS, Math.ceil(surplusBytes / this.#drainBytesPerMs)))
  }
}
