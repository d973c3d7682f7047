/**
 * What the clock does for the logs of a data directory that are written to: syncs those that do not sync by themselves,
 * and makes checkpoints. One timer each for all logs, and none while nothing is written.
 */
import { TidemarkError } from '../protocol/errors.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import { inGroups } from './data-dir-files.ts'
import type { PartitionLog } from './partition-log.ts'

/** Logs that do not sync by themselves are synced this long after a write. */
const FLUSH_AFTER_MS = 1000

/** A log that was written to gets a checkpoint this often, so that damage to what was acknowledged long ago is told from a torn tail. */
const CHECKPOINT_EVERY_MS = 60_000

/** Logs at the same time: the disk is for those who wait. */
const CONCURRENCY = 4

export class BackgroundSync {
  readonly #runtime: Runtime
  readonly #toFlush = new Set<PartitionLog>()
  readonly #toCheckpoint = new Set<PartitionLog>()
  #flushTimer: Timer | undefined
  #checkpointTimer: Timer | undefined
  #checkpointing: Promise<void> = Promise.resolve()
  #isClosed = false

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /** A log was written to. */
  readonly noteDirty = (log: PartitionLog): void => {
    if (this.#isClosed) return
    if (log.config.durability !== 'fsync') {
      this.#toFlush.add(log)
      this.#flushTimer ??= this.#runtime.timers.after(FLUSH_AFTER_MS, () => {
        this.#flushTimer = undefined
        this.flushNow()
      })
    }
    this.#toCheckpoint.add(log)
    this.#checkpointTimer ??= this.#runtime.timers.after(CHECKPOINT_EVERY_MS, () => {
      this.#checkpointTimer = undefined
      this.#checkpointNow()
    })
  }

  forget(log: PartitionLog): void {
    this.#toFlush.delete(log)
    this.#toCheckpoint.delete(log)
  }

  /** Syncs every log that waits for it, without waiting for the clock. */
  flushNow(): void {
    const due = [...this.#toFlush]
    this.#toFlush.clear()
    // A failure has told the directory's health already, and a full disk whoever appended.
    void inGroups(due, CONCURRENCY, (log) => log.flush().catch(() => {}))
  }

  /** Resolves when no checkpoint is under way. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#flushTimer?.cancel()
    this.#checkpointTimer?.cancel()
    await this.#checkpointing
  }

  #checkpointNow(): void {
    const due = [...this.#toCheckpoint]
    this.#toCheckpoint.clear()
    this.#checkpointing = this.#checkpointing.then(() => inGroups(due, CONCURRENCY, (log) => this.#checkpoint(log)))
  }

  async #checkpoint(log: PartitionLog): Promise<void> {
    if (this.#isClosed || !log.isCheckpointDue) return
    try {
      await log.checkpoint()
    } catch (error) {
      this.#runtime.log.warn('checkpoint.failed', { directory: log.directory, error: TidemarkError.from(error).message })
    }
  }
}
