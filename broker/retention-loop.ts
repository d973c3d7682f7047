/** Looks through all partitions from time to time and removes what retention no longer keeps. */
import { TidemarkError } from '../protocol/errors.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import type { Counters } from './counters.ts'
import type { PartitionRegistry } from './partition-registry.ts'

export class RetentionLoop {
  readonly #partitions: PartitionRegistry
  readonly #runtime: Runtime
  readonly #counters: Counters
  readonly #timer: Timer
  #pass: Promise<void> | undefined
  #isClosed = false

  constructor(partitions: PartitionRegistry, counters: Counters, runtime: Runtime, periodMs: number) {
    this.#partitions = partitions
    this.#counters = counters
    this.#runtime = runtime
    this.#timer = runtime.timers.every(periodMs, () => {
      this.#pass ??= this.#run().finally(() => {
        this.#pass = undefined
      })
    })
  }

  /** Resolves when the pass under way, if any, has stopped. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#timer.cancel()
    await this.#pass
  }

  async #run(): Promise<void> {
    for (const partition of this.#partitions.all()) {
      if (this.#isClosed) return
      // Its log is closed, and about to be another.
      if (partition.isChanging || partition.isRetired) continue
      try {
        this.#counters.retentionDeletedSegmentCount += await partition.log.applyRetention(partition.highWatermark)
      } catch (error) {
        const { code, message } = TidemarkError.from(error)
        this.#runtime.log.error('retention.failed', { topic: partition.topic, partition: partition.partition, code, error: message })
      }
    }
  }
}
