/**
 * The end of batches that will not be acknowledged: their records are told, and whether they may have been written.
 *
 * A record is told at its deadline whatever its batch is doing. A batch in flight then stays in its place until it is answered, because what
 * may be done with its sequences depends on that answer; so does one that waits behind it with sequences of its own.
 */
import { TidemarkError } from '../../protocol/errors.ts'
import type { Clock } from '../../runtime/runtime.ts'
import type { OutBatch, PartitionQueue } from './partition-queue.ts'

export interface SettledEvents {
  /** The batch's records have been told what became of them; its room in the buffer is free. */
  settled(queue: PartitionQueue, batch: OutBatch): void
  /** Records were lost of which nobody waits to hear. */
  lost(error: TidemarkError, batch: OutBatch, recordCount: number): void
}

export class GivingUp {
  readonly #clock: Clock
  readonly #deliveryTimeoutMs: number
  readonly #events: SettledEvents

  constructor(clock: Clock, deliveryTimeoutMs: number, events: SettledEvents) {
    this.#clock = clock
    this.#deliveryTimeoutMs = deliveryTimeoutMs
    this.#events = events
  }

  /** When the oldest batch of these is due, in milliseconds from now; undefined when none is left to be told. */
  nextDueMs(queues: Iterable<PartitionQueue>): number | undefined {
    let oldestMs = Number.POSITIVE_INFINITY
    for (const { oldest } of queues) if (oldest !== undefined) oldestMs = Math.min(oldestMs, oldest.createdMs)
    return oldestMs === Number.POSITIVE_INFINITY ? undefined : Math.max(1, oldestMs + this.#deliveryTimeoutMs - this.#clock.monotonic())
  }

  /** Tells what is too old. True when the partition must go on under another producer id. */
  expire(queue: PartitionQueue): boolean {
    const bornBeforeMs = this.#clock.monotonic() - this.#deliveryTimeoutMs
    const isOld = (batch: OutBatch): boolean => batch.createdMs <= bornBeforeMs
    if (queue.open !== undefined && isOld(queue.open)) queue.closeOpen()
    if (queue.inFlight.length > 0) {
      this.#expireInPlace(queue, isOld)
      return false
    }
    // Behind one that may have been written, everything else that may have been is given up as well: under a new id it might be there twice.
    const isUnknown = queue.waiting.some((batch) => isOld(batch) && batch.mayBeWritten)
    const given = this.where(queue, (batch) => isOld(batch) || (isUnknown && batch.mayBeWritten))
    if (!isUnknown) for (const batch of given) if (batch.baseSequence >= 0) queue.closeGap(batch)
    return isUnknown
  }

  /** Gives up those waiting batches that `isGiven` names. Nothing of theirs may be in flight. */
  where(queue: PartitionQueue, isGiven: (batch: OutBatch) => boolean): OutBatch[] {
    const given = queue.waiting.filter(isGiven)
    for (const batch of given) {
      queue.waiting.splice(queue.waiting.indexOf(batch), 1)
      this.batch(queue, batch, this.#timedOut(batch))
    }
    return given
  }

  /** Gives up everything that is not in flight. True when sequences were given out for some of it. */
  all(queue: PartitionQueue, error: TidemarkError): boolean {
    queue.closeOpen()
    const given = queue.waiting.splice(0)
    for (const batch of given) this.batch(queue, batch, error)
    return given.some((batch) => batch.baseSequence >= 0)
  }

  /** Tells the records of one batch, if they have not been told before. */
  batch(queue: PartitionQueue, batch: OutBatch, why: TidemarkError, isInFlight = false): void {
    if (batch.isSettled) return
    const outcome = batch.mayBeWritten || isInFlight ? 'indeterminate' : 'failed'
    const error = new TidemarkError(why.code, why.message, { cause: why.cause ?? why, outcome })
    batch.isSettled = true
    const unheardCount = batch.fail(error)
    if (unheardCount > 0) this.#events.lost(error, batch, unheardCount)
    this.#events.settled(queue, batch)
  }

  #expireInPlace(queue: PartitionQueue, isOld: (batch: OutBatch) => boolean): void {
    for (const batch of queue.inFlight) if (isOld(batch)) this.batch(queue, batch, this.#timedOut(batch), true)
    this.where(queue, (batch) => isOld(batch) && batch.baseSequence < 0)
    for (const batch of queue.waiting) {
      if (!isOld(batch)) continue
      this.batch(queue, batch, this.#timedOut(batch))
      // It must not be sent any more: told that it failed, it has to stay so.
      queue.isRecovering = true
    }
  }

  #timedOut(batch: OutBatch): TidemarkError {
    const reason = batch.lastError === undefined ? '' : `; last: ${batch.lastError.message} (${batch.lastError.code})`
    const detail = `${batch.topic}-${batch.partition} did not acknowledge within ${this.#deliveryTimeoutMs} ms${reason}`
    return new TidemarkError('DELIVERY_TIMED_OUT', detail, { cause: batch.lastError })
  }
}
