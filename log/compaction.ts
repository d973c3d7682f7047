/**
 * Compaction of one log: of each key only the newest record stays.
 *
 * ```
 * log start … clean … cleanOffset … dirty … end of what may be compacted … high watermark … active segment
 * ```
 * A pass notes the newest offset of each key in the dirty part, then writes the segments anew from the first on, without what is superseded, a few
 * neighbours at a time, each of which is in the log before the next is begun. When that is done the clean part ends where the notes did, and the
 * next pass goes on from there. A pass that is interrupted, by a stop, a crash or retention, is begun again: what it has done stays
 * done, and nothing is lost by what it has not.
 *
 * A record without a value, a tombstone, goes when its time has come, and that is set by the pass that removed what it deletes. Passes run from
 * the start of the log, so nothing that a tombstone deletes outlives it.
 */
import { TidemarkError } from '../protocol/errors.ts'
import { isCompacted } from '../protocol/topic-config.ts'
import { invariant } from '../runtime/invariant.ts'
import { type CompactionCounts, type CompactionMeans, type CompactionParts, CompactionPass } from './compaction-pass.ts'
import { type Cleanable, dirtyRatioOf, findCleanable, hasWaitedLong } from './compaction-plan.ts'
import { asStorageError } from './directory-health.ts'

export type { CompactionMeans } from './compaction-pass.ts'

/** What a compaction has done. */
export type Compacted = Readonly<CompactionCounts>

export class LogCompactor {
  readonly #parts: CompactionParts
  readonly #stop = new AbortController()
  #running: Promise<unknown> | undefined
  #failure: TidemarkError | undefined
  #replicatedBelow = 0

  constructor(parts: CompactionParts) {
    this.#parts = parts
  }

  /** Damage that was met: the log is not compacted any more until it is opened again. */
  get failure(): TidemarkError | undefined {
    return this.#failure
  }

  /** Below, offsets may be missing. */
  get sparseBelow(): number {
    return this.#parts.upkeep.compaction.sparseBelow
  }

  /** Every replica has everything below on disk. Tombstones from there on stay: one that is behind would keep what they delete. */
  replicated(offset: number): void {
    this.#replicatedBelow = offset
  }

  /** The share of the log that is not compacted yet, when it is time to; undefined when it is not. Nothing above `highWatermark` counts. */
  async need(highWatermark: number): Promise<number | undefined> {
    const { config, health, upkeep } = this.#parts
    const isPossible = this.#failure === undefined && !this.#stop.signal.aborted && health.failure === undefined && !health.isFull
    if (!isPossible || this.#running !== undefined || !isCompacted(config())) return undefined
    const { removalCount } = upkeep
    return this.#guarded(() => this.#need(highWatermark)).catch((error: unknown) => {
      // Retention has removed a segment while it was looked at.
      if (upkeep.removalCount !== removalCount) return undefined
      throw error
    })
  }

  /**
   * Compacts what may be compacted now, be it little. Throws `CORRUPT_LOG` for damage, `CANCELLED` when the log was changed or closed
   * meanwhile, `DISK_FULL`; the log is then as good as before.
   */
  run(highWatermark: number, means: CompactionMeans): Promise<Compacted> {
    invariant(this.#running === undefined, 'a log is compacted once at a time')
    const running = this.#guarded(() => this.#run(highWatermark, means)).finally(() => {
      this.#running = undefined
    })
    this.#running = running.catch(() => {})
    return running
  }

  /** Resolves when nothing is under way; from now on nothing is begun. */
  async stop(): Promise<void> {
    this.#stop.abort(new TidemarkError('CANCELLED', `${this.#parts.directory} is being closed`))
    await this.#running
  }

  async #need(highWatermark: number): Promise<number | undefined> {
    const { config, runtime, upkeep } = this.#parts
    const nowMs = runtime.clock.now()
    const plan = await this.#plan(highWatermark)
    const dirtyRatio = dirtyRatioOf(plan)
    const { tombstonesUntilMs } = upkeep.compaction
    const isDirty = dirtyRatio > 0 && (dirtyRatio >= config().minCleanableDirtyRatio || (await hasWaitedLong(plan, config(), nowMs)))
    const areTombstonesDue = tombstonesUntilMs > 0 && tombstonesUntilMs <= nowMs && plan.segments.length > 0
    return isDirty || areTombstonesDue ? dirtyRatio : undefined
  }

  async #run(highWatermark: number, means: CompactionMeans): Promise<Compacted> {
    const { upkeep, writer, runtime, directory } = this.#parts
    const startedMs = runtime.clock.monotonic()
    const counts = { passCount: 0, removedCount: 0, readBytes: 0, writtenBytes: 0, unreadableCount: 0, tombstonesUntilMs: 0 }
    const bytesBefore = this.#sizeBytes()
    // What is sealed meanwhile waits for the next time.
    const first = await this.#plan(highWatermark)
    for (let plan = first; plan.segments.length > 0; plan = await this.#plan(first.endOffset)) {
      counts.tombstonesUntilMs = 0
      const pass = new CompactionPass(this.#parts, {
        plan,
        means,
        replicatedBelow: this.#replicatedBelow,
        signal: this.#stop.signal,
        counts,
      })
      const cleanOffset = Math.max(plan.cleanOffset, await pass.run())
      await writer.run(() => upkeep.noteCompacted(cleanOffset, counts.tombstonesUntilMs))
      counts.passCount++
      if (cleanOffset >= first.endOffset) break
    }
    const tookMs = Math.round(runtime.clock.monotonic() - startedMs)
    const { cleanOffset } = upkeep.compaction
    runtime.log.info('log.compacted', { directory, ...counts, bytesBefore, bytesAfter: this.#sizeBytes(), cleanOffset, tookMs })
    return counts
  }

  #plan(highWatermark: number): Promise<Cleanable> {
    const { upkeep, config, runtime } = this.#parts
    return findCleanable(upkeep.segments, upkeep.compaction, highWatermark, config(), runtime.clock.now())
  }

  #sizeBytes(): number {
    return this.#parts.upkeep.segments.reduce((sum, segment) => sum + segment.sizeBytes, 0)
  }

  async #guarded<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      const failure = TidemarkError.from(asStorageError(error, this.#parts.directory))
      if (failure.code === 'CORRUPT_LOG') this.#failure = failure
      throw failure
    }
  }
}
