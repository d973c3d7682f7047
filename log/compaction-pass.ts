/**
 * One pass of a compaction: notes the newest offset of each key in the dirty part, as far as memory reaches, then writes the segments anew
 * from the first on, a group at a time.
 *
 * What is read is checked as nowhere else: a batch with a wrong checksum ends the pass, and stays where it is.
 */
import { isControl, readAttributes, readBaseOffset, readLastOffset, readLeaderEpoch, readProducerId } from '../protocol/batch-header.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { RecordCursor } from '../protocol/record-cursor.ts'
import type { TopicConfig } from '../protocol/topic-config.ts'
import type { FileHandle, Runtime } from '../runtime/runtime.ts'
import { batchChunks, type PlacedBatch } from './batch-chunks.ts'
import { cleanBatch, type CleaningCounts, type CleaningRules, LOOK_EVERY, readPlain } from './batch-cleaner.ts'
import type { CompactionPace } from './compaction-pace.ts'
import { type Cleanable, groupSegments, type SealedSegment } from './compaction-plan.ts'
import { KeyOffsets } from './key-offsets.ts'
import type { LogWriter } from './log-writer.ts'
import type { ProducerState } from './producer-state.ts'
import { Segment } from './segment.ts'
import { type CopyParts, SegmentCopy } from './segment-copy.ts'
import type { LogTail } from './tail-cache.ts'
import type { LogUpkeep } from './upkeep.ts'

/** The log that is compacted. */
export interface CompactionParts extends CopyParts {
  readonly runtime: Runtime
  readonly directory: string
  readonly upkeep: LogUpkeep
  readonly writer: LogWriter
  readonly producers: ProducerState
  readonly tail: LogTail
  readonly config: () => TopicConfig
}

/** What a compaction may use. */
export interface CompactionMeans {
  readonly pace: CompactionPace
  /** For the offsets of keys. */
  readonly memoryBytes: number
}

/** What it has done so far. */
export interface CompactionCounts extends CleaningCounts {
  passCount: number
  readBytes: number
  writtenBytes: number
}

/** What a pass is to do. */
export interface PassTask {
  readonly plan: Cleanable
  readonly means: CompactionMeans
  /** Tombstones at or above stay. */
  readonly replicatedBelow: number
  readonly signal: AbortSignal
  readonly counts: CompactionCounts
}

export class CompactionPass {
  readonly #parts: CompactionParts
  readonly #plan: Cleanable
  readonly #replicatedBelow: number
  readonly #means: CompactionMeans
  readonly #signal: AbortSignal
  readonly #counts: CompactionCounts
  readonly #config: TopicConfig
  /** Of the last batch that went by. */
  #epoch = -1
  #isFirstOfEpoch = false

  constructor(parts: CompactionParts, task: PassTask) {
    this.#parts = parts
    this.#plan = task.plan
    this.#replicatedBelow = task.replicatedBelow
    this.#means = task.means
    this.#signal = task.signal
    this.#counts = task.counts
    this.#config = parts.config()
  }

  /** Returns up to where the log is clean now. Throws `CORRUPT_LOG`, `CANCELLED` when the log has changed, and the signal's reason. */
  async run(): Promise<number> {
    const { cleanOffset, endOffset, segments } = this.#plan
    const spanOffsets = Math.max(0, endOffset - Math.max(cleanOffset, segments[0]?.segment.baseOffset ?? 0))
    const keys = new KeyOffsets(spanOffsets, this.#means.memoryBytes, this.#parts.runtime.random)
    const cleanEnd = await this.#noteKeys(keys)
    const rules = this.#rulesFor(keys, cleanEnd)
    for (const group of groupSegments(segments, cleanEnd, this.#config.segmentBytes)) await this.#rewrite(group, rules)
    return cleanEnd
  }

  /** Notes the keys of the dirty part; returns where that ended: behind it, or at the first record there was no room for. */
  async #noteKeys(keys: KeyOffsets): Promise<number> {
    const { cleanOffset, endOffset, segments } = this.#plan
    for (const { segment, endOffset: segmentEnd } of segments) {
      if (segmentEnd <= cleanOffset) continue
      for await (const { batch } of this.#batchesOf(segment)) {
        if (readLastOffset(batch) < cleanOffset || isControl(readAttributes(batch))) continue
        const fullAt = await this.#noteBatch(keys, batch)
        if (fullAt !== undefined) return fullAt
      }
    }
    return endOffset
  }

  async #noteBatch(keys: KeyOffsets, batch: Buffer): Promise<number | undefined> {
    const { pace } = this.#means
    const plain = await readPlain(batch, pace, this.#signal)
    // Nobody can read it, so it takes nobody's place.
    if (plain === undefined) return undefined
    const baseOffset = readBaseOffset(batch)
    const record = new RecordCursor(batch, plain)
    for (let index = 1; record.next(); index++) {
      if (index % LOOK_EVERY === 0 && pace.isTurnOver) await pace.pause(this.#signal)
      const offset = baseOffset + record.offsetDelta
      if (record.keyStart < 0 || offset < this.#plan.cleanOffset) continue
      if (!keys.note(plain, record.keyStart, record.keyEnd, offset)) return offset
    }
    return undefined
  }

  #rulesFor(keys: KeyOffsets, endOffset: number): CleaningRules {
    const { producers, runtime } = this.#parts
    return {
      keys,
      endOffset,
      tombstonesStayFrom: this.#replicatedBelow,
      nowMs: runtime.clock.now(),
      deleteRetentionMs: this.#config.deleteRetentionMs,
      pace: this.#means.pace,
      signal: this.#signal,
      // The end of the log, the beginnings of epochs and what producers sent last are told by batches: these stay, be it without records.
      isNeeded: (batch) =>
        readLastOffset(batch) + 1 >= endOffset || this.#isFirstOfEpoch || producers.remembers(readProducerId(batch), readBaseOffset(batch)),
    }
  }

  /** Writes a group of neighbours as one segment. A segment alone of which everything stays is left as it is. */
  async #rewrite(group: readonly SealedSegment[], rules: CleaningRules): Promise<void> {
    let copy = group.length > 1 ? await this.#beginCopy(group) : undefined
    try {
      for (const { segment } of group) {
        for await (const { batch, position } of this.#batchesOf(segment)) {
          this.#isFirstOfEpoch = readLeaderEpoch(batch) > this.#epoch
          this.#epoch = Math.max(this.#epoch, readLeaderEpoch(batch))
          const cleaned = await cleanBatch(batch, rules, this.#counts)
          if (copy === undefined && cleaned === batch) continue
          copy ??= await this.#copyStart(group, position)
          if (cleaned !== undefined) await this.#write(copy, cleaned)
        }
      }
      if (copy !== undefined) await this.#install(group, copy)
    } catch (error) {
      if (copy !== undefined && this.#isUndecided(copy)) await copy.discard()
      throw error
    }
  }

  /** No checkpoint names it, nor may one that failed half way. */
  #isUndecided(copy: SegmentCopy): boolean {
    return this.#parts.health.failure === undefined && !this.#parts.upkeep.segments.includes(copy.segment)
  }

  async #beginCopy(group: readonly SealedSegment[]): Promise<SegmentCopy> {
    const { directory, health } = this.#parts
    await health.checkRoom(group.reduce((sum, { segment }) => sum + segment.sizeBytes, 0))
    const { baseOffset } = (group[0] as SealedSegment).segment
    const generation = 1 + Math.max(...group.map(({ segment }) => segment.generation))
    return SegmentCopy.begin(this.#parts, new Segment(this.#parts, directory, baseOffset, 0, generation), this.#config.indexIntervalBytes)
  }

  /** A copy with everything of the group's first segment that lies before `end`. */
  async #copyStart(group: readonly SealedSegment[], end: number): Promise<SegmentCopy> {
    const copy = await this.#beginCopy(group)
    try {
      for await (const { batch } of this.#batchesOf((group[0] as SealedSegment).segment, end)) await this.#write(copy, batch)
      return copy
    } catch (error) {
      await copy.discard()
      throw error
    }
  }

  async #write(copy: SegmentCopy, batch: Buffer): Promise<void> {
    await copy.add(batch)
    this.#counts.writtenBytes += batch.length
    await this.#means.pace.spend(batch.length, this.#signal)
  }

  /** Makes the copy part of the log in place of the group; of a group of which nothing is left, nothing. */
  async #install(group: readonly SealedSegment[], copy: SegmentCopy): Promise<void> {
    const { upkeep, writer, tail, directory } = this.#parts
    const isEmpty = copy.segment.sizeBytes === 0
    if (isEmpty) await copy.discard()
    else await copy.finish()
    const gone = group.map(({ segment }) => segment)
    await writer.run(async () => {
      this.#signal.throwIfAborted()
      if (!upkeep.areSealedNeighbours(gone)) throw new TidemarkError('CANCELLED', `${directory} was changed while it was compacted`)
      // Or who reads on could get what was deleted from memory, and miss on disk that it was.
      tail.dropBelow((group.at(-1) as SealedSegment).endOffset)
      const made = isEmpty ? undefined : copy.segment
      await upkeep.replaceSegments(gone, made, writer.commit.flushedOffset, this.#config.fileDeleteDelayMs)
    })
  }

  /** The batches of a segment, or of its first `end` bytes, at the pace there is. */
  async *#batchesOf(segment: Segment, end: number = segment.sizeBytes): AsyncGenerator<PlacedBatch> {
    const { pace } = this.#means
    const handle = await this.#open(segment)
    try {
      const chunks = batchChunks(handle, { from: 0, to: end, firstOffset: segment.baseOffset, checkCrc: true })
      for (let chunk = await chunks.next(); ; chunk = await chunks.next()) {
        if (chunk.done) {
          const { damage } = chunk.value
          if (damage !== undefined) throw new TidemarkError('CORRUPT_LOG', `${segment.path} at byte ${damage.position}: ${damage.what}`)
          return
        }
        const bytes = chunk.value.reduce((sum, { batch }) => sum + batch.length, 0)
        this.#counts.readBytes += bytes
        await pace.spend(bytes, this.#signal)
        for (const placed of chunk.value) {
          if (pace.isTurnOver) await pace.pause(this.#signal)
          yield placed
        }
      }
    } finally {
      await handle.close()
    }
  }

  async #open(segment: Segment): Promise<FileHandle> {
    try {
      return await this.#parts.files.open(segment.path, 'read')
    } catch (error) {
      if (this.#parts.upkeep.segments.includes(segment)) throw error
      throw new TidemarkError('CANCELLED', `${segment.path} was removed while it was compacted`, { cause: error })
    }
  }
}
