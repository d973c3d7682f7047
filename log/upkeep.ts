/**
 * What changes the files of a log besides appending: rolling, checkpoints, the log start.
 *
 * Everything here runs on the log's writer, between two writes. The order of the steps is what makes each of them
 * survive a crash at any point; `docs/internals/storage.md` goes through them.
 */
import { invariant } from '../runtime/invariant.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { replaceFile, writeFileAtomic } from '../runtime/atomic-file.ts'
import { type Checkpoint, serializeCheckpoint } from './checkpoint.ts'
import { allOf } from './data-dir-files.ts'
import { type DirectoryHealth, isDiskFull } from './directory-health.ts'
import {
  CHECKPOINT_FILE,
  DELETED_SUFFIX,
  LEADER_EPOCHS_FILE,
  LOG_SUFFIX,
  OFFSET_INDEX_SUFFIX,
  offsetName,
  offsetOfName,
  SNAPSHOT_SUFFIX,
  TIME_INDEX_SUFFIX,
} from './file-names.ts'
import type { LeaderEpochs } from './leader-epochs.ts'
import { OffsetIndex } from './offset-index.ts'
import type { ProducerState } from './producer-state.ts'
import { type RecoveredLog, takeUpIndexes } from './recovery.ts'
import { Segment, type SegmentParts } from './segment.ts'
import { TimeIndex } from './time-index.ts'
import type { Trash } from './trash.ts'

export interface UpkeepParts extends SegmentParts {
  readonly runtime: Runtime
  readonly health: DirectoryHealth
  readonly trash: Trash
}

export class LogUpkeep {
  readonly #parts: UpkeepParts
  readonly #directory: string
  readonly #segments: Segment[]
  readonly #producers: ProducerState
  readonly #epochs: LeaderEpochs
  /** As it is on disk; what a new partition would have when there is none. */
  #checkpoint: Checkpoint
  /** The last checkpoint does not cover everything. */
  #isCheckpointDue: boolean
  #bytesSinceCheckpoint = 0
  /** The leader epochs as they are on disk; undefined while this process has not written them. */
  #savedEpochs: string | undefined

  constructor(parts: UpkeepParts, directory: string, recovered: RecoveredLog) {
    this.#parts = parts
    this.#directory = directory
    this.#segments = recovered.segments
    this.#producers = recovered.producers
    this.#epochs = recovered.epochs
    this.#checkpoint = recovered.checkpoint
    this.#isCheckpointDue = recovered.isDirty
  }

  /** In order of offset; the last is active. Empty until the first append. */
  get segments(): readonly Segment[] {
    return this.#segments
  }

  get active(): Segment | undefined {
    return this.#segments.at(-1)
  }

  get logStartOffset(): number {
    return this.#checkpoint.logStartOffset
  }

  get isCheckpointDue(): boolean {
    return this.#isCheckpointDue
  }

  /** Bytes a recovery would have to walk. */
  get bytesSinceCheckpoint(): number {
    return this.#bytesSinceCheckpoint
  }

  noteWritten(bytes: number): void {
    this.#bytesSinceCheckpoint += bytes
    this.#isCheckpointDue = true
  }

  /** The active segment, ready to be written to from `endOffset` on; a first one if there is none. */
  async prepareActive(endOffset: number, indexIntervalBytes: number): Promise<Segment> {
    const { active } = this
    if (active === undefined) return this.#begin(endOffset)
    if (active.active === undefined) await takeUpIndexes(active, endOffset, indexIntervalBytes)
    return active
  }

  /** Seals the active segment, all of it durable already, and begins the next at `endOffset`. */
  async roll(endOffset: number, indexIntervalBytes: number): Promise<Segment> {
    const active = await this.prepareActive(endOffset, indexIntervalBytes)
    if (active.sizeBytes === 0) return active
    await this.checkpoint(endOffset)
    const next = await this.#begin(endOffset)
    active.seal()
    this.#parts.runtime.log.debug('segment.rolled', { path: active.path, sizeBytes: active.sizeBytes, nextOffset: endOffset })
    return next
  }

  /** Records that everything below `flushedOffset`, the end of the active segment, is durable, with what recovery needs besides. */
  async checkpoint(flushedOffset: number): Promise<void> {
    const { files } = this.#parts
    const bytes = this.#bytesSinceCheckpoint
    const epochs = this.#epochs.serialize()
    const epochsText = epochs.toString('latin1')
    const snapshot = this.#producers.serialize(flushedOffset)
    // In any order, and so at the same time: none of them counts before the checkpoint does.
    await allOf([
      ...(this.active === undefined ? [] : [this.active.writeIndexes()]),
      replaceFile(files, this.#directory, offsetName(flushedOffset, SNAPSHOT_SUFFIX), snapshot),
      ...(epochsText === this.#savedEpochs ? [] : [replaceFile(files, this.#directory, LEADER_EPOCHS_FILE, epochs)]),
    ])
    await files.syncDirectory(this.#directory)
    this.#savedEpochs = epochsText
    await this.#writeCheckpoint({
      logStartOffset: this.logStartOffset,
      recoveryOffset: flushedOffset,
      activeSinceMs: this.active?.firstAppendMs ?? 0,
      segments: this.#segments.map(({ baseOffset, sizeBytes }) => ({ baseOffset, sizeBytes })),
    })
    this.#bytesSinceCheckpoint -= bytes
    this.#isCheckpointDue = this.#bytesSinceCheckpoint > 0
    await this.#removeOldSnapshots(flushedOffset)
  }

  /**
   * Moves the log start to `offset` and removes the first `goneCount` segments. The log start first, durable; then the files: a crash in
   * between leaves files that the next start removes. `flushedOffset` is the end of the active segment.
   */
  async moveLogStart(offset: number, goneCount: number, flushedOffset: number, deleteDelayMs: number): Promise<void> {
    invariant(goneCount < this.#segments.length || goneCount === 0, 'the active segment stays')
    const gone = this.#segments.slice(0, goneCount)
    const marked = new Set(this.#checkpoint.segments.map(({ baseOffset }) => baseOffset))
    if (gone.some(({ baseOffset }) => !marked.has(baseOffset))) await this.checkpoint(flushedOffset)
    await this.#checkpointLogStart(offset, gone)
    this.#segments.splice(0, goneCount)
    this.#epochs.truncateFromStart(offset)
    for (const segment of gone) {
      segment.forgetFiles()
      for (const suffix of [LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX]) {
        await this.#parts.trash.remove(
          segment.pathOf(suffix),
          `${segment.pathOf(suffix)}${DELETED_SUFFIX}`,
          this.#parts.health.isFull ? 0 : deleteDelayMs,
        )
      }
    }
    if (gone.length > 0)
      this.#parts.runtime.log.info('segments.deleted', { directory: this.#directory, count: gone.length, logStartOffset: offset })
  }

  /**
   * The last checkpoint with another log start. On a full disk the indexes of what is to go make room for it: they can always
   * be made again.
   */
  async #checkpointLogStart(logStartOffset: number, gone: readonly Segment[]): Promise<void> {
    const goneBases = new Set(gone.map(({ baseOffset }) => baseOffset))
    const segments = this.#checkpoint.segments.filter(({ baseOffset }) => !goneBases.has(baseOffset))
    const checkpoint = { ...this.#checkpoint, logStartOffset, segments }
    try {
      await this.#writeCheckpoint(checkpoint)
    } catch (error) {
      if (!isDiskFull(error) || gone.length === 0) throw error
      this.#parts.health.full(error)
      for (const segment of gone)
        for (const suffix of [OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX]) await this.#parts.files.remove(segment.pathOf(suffix))
      await this.#writeCheckpoint(checkpoint)
    }
  }

  async #begin(baseOffset: number): Promise<Segment> {
    const segment = new Segment(this.#parts, this.#directory, baseOffset, 0)
    try {
      const lease = await segment.leaseLog()
      try {
        // A file of this name can only be the leftover of a roll that was cut short.
        await lease.handle.truncate(0)
      } finally {
        lease.release()
      }
      await this.#parts.files.syncDirectory(this.#directory)
    } catch (error) {
      segment.forgetFiles()
      await this.#parts.trash.removeNow(segment.path)
      throw error
    }
    segment.activate({ offsets: new OffsetIndex(), times: new TimeIndex() })
    this.#segments.push(segment)
    return segment
  }

  async #writeCheckpoint(checkpoint: Checkpoint): Promise<void> {
    await writeFileAtomic(this.#parts.files, this.#directory, CHECKPOINT_FILE, serializeCheckpoint(checkpoint))
    this.#checkpoint = checkpoint
  }

  async #removeOldSnapshots(keep: number): Promise<void> {
    const names = await this.#parts.files.list(this.#directory)
    const old = names.filter((name) => (offsetOfName(name, SNAPSHOT_SUFFIX) ?? keep) !== keep)
    await Promise.all(old.map((name) => this.#parts.files.remove(`${this.#directory}/${name}`)))
  }
}
