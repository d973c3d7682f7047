/**
 * A replicated log as a coordinator sees it, in virtual time.
 *
 * Fault model: commits come late and in order; a write may be taken back before it is committed (a full disk); a leader may be deposed without knowing it, and
 * goes on writing what is never committed; the next leader has everything that was committed, and any part of what was not.
 */
import type { EncodedRecord } from '../../../broker/groups/group-records.ts'
import type { GroupLog } from '../../../broker/groups/group-log.ts'
import { TidemarkError } from '../../../protocol/errors.ts'
import { between, type Chance } from '../../../scripts/random.ts'
import type { VirtualTime } from '../../sim/virtual-time.ts'

interface Waiter {
  readonly offset: number
  readonly reached: (error: TidemarkError | undefined) => void
}

/** What a new leader begins with. */
export interface LogSuccession {
  readonly batches: readonly (readonly EncodedRecord[])[]
  /** How many of them are committed. */
  readonly committedCount: number
}

export class SimLog implements GroupLog {
  readonly #time: VirtualTime
  readonly #chance: Chance
  readonly #batches: (readonly EncodedRecord[])[]
  #committedCount: number
  #waiters: Waiter[] = []
  #isDeposed = false
  /** Told from the first moment on in which others may lead. */
  #isLeading = true
  /** Answers before anything is committed: a mistake to be found. */
  readonly #isHasty: boolean

  constructor(time: VirtualTime, chance: Chance, { batches, committedCount }: LogSuccession, isHasty: boolean) {
    this.#time = time
    this.#chance = chance
    this.#batches = [...batches]
    this.#committedCount = committedCount
    this.#isHasty = isHasty
    this.#commitLater()
  }

  get length(): number {
    return this.#batches.length
  }

  append(records: readonly EncodedRecord[]): number {
    if (this.#isDeposed) throw new TidemarkError('NOT_LEADER')
    this.#batches.push(records)
    this.#commitLater()
    return this.#batches.length
  }

  whenCommitted(offset: number, reached: Waiter['reached']): void {
    if (this.#isHasty || offset <= this.#committedCount) reached(undefined)
    else if (this.#isDeposed) reached(new TidemarkError('NOT_LEADER'))
    else this.#waiters.push({ offset, reached })
  }

  async replay(apply: (key: Buffer | null, value: Buffer | null) => void, isOver: () => boolean): Promise<void> {
    const end = this.#batches.length
    for (const { key, value } of this.#batches.flat()) apply(key, value)
    await new Promise<void>((resolve) => this.#time.after(between(this.#chance, 1, 50), resolve))
    if (!isOver()) await new Promise<void>((resolve) => this.whenCommitted(end, () => resolve()))
  }

  /** Another one leads from now on; this one does not know. What was not committed may be lost, or some of it. */
  succeed(): LogSuccession {
    this.#isLeading = false
    const uncommitted = this.#batches.length - this.#committedCount
    const kept = this.#committedCount + Math.floor(this.#chance() * (uncommitted + 1))
    return { batches: this.#batches.slice(0, kept), committedCount: this.#committedCount }
  }

  /** It learns that it does not lead any more. */
  depose(): void {
    this.#isDeposed = true
    this.#reject(() => true, new TidemarkError('NOT_LEADER'))
  }

  /** The disk is full: what is not committed is taken back. False when there is nothing. */
  takeBack(): boolean {
    if (!this.#isLeading || this.#batches.length === this.#committedCount) return false
    this.#batches.length = this.#committedCount
    this.#reject(({ offset }) => offset > this.#committedCount, new TidemarkError('DISK_FULL'))
    return true
  }

  /** Nobody knows in time whether what waits is committed. */
  timeOut(): void {
    this.#reject(() => true, new TidemarkError('REQUEST_TIMED_OUT'))
  }

  #commitLater(): void {
    const count = this.#batches.length
    const last = this.#batches.at(-1)
    this.#time.after(between(this.#chance, 1, this.#chance() < 0.05 ? 3000 : 30), () => {
      // Taken back meanwhile, and others stand in its place.
      if (!this.#isLeading || this.#batches[count - 1] !== last || count <= this.#committedCount) return
      this.#committedCount = count
      const done = this.#waiters.filter(({ offset }) => offset <= count)
      this.#waiters = this.#waiters.filter(({ offset }) => offset > count)
      for (const { reached } of done) reached(undefined)
    })
  }

  #reject(which: (waiter: Waiter) => boolean, error: TidemarkError): void {
    const rejected = this.#waiters.filter(which)
    this.#waiters = this.#waiters.filter((waiter) => !which(waiter))
    for (const { reached } of rejected) reached(error)
  }
}
