/**
 * What changes the files of a log besides appending: rolling, checkpoints, the log start.
 *
 * Everything here runs on the log's writer, between two writes. The order of the steps is what makes each of them
 * survive a crash at any point; `docs/internals/storage.md` goes through them.
 */
import { invariant } from '../runtime/invariant.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { replaceFile, writeFileAtomic } from '../runtime/atomic-file.ts'
import { checkEnd } from './checkpoint-claims.ts'
import { type Checkpoint, type CompactionState, type SegmentMark, serializeCheckpoint } from './checkpoint.ts'
import { allOf } from './data-dir-files.ts'
import { type DirectoryHealth, isDiskFull } from './directory-health.ts'
import {
  CHECKPOINT_FILE,
  DELETED_SUFFIX,
  LEADER_EPOCHS_FILE,
  OFFSET_INDEX_SUFFIX,
  offsetName,
  offsetOfName,
  SEGMENT_SUFFIXES,
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
  /** As it will be in the next checkpoint. */
  #compaction: CompactionState
  #removalCount = 0

  constructor(parts: UpkeepParts, directory: string, recovered: RecoveredLog) {
    this.#parts = parts
    this.#directory = directory
    this.#segments = recovered.segments
    this.#producers = recovered.producers
    this.#epochs = recovered.epochs
    this.#checkpoint = recovered.checkpoint
    this.#isCheckpointDue = recovered.isDirty
    this.#compaction = recovered.compaction
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

  get compaction(): CompactionState {
    return this.#compaction
  }

  /** How often segments were removed or replaced: a reader that met one on its way looks again. */
  get removalCount(): number {
    return this.#removalCount
  }

  /** Batches of a leader are taken over in whose log offsets may be missing below `offset`. */
  mayBeSparse(offset: number): void {
    if (offset > this.#compaction.sparseBelow) this.#compaction = { ...this.#compaction, sparseBelow: offset }
  }

  /** Gaps may be written that a recovery would take for damage: a checkpoint has to come first. */
  get isSparsenessNew(): boolean {
    return this.#compaction.sparseBelow > this.#checkpoint.compaction.sparseBelow
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
    if (active.active !== undefined) return active
    await checkEnd(this.#parts, this.#directory, this.#checkpoint)
    await takeUpIndexes(active, endOffset, indexIntervalBytes)
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
      // An empty segment beyond the end, where a gap was too wide for one segment, is found without being named.
      segments: this.#segments.filter(({ baseOffset }) => baseOffset <= flushedOffset).map(({ mark }) => mark),
      compaction: this.#compaction,
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
    await this.#vouchFor(gone, flushedOffset)
    await this.#checkpointLogStart(offset, gone)
    this.#segments.splice(0, goneCount)
    this.#epochs.truncateFromStart(offset)
    await this.#discard(gone, deleteDelayMs)
    if (gone.length > 0)
      this.#parts.runtime.log.info('segments.deleted', { directory: this.#directory, count: gone.length, logStartOffset: offset })
  }

  /** What a checkpoint is to drop, the last one has to name: what none names is found by its file. */
  async #vouchFor(segments: readonly Segment[], flushedOffset: number): Promise<void> {
    const marked = new Set(this.#checkpoint.segments.map(({ baseOffset }) => baseOffset))
    if (segments.some(({ baseOffset }) => !marked.has(baseOffset))) await this.checkpoint(flushedOffset)
  }

  /** Whether these are neighbours in the log, none of them written to. */
  areSealedNeighbours(segments: readonly Segment[]): boolean {
    const at = this.#segments.indexOf(segments[0] as Segment)
    return at >= 0 && at + segments.length < this.#segments.length && segments.every((one, index) => this.#segments[at + index] === one)
  }

  /**
   * Puts what compaction has made of sealed neighbours in their place, or nothing when no batch of them is left. One checkpoint decides: before it
   * the old files are the log, from then on the new one is; whichever is not is removed, now or at the next start.
   */
  async replaceSegments(gone: readonly Segment[], made: Segment | undefined, flushedOffset: number, deleteDelayMs: number): Promise<void> {
    invariant(this.areSealedNeighbours(gone), 'what is replaced is part of the log')
    await this.#vouchFor(gone, flushedOffset)
    const marks = [...this.#marksWithout(gone), ...(made === undefined ? [] : [made.mark])]
    const at = this.#segments.indexOf(gone[0] as Segment)
    this.mayBeSparse((this.#segments[at + gone.length] as Segment).baseOffset)
    await this.#decide({ ...this.#checkpoint, segments: marks.sort((a, b) => a.baseOffset - b.baseOffset), compaction: this.#compaction })
    this.#segments.splice(at, gone.length, ...(made === undefined ? [] : [made]))
    await this.#discard(gone, deleteDelayMs)
  }

  /** Compaction has come this far. */
  async noteCompacted(cleanOffset: number, tombstonesUntilMs: number): Promise<void> {
    this.#compaction = { ...this.#compaction, cleanOffset, tombstonesUntilMs }
    await this.#writeCheckpoint({ ...this.#checkpoint, compaction: this.#compaction })
  }

  /** Writes a checkpoint that other files may depend on: where it is not known whether it counts, nothing may go on. */
  async #decide(checkpoint: Checkpoint): Promise<void> {
    const { files, health } = this.#parts
    await replaceFile(files, this.#directory, CHECKPOINT_FILE, serializeCheckpoint(checkpoint))
    try {
      await files.syncDirectory(this.#directory)
    } catch (error) {
      health.fail(`${this.#directory}: syncing a checkpoint failed`, error)
      throw error
    }
    this.#checkpoint = checkpoint
  }

  /** Removes the files of segments that are no longer part of the log. */
  async #discard(gone: readonly Segment[], deleteDelayMs: number): Promise<void> {
    this.#removalCount++
    const { trash, health } = this.#parts
    for (const segment of gone) {
      segment.forgetFiles()
      for (const path of SEGMENT_SUFFIXES.map((suffix) => segment.pathOf(suffix)))
        await trash.remove(path, `${path}${DELETED_SUFFIX}`, health.isFull ? 0 : deleteDelayMs)
    }
  }

  /**
   * The last checkpoint with another log start. On a full disk the indexes of what is to go make room for it: they can always
   * be made again.
   */
  async #checkpointLogStart(logStartOffset: number, gone: readonly Segment[]): Promise<void> {
    const checkpoint = { ...this.#checkpoint, logStartOffset, segments: this.#marksWithout(gone) }
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

  /** Begins at `offset` in place of an active segment that is empty. */
  async beginAnew(offset: number): Promise<Segment> {
    const empty = this.#segments.pop()
    invariant(empty?.sizeBytes === 0, 'only an empty segment is given up')
    const segments = this.#marksWithout([empty])
    if (segments.length < this.#checkpoint.segments.length) await this.#writeCheckpoint({ ...this.#checkpoint, segments })
    empty.forgetFiles()
    for (const suffix of SEGMENT_SUFFIXES) await this.#parts.files.remove(empty.pathOf(suffix))
    return this.#begin(offset)
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

  #marksWithout(gone: readonly Segment[]): SegmentMark[] {
    const bases = new Set(gone.map(({ baseOffset }) => baseOffset))
    return this.#checkpoint.segments.filter(({ baseOffset }) => !bases.has(baseOffset))
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
