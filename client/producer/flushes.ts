/** The `flush` calls that wait for batches to come to an end. */
import { createDeferred, type Deferred } from '../../runtime/deferred.ts'
import { untilAborted } from '../retry.ts'
import type { PartitionQueue } from './partition-queue.ts'

interface Flush {
  /** Per queue, the order of the first batch it does not wait for. */
  readonly until: Map<PartitionQueue, number>
  readonly done: Deferred<void>
}

export class Flushes {
  readonly #waiting = new Set<Flush>()

  /** Resolves when everything these queues hold now is settled. Rejects with `CANCELLED` by `signal`. */
  async wait(queues: Iterable<PartitionQueue>, signal: AbortSignal | undefined): Promise<void> {
    const until = new Map([...queues].map((queue) => [queue, queue.nextOrder]))
    if (until.size === 0) return
    const flush: Flush = { until, done: createDeferred<void>() }
    this.#waiting.add(flush)
    for (const queue of [...until.keys()]) this.progressed(queue)
    try {
      await untilAborted(flush.done.promise, signal)
    } finally {
      this.#waiting.delete(flush)
    }
  }

  /** A batch of the queue was settled. */
  progressed(queue: PartitionQueue): void {
    for (const { until, done } of this.#waiting) {
      const order = until.get(queue)
      if (order === undefined || (queue.oldest?.order ?? Number.POSITIVE_INFINITY) < order) continue
      until.delete(queue)
      if (until.size === 0) done.resolve()
    }
  }
}
