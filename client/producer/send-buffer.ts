/**
 * The bytes a producer may hold, and the line of those who wait for room. First come, first served:
 * while somebody waits nobody overtakes, so that records keep the order in which they were given.
 */
import { TidemarkError } from '../../protocol/errors.ts'
import { createDeferred, type Deferred } from '../../runtime/deferred.ts'
import type { Timers } from '../../runtime/runtime.ts'
import { cancelled } from '../retry.ts'

interface Place {
  readonly bytes: number
  /** Whether the room is taken, or only waited for. */
  readonly isTaking: boolean
  readonly turn: Deferred<void>
}

export class SendBuffer {
  readonly #limitBytes: number
  readonly #maxBlockMs: number
  readonly #timers: Timers
  #usedBytes = 0
  readonly #line: Place[] = []

  constructor(limitBytes: number, maxBlockMs: number, timers: Timers) {
    this.#limitBytes = limitBytes
    this.#maxBlockMs = maxBlockMs
    this.#timers = timers
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Takes room if there is some and nobody waits for it. */
  tryTake(bytes: number): boolean {
    if (this.#line.length > 0 || !this.#fits(bytes)) return false
    this.#usedBytes += bytes
    return true
  }

  /** Takes room, once there is. Rejects with `BUFFER_FULL` when that lasts too long, with `CANCELLED` by `signal`. */
  async take(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    if (!this.tryTake(bytes)) await this.#wait(bytes, true, signal)
  }

  /** Waits until there is room for `bytes`, without taking it. */
  async waitForRoom(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.#line.length > 0 || !this.#fits(bytes)) await this.#wait(bytes, false, signal)
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes
    for (let first = this.#line[0]; first !== undefined && this.#fits(first.bytes); first = this.#line[0]) {
      this.#line.shift()
      if (first.isTaking) this.#usedBytes += first.bytes
      first.turn.resolve()
    }
  }

  /** Sends everybody who waits away. */
  close(error: TidemarkError): void {
    for (const place of this.#line.splice(0)) place.turn.reject(error)
  }

  /** One record is always taken into an empty buffer, however large. */
  #fits(bytes: number): boolean {
    return this.#usedBytes === 0 || this.#usedBytes + bytes <= this.#limitBytes
  }

  async #wait(bytes: number, isTaking: boolean, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) throw cancelled(signal, 'failed')
    const place: Place = { bytes, isTaking, turn: createDeferred<void>() }
    const leave = (error: TidemarkError): void => {
      const at = this.#line.indexOf(place)
      if (at < 0) return
      this.#line.splice(at, 1)
      place.turn.reject(error)
      // Whoever stood behind may fit where this one did not.
      this.release(0)
    }
    const abort = (): void => leave(cancelled(signal, 'failed'))
    const timer = this.#timers.after(this.#maxBlockMs, () => leave(this.#full(bytes)))
    signal?.addEventListener('abort', abort, { once: true })
    this.#line.push(place)
    try {
      await place.turn.promise
    } finally {
      timer.cancel()
      signal?.removeEventListener('abort', abort)
    }
  }

  #full(bytes: number): TidemarkError {
    const detail = `the buffer of ${this.#limitBytes} bytes had no room for ${bytes} bytes for ${this.#maxBlockMs} ms`
    return new TidemarkError('BUFFER_FULL', detail, { outcome: 'failed' })
  }
}
