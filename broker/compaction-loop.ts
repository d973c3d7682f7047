/**
 * Compacts the logs of the node, one at a time, the dirtiest first: from time to time looks which ones have enough to compact, and goes on until
 * none has.
 */
import { CompactionPace } from '../log/compaction-pace.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { isCompacted } from '../protocol/topic-config.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import type { NodeConfig } from './config.ts'
import type { CompactionCounters } from './counters.ts'
import type { Partition } from './partition.ts'
import type { PartitionRegistry } from './partition-registry.ts'

type CompactionConfig = Pick<NodeConfig, 'compactionCheckMs'> & {
  readonly limits: Pick<NodeConfig['limits'], 'compactionMemoryBytes' | 'compactionBytesPerSecond'>
}

const NEVER = new AbortController().signal

export class CompactionLoop {
  readonly #partitions: Pick<PartitionRegistry, 'all'>
  readonly #runtime: Runtime
  readonly #counters: CompactionCounters
  readonly #memoryBytes: number
  readonly #pace: CompactionPace
  readonly #timer: Timer
  #round: Promise<void> | undefined
  /** Being compacted now. */
  #current: Partition | undefined
  #isClosed = false

  constructor(partitions: Pick<PartitionRegistry, 'all'>, counters: CompactionCounters, runtime: Runtime, config: CompactionConfig) {
    this.#partitions = partitions
    this.#counters = counters
    this.#runtime = runtime
    this.#memoryBytes = config.limits.compactionMemoryBytes
    this.#pace = new CompactionPace(runtime, config.limits.compactionBytesPerSecond)
    this.#timer = runtime.timers.every(config.compactionCheckMs, () => {
      this.#round ??= this.#work().finally(() => {
        this.#round = undefined
      })
    })
  }

  /** Ends the compaction under way, if any, and resolves when it has ended. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#timer.cancel()
    await this.#current?.log.compactor.stop()
    await this.#round
  }

  async #work(): Promise<void> {
    // One that fails, or has changed while it was compacted, waits for the next time.
    const done = new Set<Partition>()
    while (!this.#isClosed) {
      const next = await this.#dirtiest(done)
      if (next === undefined) return
      done.add(next)
      if (!this.#isClosed) await this.#compact(next)
    }
  }

  async #dirtiest(done: ReadonlySet<Partition>): Promise<Partition | undefined> {
    let dirtiest: Partition | undefined
    let ratioMax = -1
    for (const partition of this.#partitions.all()) {
      if (!isCompacted(partition.config) || partition.isChanging || partition.isRetired || done.has(partition)) continue
      if (this.#pace.isTurnOver) await this.#pace.pause(NEVER)
      const ratio = await partition.log.compactor.need(partition.highWatermark).catch((error: unknown) => this.#failed(partition, error))
      if (ratio === undefined || ratio <= ratioMax) continue
      dirtiest = partition
      ratioMax = ratio
    }
    return dirtiest
  }

  async #compact(partition: Partition): Promise<void> {
    const { clock } = this.#runtime
    const { compactor } = partition.log
    const startedMs = clock.monotonic()
    this.#current = partition
    if (partition.isLeader) compactor.replicated(partition.replicatedBelow)
    try {
      const { readBytes, writtenBytes, removedCount } = await compactor.run(partition.highWatermark, {
        pace: this.#pace,
        memoryBytes: this.#memoryBytes,
      })
      this.#counters.runCount++
      this.#counters.readBytes += readBytes
      this.#counters.writtenBytes += writtenBytes
      this.#counters.removedRecordCount += removedCount
    } catch (error) {
      this.#failed(partition, error)
    }
    this.#counters.totalMs += clock.monotonic() - startedMs
    this.#current = undefined
  }

  #failed({ topic, partition, log }: Partition, cause: unknown): undefined {
    const error = TidemarkError.from(cause)
    const { code, message } = error
    // It was closed, cut or shortened meanwhile: nothing is wrong.
    if (code === 'CANCELLED') return
    if (code === 'CORRUPT_LOG') log.damaged(error)
    this.#counters.failedCount++
    this.#runtime.log.error('compaction.failed', { topic, partition, code, error: message })
  }
}
