/**
 * A segment that compaction writes. Until it is whole its file ends with `.cleaned`, and is no part of any log; `finish` makes it durable
 * under its name, and only a checkpoint makes it part of the log.
 */
import { TidemarkError } from '../protocol/errors.ts'
import type { FileHandle } from '../runtime/runtime.ts'
import { asStorageError, type DirectoryHealth, isDiskFull } from './directory-health.ts'
import { CLEANED_SUFFIX, SEGMENT_SUFFIXES } from './file-names.ts'
import { OffsetIndex } from './offset-index.ts'
import { Segment, type SegmentParts } from './segment.ts'
import { TimeIndex } from './time-index.ts'

/** What is written at once. */
const WRITE_BYTES = 1024 * 1024

/** Synced in portions: one sync of a whole segment would hold up those of everybody else. */
const SYNC_BYTES = 8 * 1024 * 1024

/** Positions in an index are 31-bit. */
const SEGMENT_BYTES_MAX = 2 ** 31 - 1

export interface CopyParts extends SegmentParts {
  readonly health: DirectoryHealth
}

export class SegmentCopy {
  readonly segment: Segment
  readonly #parts: CopyParts
  readonly #intervalBytes: number
  readonly #file: FileHandle
  readonly #pending = Buffer.allocUnsafeSlow(WRITE_BYTES)
  #pendingBytes = 0
  #writtenBytes = 0
  #unsyncedBytes = 0

  private constructor(parts: CopyParts, segment: Segment, intervalBytes: number, file: FileHandle) {
    this.#parts = parts
    this.segment = segment
    this.#intervalBytes = intervalBytes
    this.#file = file
  }

  /** Begins to write `segment`, which has nothing yet. */
  static async begin(parts: CopyParts, segment: Segment, intervalBytes: number): Promise<SegmentCopy> {
    const file = await guarded(parts, segment, async () => {
      const path = `${segment.path}${CLEANED_SUFFIX}`
      // What an earlier attempt has left.
      await parts.files.remove(path)
      return parts.files.open(path, 'create')
    })
    segment.activate({ offsets: new OffsetIndex(), times: new TimeIndex() })
    return new SegmentCopy(parts, segment, intervalBytes, file)
  }

  /** Adds a batch at the end. The buffer is the caller's again when it resolves. */
  async add(batch: Buffer): Promise<void> {
    const position = this.#writtenBytes + this.#pendingBytes
    if (position + batch.length > SEGMENT_BYTES_MAX)
      throw new TidemarkError('LIMIT_EXCEEDED', `${this.segment.path} would have more than ${SEGMENT_BYTES_MAX} bytes`)
    this.segment.noteBatch(batch, position, this.#intervalBytes, 0)
    if (this.#pendingBytes + batch.length > WRITE_BYTES) await guarded(this.#parts, this.segment, () => this.#writePending())
    if (batch.length > WRITE_BYTES) return guarded(this.#parts, this.segment, () => this.#write(batch))
    this.#pendingBytes += batch.copy(this.#pending, this.#pendingBytes)
  }

  /** Makes it durable, under its name. */
  async finish(): Promise<void> {
    const { segment } = this
    await guarded(this.#parts, segment, async () => {
      await this.#writePending()
      await this.#file.datasync()
      await this.#file.close()
      await segment.writeIndexes()
      await this.#parts.files.rename(`${segment.path}${CLEANED_SUFFIX}`, segment.path)
      await this.#parts.files.syncDirectory(segment.directory)
    })
    segment.seal()
  }

  /** Removes whatever there is of it. A failure only costs space, until the next start. */
  async discard(): Promise<void> {
    await this.#file.close().catch(() => {})
    this.segment.forgetFiles()
    for (const path of [`${this.segment.path}${CLEANED_SUFFIX}`, ...SEGMENT_SUFFIXES.map((suffix) => this.segment.pathOf(suffix))])
      await this.#parts.files.remove(path).catch(() => {})
  }

  async #writePending(): Promise<void> {
    const bytes = this.#pendingBytes
    this.#pendingBytes = 0
    if (bytes > 0) await this.#write(this.#pending.subarray(0, bytes))
  }

  async #write(bytes: Buffer): Promise<void> {
    await this.#file.write([bytes], this.#writtenBytes)
    this.#writtenBytes += bytes.length
    this.#unsyncedBytes += bytes.length
    if (this.#unsyncedBytes < SYNC_BYTES) return
    await this.#file.datasync()
    this.#unsyncedBytes = 0
  }
}

/** A disk that has no room for the copy keeps the old; any other failure ends the directory, as for every write. */
async function guarded<T>({ health }: CopyParts, segment: Segment, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (isDiskFull(error)) throw new TidemarkError('DISK_FULL', `${segment.path}: no space for the compacted segment`, { cause: error })
    const failure = asStorageError(error, segment.directory)
    health.fail(`${segment.path}: writing failed`, failure)
    throw failure
  }
}
