/**
 * Parked fetches: requests that found too little and wait for the commit that satisfies them.
 *
 * A parked fetch is registered with each of its partitions. When a partition's high
 * watermark moves it tells its parked fetches how many bytes became readable; the one
 * whose sum reaches `minBytes` is completed at once, in the same turn of the event
 * loop. Completing means "read again": purgatory holds no data. Parking costs one object,
 * one set entry per partition and one heap entry; while nothing happens it costs no CPU.
 */
import { TidemarkError } from '../protocol/errors.ts'
import type { Clock, Timers } from '../runtime/runtime.ts'
import { type Deadline, Deadlines } from './deadlines.ts'

/** Where fetches can be parked: a partition. */
export interface ParkingPlace {
  readonly parked: Set<ParkedFetch>
}

export class ParkedFetch implements Deadline {
  readonly atMs: number
  readonly places: readonly ParkingPlace[]
  #missingBytes: number
  readonly #purgatory: Purgatory
  readonly #complete: () => void

  constructor(purgatory: Purgatory, places: readonly ParkingPlace[], missingBytes: number, atMs: number, complete: () => void) {
    this.#purgatory = purgatory
    this.places = places
    this.#missingBytes = missingBytes
    this.atMs = atMs
    this.#complete = complete
  }

  /** `bytes` more can be read from one of its partitions. */
  bytesCommitted(bytes: number): void {
    this.#missingBytes -= bytes
    if (this.#missingBytes <= 0) this.wake()
  }

  /** Completes it now, for whatever reason: enough bytes, an error, leadership gone. */
  wake(): void {
    if (this.#purgatory.remove(this)) this.#complete()
  }

  expired(): void {
    this.wake()
  }
}

export class Purgatory {
  readonly #deadlines: Deadlines
  readonly #parkedMax: number
  readonly #fetches = new Set<ParkedFetch>()

  constructor(clock: Clock, timers: Timers, parkedMax: number) {
    this.#deadlines = new Deadlines(clock, timers)
    this.#parkedMax = parkedMax
  }

  get parkedCount(): number {
    return this.#fetches.size
  }

  /**
   * Parks a fetch until `missingBytes` more can be read at its places, its deadline (monotonic) passes, or it
   * is woken or removed. Throws `BUSY` when too many are parked.
   */
  park(places: readonly ParkingPlace[], missingBytes: number, deadlineMs: number, complete: () => void): ParkedFetch {
    if (this.#fetches.size >= this.#parkedMax) {
      throw new TidemarkError('BUSY', `${this.#fetches.size} fetches are parked, the node allows no more`, { retryAfterMs: 1000 })
    }
    const fetch = new ParkedFetch(this, places, missingBytes, deadlineMs, complete)
    this.#fetches.add(fetch)
    for (const place of places) place.parked.add(fetch)
    this.#deadlines.add(fetch)
    return fetch
  }

  /** Forgets a fetch without completing it, as when its caller gave up. False when it was not parked any more. */
  remove(fetch: ParkedFetch): boolean {
    if (!this.#fetches.delete(fetch)) return false
    for (const place of fetch.places) place.parked.delete(fetch)
    this.#deadlines.remove(fetch)
    return true
  }

  /** Completes every parked fetch, before the node stops. */
  wakeAll(): void {
    for (const fetch of [...this.#fetches]) fetch.wake()
  }

  close(): void {
    this.wakeAll()
    this.#deadlines.close()
  }
}
