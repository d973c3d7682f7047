/**
 * One segment: a `.log` file of batches back to back, with its two indexes.
 *
 * The active segment's indexes live in memory and are written to their files when the segment is sealed or a
 * checkpoint is made; those of sealed segments are read when a look-up needs them and kept
 * in a cache that is bounded over the whole data directory. Sealed segments never change.
 */
import { BATCH_HEADER_BYTES, batchSizeAt, isChecksumRight, readBaseOffset, readLastOffset, readMaxTimestamp } from '../protocol/batch-header.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { Files } from '../runtime/runtime.ts'
import { readSmallFile } from './atomic-file.ts'
import { LOG_SUFFIX, OFFSET_INDEX_SUFFIX, offsetName, TIME_INDEX_SUFFIX } from './file-names.ts'
import type { FileLease, FilePool } from './file-pool.ts'
import type { IndexCache } from './index-cache.ts'
import { OffsetIndex } from './offset-index.ts'
import { TimeIndex } from './time-index.ts'

/** A batch with a larger claim is damage: a segment holds no more. */
export const SEGMENT_BYTES_MAX: number = 2 ** 31 - 1

/** How much is read at once when walking a segment. */
const SCAN_CHUNK_BYTES = 1024 * 1024

/** Read beyond what was asked for, so that the batch that holds the first offset is mostly in the same read. */
const READ_SLACK_BYTES = 8 * 1024

export interface SegmentIndexes {
  readonly offsets: OffsetIndex
  readonly times: TimeIndex
}

/** What a segment needs of its data directory. */
export interface SegmentParts {
  readonly files: Files
  readonly pool: FilePool
  readonly indexes: IndexCache
}

/** A batch as a walk over a segment finds it. */
export interface ScannedBatch {
  readonly position: number
  /** The whole batch: a view that is valid until the walk goes on. */
  readonly buffer: Buffer
}

/** Where a walk ended, and why if not at the end of the file. */
export interface ScanEnd {
  readonly position: number
  readonly damage: string | undefined
}

export class Segment {
  readonly directory: string
  readonly baseOffset: number
  readonly #parts: SegmentParts
  /** Bytes of whole, valid batches. */
  sizeBytes: number
  /** When the first batch was appended, wall clock; undefined while empty. */
  firstAppendMs: number | undefined
  /** Indexes of the active segment; sealed ones are in the cache or on disk. */
  active: SegmentIndexes | undefined
  /** Bytes since the last index entry. */
  bytesSinceIndexEntry = 0
  /** The largest timestamp in it, -1 when empty; undefined for a sealed segment whose index was not read yet. */
  maxTimestamp: number | undefined
  #maxTimestampOffset = 0

  constructor(parts: SegmentParts, directory: string, baseOffset: number, sizeBytes: number) {
    this.#parts = parts
    this.directory = directory
    this.baseOffset = baseOffset
    this.sizeBytes = sizeBytes
  }

  get path(): string {
    return this.pathOf(LOG_SUFFIX)
  }

  pathOf(suffix: string): string {
    return `${this.directory}/${offsetName(this.baseOffset, suffix)}`
  }

  /** The log file to write to, made when absent. */
  leaseLog(): Promise<FileLease> {
    return this.#parts.pool.lease(this.path, 'create')
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
    if (this.bytesSinceIndexEntry > intervalBytes && this.active !== undefined) {
      this.active.offsets.append(lastRelative, position)
      this.active.times.append(this.maxTimestamp ?? -1, this.#maxTimestampOffset)
      this.bytesSinceIndexEntry = 0
    }
    this.bytesSinceIndexEntry += batch.length
  }

  /** Completes the time index: its last entry is the segment's largest timestamp. */
  finishTimeIndex(): void {
    if (this.maxTimestamp !== undefined && this.maxTimestamp >= 0) this.active?.times.append(this.maxTimestamp, this.#maxTimestampOffset)
  }

  /** Writes the indexes of the active segment to their files, durable but for the directory. */
  async writeIndexes(): Promise<void> {
    if (this.active === undefined) return
    await this.#writeIndex(OFFSET_INDEX_SUFFIX, this.active.offsets.bytes)
    await this.#writeIndex(TIME_INDEX_SUFFIX, this.active.times.bytes)
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
    const loaded = (await this.loadIndexes()) ?? (await this.rebuildIndexes(intervalBytes))
    this.maxTimestamp ??= loaded.times.maxTimestamp
    this.#parts.indexes.put(this.path, loaded)
    return loaded
  }

  /** From the files; undefined when they are missing or cannot be right. */
  async loadIndexes(): Promise<SegmentIndexes | undefined> {
    const { files } = this.#parts
    const [offsetBytes, timeBytes] = await Promise.all([readSmallFile(files, this.pathOf(OFFSET_INDEX_SUFFIX)), readSmallFile(files, this.pathOf(TIME_INDEX_SUFFIX))])
    const offsets = offsetBytes && OffsetIndex.parse(offsetBytes, this.sizeBytes)
    const times = timeBytes && TimeIndex.parse(timeBytes)
    return offsets && times ? { offsets, times } : undefined
  }

  /** From the log itself. */
  async rebuildIndexes(intervalBytes: number): Promise<SegmentIndexes> {
    const scratch = new Segment(this.#parts, this.directory, this.baseOffset, 0)
    scratch.active = { offsets: new OffsetIndex(), times: new TimeIndex() }
    await this.scan(0, this.sizeBytes, false, ({ buffer, position }) => scratch.noteBatch(buffer, position, intervalBytes, 0))
    scratch.finishTimeIndex()
    return scratch.active
  }

  /**
   * Reads whole batches: from the one that holds `offset`, at least one, up to `maxBytes`, all below `endOffset`. Empty when
   * there are none. Every batch is checked against its checksum; a wrong one throws `CORRUPT_LOG`.
   */
  async read(offset: number, maxBytes: number, endOffset: number, intervalBytes: number): Promise<Buffer | undefined> {
    const { offsets } = await this.indexes(intervalBytes)
    const position = offsets.lookup(offset - this.baseOffset)
    if (position === 0) return this.#readFrom(0, offset, maxBytes, endOffset)
    // The index has no checksum: when what it points at is not what it should be, the log decides.
    try {
      const found = await this.#readFrom(position, offset, maxBytes, endOffset)
      if (found !== undefined && readBaseOffset(found) <= offset) return found
    } catch (error) {
      if (!TidemarkError.is(error) || error.code !== 'CORRUPT_LOG') throw error
    }
    const rebuilt = await this.rebuildIndexes(intervalBytes)
    if (this.active === undefined) this.#parts.indexes.put(this.path, rebuilt)
    return this.#readFrom(rebuilt.offsets.lookup(offset - this.baseOffset), offset, maxBytes, endOffset)
  }

  async #readFrom(start: number, offset: number, maxBytes: number, endOffset: number): Promise<Buffer | undefined> {
    let position = start
    const lease = await this.#parts.pool.lease(this.path)
    try {
      for (let wanted = Math.max(maxBytes, BATCH_HEADER_BYTES) + READ_SLACK_BYTES; position < this.sizeBytes; ) {
        const length = Math.min(wanted, this.sizeBytes - position)
        const chunk = Buffer.allocUnsafeSlow(length)
        const count = await lease.handle.read(chunk, 0, length, position)
        if (count < length) throw this.#damaged(position + count, 'the file ends early')
        const cut = this.#cut(chunk, position, offset, maxBytes, endOffset)
        if (cut.found !== undefined || cut.isEnd) return cut.found
        // The first batch wanted begins in this chunk but is longer, or lies beyond it.
        position += cut.skippedBytes
        wanted = Math.max(cut.neededBytes, wanted)
      }
      return undefined
    } finally {
      lease.release()
    }
  }

  /** Walks the batches in `[from, to)` of the file. `visit` sees each whole batch. Stops at the first that cannot be right. */
  async scan(from: number, to: number, checkCrc: boolean, visit: (batch: ScannedBatch) => void): Promise<ScanEnd> {
    const lease = await this.#parts.pool.lease(this.path)
    try {
      let position = from
      let wanted = SCAN_CHUNK_BYTES
      while (position < to) {
        const chunk = Buffer.allocUnsafe(Math.min(wanted, to - position))
        const count = await lease.handle.read(chunk, 0, chunk.length, position)
        if (count < chunk.length) return { position, damage: 'the file ends early' }
        const { usedBytes, neededBytes, damage } = this.#visitChunk(chunk, position, to, checkCrc, visit)
        position += usedBytes
        if (damage !== undefined) return { position, damage }
        wanted = Math.max(SCAN_CHUNK_BYTES, neededBytes)
      }
      return { position, damage: undefined }
    } finally {
      lease.release()
    }
  }

  #visitChunk(
    chunk: Buffer,
    chunkPosition: number,
    to: number,
    checkCrc: boolean,
    visit: (batch: ScannedBatch) => void,
  ): { usedBytes: number; neededBytes: number; damage: string | undefined } {
    let at = 0
    while (at < chunk.length) {
      let sizeBytes: number | undefined
      try {
        sizeBytes = batchSizeAt(chunk, at, chunk.length, SEGMENT_BYTES_MAX)
      } catch (error) {
        return { usedBytes: at, neededBytes: 0, damage: messageOf(error) }
      }
      const leftBytes = to - chunkPosition - at
      if (sizeBytes === undefined) {
        if (chunk.length - at === leftBytes) return { usedBytes: at, neededBytes: 0, damage: 'a batch header is cut off' }
        return { usedBytes: at, neededBytes: BATCH_HEADER_BYTES, damage: undefined }
      }
      if (sizeBytes > leftBytes) return { usedBytes: at, neededBytes: 0, damage: `a batch claims ${sizeBytes} bytes, ${leftBytes} are left` }
      if (sizeBytes > chunk.length - at) return { usedBytes: at, neededBytes: sizeBytes, damage: undefined }
      const buffer = chunk.subarray(at, at + sizeBytes)
      const damage = batchDamage(buffer, this.baseOffset, checkCrc)
      if (damage !== undefined) return { usedBytes: at, neededBytes: 0, damage }
      visit({ position: chunkPosition + at, buffer })
      at += sizeBytes
    }
    return { usedBytes: at, neededBytes: 0, damage: undefined }
  }

  /** Cuts what was asked for out of a chunk that begins at a batch. */
  #cut(
    chunk: Buffer,
    position: number,
    offset: number,
    maxBytes: number,
    endOffset: number,
  ): { found?: Buffer; isEnd?: boolean; skippedBytes: number; neededBytes: number } {
    let start = -1
    let at = 0
    while (chunk.length - at >= BATCH_HEADER_BYTES) {
      const sizeBytes = this.#sizeAt(chunk, at, position)
      const lastOffset = this.#lastOffsetAt(chunk, at, position)
      if (start < 0 && lastOffset < offset) {
        if (at + sizeBytes > chunk.length) return { skippedBytes: at + sizeBytes, neededBytes: 0 }
        at += sizeBytes
        continue
      }
      if (lastOffset >= endOffset || at + sizeBytes > chunk.length) break
      if (start >= 0 && at + sizeBytes - start > maxBytes) break
      if (!isChecksumRight(chunk, at)) throw this.#damaged(position + at, 'the checksum of a batch is wrong')
      if (start < 0) start = at
      at += sizeBytes
    }
    if (start >= 0) return { found: chunk.subarray(start, at), skippedBytes: 0, neededBytes: 0 }
    if (chunk.length - at >= BATCH_HEADER_BYTES && this.#lastOffsetAt(chunk, at, position) >= endOffset) return { isEnd: true, skippedBytes: 0, neededBytes: 0 }
    const neededBytes = chunk.length - at >= BATCH_HEADER_BYTES ? this.#sizeAt(chunk, at, position) : BATCH_HEADER_BYTES
    if (position + at + neededBytes > this.sizeBytes) throw this.#damaged(position + at, 'the last batch is cut off')
    return { skippedBytes: at, neededBytes }
  }

  #sizeAt(chunk: Buffer, at: number, position: number): number {
    try {
      return batchSizeAt(chunk, at, chunk.length, SEGMENT_BYTES_MAX) ?? 0
    } catch (error) {
      throw this.#damaged(position + at, messageOf(error))
    }
  }

  #lastOffsetAt(chunk: Buffer, at: number, position: number): number {
    try {
      return readLastOffset(chunk, at)
    } catch (error) {
      throw this.#damaged(position + at, messageOf(error))
    }
  }

  #damaged(position: number, what: string): TidemarkError {
    return new TidemarkError('CORRUPT_LOG', `${this.path} at byte ${position}: ${what}`)
  }

  async #writeIndex(suffix: string, bytes: Buffer): Promise<void> {
    const lease = await this.#parts.pool.lease(this.pathOf(suffix), 'create')
    try {
      await lease.handle.truncate(bytes.length)
      if (bytes.length > 0) await lease.handle.write([bytes], 0)
      await lease.handle.datasync()
    } finally {
      lease.release()
    }
  }
}

/** Why a whole batch cannot be one of a segment that begins at `segmentBase`; undefined when it can. */
function batchDamage(buffer: Buffer, segmentBase: number, checkCrc: boolean): string | undefined {
  try {
    if (buffer[16] !== 2) return `record format ${buffer[16]}`
    if (checkCrc && !isChecksumRight(buffer)) return 'the checksum of a batch is wrong'
    if (readBaseOffset(buffer) < segmentBase || readLastOffset(buffer) < readBaseOffset(buffer)) return `offset ${readBaseOffset(buffer)} does not belong here`
    return undefined
  } catch (error) {
    return messageOf(error)
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
