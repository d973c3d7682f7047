/**
 * One segment: a `.log` file of batches back to back, with its two indexes.
 *
 * The active segment's indexes live in memory and are written to their files when the segment is sealed or a
 * checkpoint is made; those of sealed segments are read when a look-up needs them and kept
 * in a cache that is bounded over the whole data directory. Sealed segments never change.
 */
import { BATCH_HEADER_BYTES, readLastOffset, readMaxTimestamp } from '../protocol/batch-header.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { Files } from '../runtime/runtime.ts'
import { readSmallFile, replaceFile } from '../runtime/atomic-file.ts'
import { batchChunks, type PlacedBatch, readChunk, type ScanEnd, type ScanRange } from './batch-chunks.ts'
import { cutBatches, type Damage, type Found, type Wanted } from './batch-walk.ts'
import type { SegmentMark } from './checkpoint.ts'
import { allOf } from './data-dir-files.ts'
import { LOG_SUFFIX, OFFSET_INDEX_SUFFIX, segmentName, TIME_INDEX_SUFFIX } from './file-names.ts'
import type { FileLease, FilePool } from './file-pool.ts'
import type { IndexCache, SegmentIndexes } from './index-cache.ts'
import { OffsetIndex } from './offset-index.ts'
import { ReadEnds } from './read-ends.ts'
import { type TimeEntry, TimeIndex } from './time-index.ts'

/** Indexes hold offsets relative to the segment's base in 31 bits. */
export const RELATIVE_OFFSET_MAX: number = 2 ** 31 - 1

/** Read beyond what was asked for: the index points at most this far before the batch that holds the first offset, mostly. */
const READ_SLACK_BYTES = 8 * 1024

/** What a segment needs of its data directory. */
export interface SegmentParts {
  readonly files: Files
  readonly pool: FilePool
  readonly indexes: IndexCache
}

/** Sees a whole batch, in a view that is valid until it returns. False ends the walk before this batch. */
export type BatchVisitor = (batch: Buffer, position: number) => boolean | undefined

export class Segment {
  readonly directory: string
  readonly baseOffset: number
  /** How often compaction has written it. */
  readonly generation: number
  readonly #parts: SegmentParts
  /** Bytes of whole, valid batches. */
  sizeBytes: number
  /** When the first batch was appended, wall clock; undefined while empty. */
  firstAppendMs: number | undefined
  /** Indexes of the active segment; sealed ones are in the cache or on disk. */
  active: SegmentIndexes | undefined
  /** The largest timestamp in it, -1 when empty; undefined while its index was not read yet. */
  maxTimestamp: number | undefined
  #maxTimestampOffset = 0
  #bytesSinceIndexEntry = 0
  /** The indexes were made from the log by this process: what a read finds wrong is the log's fault. */
  #isIndexRebuilt = false
  #readEnds: ReadEnds | undefined
  /** Found when the indexes were to be made again; every look-up that needs them reports it. */
  #damage: TidemarkError | undefined

  constructor(parts: SegmentParts, directory: string, baseOffset: number, sizeBytes: number, generation = 0) {
    this.#parts = parts
    this.directory = directory
    this.baseOffset = baseOffset
    this.generation = generation
    this.sizeBytes = sizeBytes
  }

  get mark(): SegmentMark {
    return { baseOffset: this.baseOffset, sizeBytes: this.sizeBytes, generation: this.generation }
  }

  get path(): string {
    return this.pathOf(LOG_SUFFIX)
  }

  pathOf(suffix: string): string {
    return `${this.directory}/${segmentName(this, suffix)}`
  }

  /** The log file to write to, made when absent. */
  leaseLog(): Promise<FileLease> {
    return this.#parts.pool.lease(this.path, 'create')
  }

  /** Drops the files from the pool and the cache: they are about to be renamed, or no longer needed. */
  forgetFiles(): void {
    this.#parts.pool.forget(this.path)
    this.#parts.indexes.forget(this.path)
  }

  /** From now on the segment is written to, and its indexes grow in memory. */
  activate(indexes: SegmentIndexes): void {
    this.active = indexes
    this.maxTimestamp = indexes.times.maxTimestamp
    this.#parts.indexes.forget(this.path)
  }

  /** Notes a batch that was written at `position`, at the end. `intervalBytes` of log lie between two index entries. */
  noteBatch(batch: Buffer, position: number, intervalBytes: number, nowMs: number): void {
    this.firstAppendMs ??= nowMs
    this.sizeBytes = position + batch.length
    const lastRelative = readLastOffset(batch) - this.baseOffset
    const timestampMs = readMaxTimestamp(batch)
    if (timestampMs > (this.maxTimestamp ?? -1)) {
      this.maxTimestamp = timestampMs
      this.#maxTimestampOffset = lastRelative
    }
    if (this.#bytesSinceIndexEntry > intervalBytes && this.active !== undefined) {
      this.active.offsets.append(lastRelative, position)
      this.active.times.append(this.maxTimestamp ?? -1, this.#maxTimestampOffset)
      this.#bytesSinceIndexEntry = 0
    }
    this.#bytesSinceIndexEntry += batch.length
  }

  /** Writes the indexes of the active segment to their files, durable but for the directory. The last time entry is then the segment's largest timestamp. */
  async writeIndexes(): Promise<void> {
    if (this.active === undefined) return
    this.#finishTimes(this.active.times)
    const { offsets, times } = this.active
    await allOf([this.#writeIndex(OFFSET_INDEX_SUFFIX, offsets.bytes), this.#writeIndex(TIME_INDEX_SUFFIX, times.bytes)])
  }

  /** From the active to a sealed segment: the indexes are on disk. */
  seal(): void {
    if (this.active !== undefined) this.#parts.indexes.put(this.path, this.active)
    this.active = undefined
  }

  /** The indexes, from memory, the cache or the files; made again from the log when the files are missing or wrong. */
  async indexes(intervalBytes: number): Promise<SegmentIndexes> {
    const present = this.active ?? this.#parts.indexes.get(this.path)
    if (present !== undefined) return present
    const loaded = await this.loadIndexes(intervalBytes)
    // While the files were read the segment may have become active: its own indexes are ahead.
    if (this.active !== undefined) return this.active
    this.maxTimestamp ??= loaded.times.maxTimestamp
    this.#parts.indexes.put(this.path, loaded)
    return loaded
  }

  /** From the files, or from the log when they are missing or cannot be right. Times of what lies at or behind `endOffset` are left out. */
  async loadIndexes(intervalBytes: number, endOffset = Number.POSITIVE_INFINITY): Promise<SegmentIndexes> {
    const { files } = this.#parts
    const [offsetBytes, timeBytes] = await Promise.all([
      readSmallFile(files, this.pathOf(OFFSET_INDEX_SUFFIX)),
      readSmallFile(files, this.pathOf(TIME_INDEX_SUFFIX)),
    ])
    const offsets = offsetBytes && OffsetIndex.parse(offsetBytes, this.sizeBytes)
    const times = timeBytes && TimeIndex.parse(timeBytes)
    times?.truncate(endOffset - this.baseOffset)
    // A log that is not empty has a largest timestamp. Retention goes by it: one that is too small would have the segment deleted.
    const isSound =
      offsets !== undefined &&
      times !== undefined &&
      times.entryCount > 0 === this.sizeBytes > 0 &&
      (times.last === undefined || (await this.#isTrue(times.last, offsets)))
    return isSound ? { offsets, times } : this.#rebuildIndexes(intervalBytes)
  }

  /** An offset at or before the first record that is `timestampMs` or later. */
  async lookUpTime(timestampMs: number, intervalBytes: number): Promise<number> {
    const { offsets, times } = await this.indexes(intervalBytes)
    const entry = times.lastBefore(timestampMs)
    const isOlder = entry !== undefined && (await this.#isTrue(entry, offsets))
    return this.baseOffset + (isOlder ? entry.relativeOffset + 1 : 0)
  }

  /** Whether a batch ends where an entry of the time index says, and has its timestamp. */
  async #isTrue({ timestampMs, relativeOffset }: TimeEntry, offsets: OffsetIndex): Promise<boolean> {
    const offset = this.baseOffset + relativeOffset
    const wanted = { offset, maxBytes: 1, endOffset: offset + 1, sparseBelow: 0, checkCrc: false }
    const found = await this.#readFrom(offsets.lookup(relativeOffset), wanted)
    return found.kind === 'batches' && found.nextOffset === offset + 1 && readMaxTimestamp(found.batches) === timestampMs
  }

  /**
   * Reads whole batches: from the first that ends at or behind `offset`, at least one, up to `maxBytes`, all below `endOffset`. Undefined when
   * there are none. Throws `CORRUPT_LOG` when lengths or offsets cannot be right, or a checksum that was to be compared is wrong.
   */
  async read(wanted: Wanted, intervalBytes: number): Promise<Buffer | undefined> {
    const end = this.#readEnds?.take(wanted.offset)
    const start = end ?? (await this.indexes(intervalBytes)).offsets.lookup(wanted.offset - this.baseOffset)
    const found = await this.#readFrom(start, wanted)
    // Certainly the first: nothing lies before it, or what does was seen to end too early.
    const isCertain = end !== undefined || start === 0 || found.position > start
    const missing = missingOf(found, wanted, isCertain)
    if (missing === undefined) return found.kind === 'batches' ? found.batches : undefined
    const isIndexSure = this.active !== undefined || this.#isIndexRebuilt
    if (isIndexSure) throw this.#damaged(missing)
    // The index has no checksum: when what it points at is not what it should be, the log decides.
    this.#parts.indexes.put(this.path, await this.#rebuildIndexes(intervalBytes))
    // Should the cache let go of the right ones, the wrong ones must not come back. A disk that takes no changes keeps them: then the cache has to do.
    for (const suffix of [OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX]) await this.#parts.files.remove(this.pathOf(suffix)).catch(() => {})
    return this.read(wanted, intervalBytes)
  }

  /** Walks the batches of a part of the file. Stops at the first that cannot be right, or that `visit` refuses. `taken` is given the others, a chunk at a time. */
  async scan(range: ScanRange, visit: BatchVisitor, taken?: (batches: readonly PlacedBatch[]) => Promise<void>): Promise<ScanEnd> {
    const lease = await this.#parts.pool.lease(this.path)
    try {
      const chunks = batchChunks(lease.handle, range)
      for (let chunk = await chunks.next(); ; chunk = await chunks.next()) {
        if (chunk.done) return chunk.value
        const at = chunk.value.findIndex(({ batch, position }) => visit(batch, position) === false)
        const refused = chunk.value[at]
        await taken?.(refused === undefined ? chunk.value : chunk.value.slice(0, at))
        if (refused !== undefined) return { position: refused.position, damage: undefined }
      }
    } finally {
      lease.release()
    }
  }

  /** Throws `CORRUPT_LOG` when the log itself is damaged. */
  async #rebuildIndexes(intervalBytes: number): Promise<SegmentIndexes> {
    if (this.#damage !== undefined) throw this.#damage
    const scratch = new Segment(this.#parts, this.directory, this.baseOffset, 0)
    const indexes = { offsets: new OffsetIndex(), times: new TimeIndex() }
    scratch.activate(indexes)
    const { damage } = await this.scan(
      { from: 0, to: this.sizeBytes, firstOffset: this.baseOffset, checkCrc: false },
      (batch, position) => {
        scratch.noteBatch(batch, position, intervalBytes, 0)
        return true
      },
    )
    if (damage !== undefined) {
      this.#damage = this.#damaged(damage)
      throw this.#damage
    }
    scratch.#finishTimes(indexes.times)
    this.#isIndexRebuilt = true
    return indexes
  }

  /** The last entry becomes the largest timestamp. */
  #finishTimes(times: TimeIndex): void {
    if (this.maxTimestamp !== undefined && this.maxTimestamp >= 0) times.append(this.maxTimestamp, this.#maxTimestampOffset)
  }

  async #readFrom(start: number, wanted: Wanted): Promise<Found> {
    const fileBytes = this.sizeBytes
    let position = start
    let nextOffset = this.baseOffset
    let chunkBytes = Math.max(wanted.maxBytes, BATCH_HEADER_BYTES) + READ_SLACK_BYTES
    const lease = await this.#parts.pool.lease(this.path)
    try {
      while (position < fileBytes) {
        const length = Math.min(chunkBytes, fileBytes - position)
        const chunk = await readChunk(lease.handle, position, length)
        if (chunk.length < length) return { kind: 'damage', position: position + chunk.length, what: 'the file ends early' }
        const cut = cutBatches(chunk, position, fileBytes, nextOffset, wanted)
        if (cut.kind === 'batches') {
          this.#readEnds ??= new ReadEnds()
          this.#readEnds.note(cut.nextOffset, cut.position + cut.batches.length)
        }
        if (cut.kind !== 'more') return cut
        position = cut.position
        nextOffset = cut.nextOffset
        chunkBytes = Math.max(cut.neededBytes, chunkBytes)
      }
      return { kind: 'none', position, firstOffset: undefined }
    } finally {
      lease.release()
    }
  }

  #damaged(damage: Damage): TidemarkError {
    return new TidemarkError('CORRUPT_LOG', `${this.path} at byte ${damage.position}: ${damage.what}`)
  }

  async #writeIndex(suffix: string, bytes: Buffer): Promise<void> {
    const { files } = this.#parts
    const path = this.pathOf(suffix)
    // Of a file that is begun a crash may leave a part, which may look like an index. One that is there already only grows.
    if (bytes.length > 0 && (await files.stat(path)) === undefined)
      return replaceFile(files, this.directory, path.slice(this.directory.length + 1), bytes)
    const handle = await files.open(path, 'create')
    try {
      const { sizeBytes } = await handle.stat()
      // Nothing is what a new file has, too: there is nothing to make durable.
      if (bytes.length === 0 && sizeBytes === 0) return
      await handle.truncate(bytes.length)
      await handle.write([bytes], 0)
      await handle.datasync()
    } finally {
      await handle.close()
    }
  }
}

/** What is wrong with what was found; undefined when it is what was wanted. */
function missingOf(found: Found, { offset, sparseBelow }: Wanted, isCertain: boolean): Damage | undefined {
  if (found.kind === 'damage') return found
  const { firstOffset = offset } = found
  if (firstOffset <= Math.max(offset, sparseBelow) && (isCertain || (found.kind === 'batches' && firstOffset <= offset))) return undefined
  return { position: found.position, what: `offset ${offset} is missing` }
}
