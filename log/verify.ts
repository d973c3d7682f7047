/**
 * Checks everything on disk of partitions that nobody has open: for `tidemark log verify`. Never writes.
 *
 * A finding is `damage` when data is lost or a node would refuse the partition, `repairable` when the next start mends it by
 * itself: an index that can be made again, a tail that was never acknowledged as durable.
 */
import type { Files } from '../runtime/runtime.ts'
import { readSmallFile } from '../runtime/atomic-file.ts'
import { follows } from './batch-walk.ts'
import { type Checkpoint, parseCheckpoint } from './checkpoint.ts'
import { dumpSegment } from './dump.ts'
import {
  CHECKPOINT_FILE,
  DELETED_SUFFIX,
  LEADER_EPOCHS_FILE,
  LOG_SUFFIX,
  OFFSET_INDEX_SUFFIX,
  offsetName,
  PARTITION_FILE,
  type SegmentId,
  SNAPSHOT_SUFFIX,
  segmentName,
  TIME_INDEX_SUFFIX,
} from './file-names.ts'
import { LeaderEpochs } from './leader-epochs.ts'
import { OffsetIndex } from './offset-index.ts'
import { readPartitionFile } from './partition-directory.ts'
import { ProducerState } from './producer-state.ts'
import { chooseSegments, isStray, withoutCheckpoint } from './segment-files.ts'
import { TimeIndex } from './time-index.ts'

export interface Finding {
  readonly file: string
  /** In the file; undefined when the whole of it is meant. */
  readonly position: number | undefined
  readonly severity: 'damage' | 'repairable'
  readonly problem: string
}

export interface VerifiedPartition {
  readonly directory: string
  readonly segmentCount: number
  readonly batchCount: number
  readonly recordCount: number
  readonly sizeBytes: number
  readonly findings: readonly Finding[]
}

/** Verifies every partition of a data directory, one after the other. */
export async function* verifyDataDir(files: Files, path: string): AsyncGenerator<VerifiedPartition> {
  const topics = `${path}/topics`
  for (const name of (await files.list(topics)).sort()) {
    if (!name.endsWith(DELETED_SUFFIX)) yield await verifyPartition(files, `${topics}/${name}`)
  }
}

export async function verifyPartition(files: Files, directory: string): Promise<VerifiedPartition> {
  const verifier = new Verifier(files, directory)
  return verifier.run()
}

class Verifier {
  readonly #files: Files
  readonly #directory: string
  readonly #findings: Finding[] = []
  #batchCount = 0
  #recordCount = 0
  #sizeBytes = 0

  constructor(files: Files, directory: string) {
    this.#files = files
    this.#directory = directory
  }

  async run(): Promise<VerifiedPartition> {
    const names = await this.#files.list(this.#directory)
    await this.#checkPartitionFile()
    const checkpoint = await this.#readCheckpoint()
    await this.#checkState(checkpoint)
    const start = checkpoint ?? withoutCheckpoint(names)
    await this.#checkMarks(start, names)
    const chosen = chooseSegments(names, start)
    const ids = [...chosen.values()].filter((id) => names.includes(segmentName(id, LOG_SUFFIX)))
    let expectedBase: number | undefined
    for (const [at, id] of ids.entries()) {
      if (expectedBase !== undefined && !follows(id.baseOffset, expectedBase, start.compaction.sparseBelow))
        this.#note(segmentName(id, LOG_SUFFIX), undefined, 'damage', `begins at offset ${id.baseOffset} where ${expectedBase} is expected`)
      expectedBase = await this.#checkSegment(id, at === ids.length - 1, start)
    }
    for (const name of names) if (isStray(name, chosen)) this.#note(name, undefined, 'repairable', 'is a leftover and will be removed')
    return {
      directory: this.#directory,
      segmentCount: ids.length,
      batchCount: this.#batchCount,
      recordCount: this.#recordCount,
      sizeBytes: this.#sizeBytes,
      findings: this.#findings,
    }
  }

  #note(name: string, position: number | undefined, severity: Finding['severity'], problem: string): void {
    this.#findings.push({ file: `${this.#directory}/${name}`, position, severity, problem })
  }

  #read(name: string): Promise<Buffer | undefined> {
    return readSmallFile(this.#files, `${this.#directory}/${name}`)
  }

  async #checkPartitionFile(): Promise<void> {
    try {
      const present = await readPartitionFile(this.#files, this.#directory)
      if (present === undefined) this.#note(PARTITION_FILE, undefined, 'damage', 'is missing')
    } catch {
      this.#note(PARTITION_FILE, undefined, 'damage', 'is damaged')
    }
  }

  async #readCheckpoint(): Promise<Checkpoint | undefined> {
    const content = await this.#read(CHECKPOINT_FILE)
    if (content === undefined) return undefined
    try {
      return parseCheckpoint(content, CHECKPOINT_FILE)
    } catch {
      this.#note(CHECKPOINT_FILE, undefined, 'damage', 'is damaged')
      return undefined
    }
  }

  /** Producers and leader epochs, which a start makes again from the log. */
  async #checkState(checkpoint: Checkpoint | undefined): Promise<void> {
    if (checkpoint === undefined || checkpoint.segments.length === 0) return
    const epochs = await this.#read(LEADER_EPOCHS_FILE)
    if (epochs === undefined || LeaderEpochs.parse(epochs) === undefined)
      this.#note(LEADER_EPOCHS_FILE, undefined, 'repairable', epochs === undefined ? 'is missing' : 'is damaged')
    const name = offsetName(checkpoint.recoveryOffset, SNAPSHOT_SUFFIX)
    const snapshot = await this.#read(name)
    if (snapshot === undefined || ProducerState.parse(snapshot) === undefined)
      this.#note(name, undefined, 'repairable', snapshot === undefined ? 'is missing' : 'is damaged')
  }

  async #checkMarks({ segments }: Checkpoint, names: readonly string[]): Promise<void> {
    for (const mark of segments) {
      const name = segmentName(mark, LOG_SUFFIX)
      const fileBytes = names.includes(name) ? ((await this.#files.stat(`${this.#directory}/${name}`))?.sizeBytes ?? 0) : 0
      if (fileBytes < mark.sizeBytes) this.#note(name, fileBytes, 'damage', `has ${fileBytes} bytes, ${mark.sizeBytes} were durable`)
    }
  }

  /** Returns the offset the next segment must begin with; undefined when that cannot be known. */
  async #checkSegment(id: SegmentId, isLast: boolean, { segments, compaction, recoveryOffset }: Checkpoint): Promise<number | undefined> {
    const base = id.baseOffset
    const name = segmentName(id, LOG_SUFFIX)
    const durableBytes = segments.find((mark) => mark.baseOffset === base)?.sizeBytes ?? 0
    const indexes = new IndexCheck(
      await this.#read(segmentName(id, OFFSET_INDEX_SUFFIX)),
      await this.#read(segmentName(id, TIME_INDEX_SUFFIX)),
      base,
    )
    let expected = base
    let end = 0
    for await (const item of dumpSegment(this.#files, `${this.#directory}/${name}`)) {
      // What lies beyond the durable part of the last segment is cut at the first fault, as a crash may leave it.
      const severity = isLast && item.position >= durableBytes ? 'repairable' : 'damage'
      if (item.kind === 'damage') {
        this.#note(name, item.position, item.isOtherFormat === true ? 'damage' : severity, item.what)
        return undefined
      }
      const { header, position } = item
      if (!item.isChecksumRight) this.#note(name, position, severity, `the checksum of the batch at offset ${header.baseOffset} is wrong`)
      if (!follows(header.baseOffset, expected, compaction.sparseBelow))
        this.#note(name, position, severity, `offset ${header.baseOffset} where ${expected} is expected`)
      indexes.sawBatch(position, header.lastOffset, header.maxTimestamp)
      expected = header.lastOffset + 1
      end = position + header.sizeBytes
      if (end === durableBytes && base === segments.at(-1)?.baseOffset && expected !== recoveryOffset)
        this.#note(
          CHECKPOINT_FILE,
          undefined,
          'damage',
          `says that offset ${recoveryOffset} follows on what was durable, it is ${expected}`,
        )
      this.#batchCount++
      this.#recordCount += header.recordCount
      this.#sizeBytes += header.sizeBytes
    }
    for (const [suffix, problem] of indexes.problems(end, end <= durableBytes))
      this.#note(segmentName(id, suffix), undefined, 'repairable', problem)
    return expected
  }
}

/** Compares the indexes of a segment with its batches as they go by. */
class IndexCheck {
  readonly #base: number
  readonly #offsetBytes: Buffer | undefined
  readonly #timeBytes: Buffer | undefined
  readonly #offsets: { readonly relativeOffset: number; readonly position: number }[]
  readonly #times: { readonly timestampMs: number; readonly relativeOffset: number }[]
  readonly #wrong: [suffix: string, problem: string][] = []
  #largestMs = -1
  #lastTimeMs = -1

  constructor(offsetBytes: Buffer | undefined, timeBytes: Buffer | undefined, base: number) {
    this.#base = base
    this.#offsetBytes = offsetBytes
    this.#timeBytes = timeBytes
    const offsets = offsetBytes && OffsetIndex.parse(offsetBytes, Number.POSITIVE_INFINITY)
    const times = timeBytes && TimeIndex.parse(timeBytes)
    if (offsetBytes !== undefined && offsets === undefined) this.#wrong.push([OFFSET_INDEX_SUFFIX, 'is damaged'])
    if (timeBytes !== undefined && times === undefined) this.#wrong.push([TIME_INDEX_SUFFIX, 'is damaged'])
    this.#offsets = [...(offsets?.entries() ?? [])]
    this.#times = [...(times?.entries() ?? [])]
  }

  sawBatch(position: number, lastOffset: number, maxTimestampMs: number): void {
    const entry = this.#offsets[0]
    if (entry !== undefined && entry.position <= position) {
      this.#offsets.shift()
      const isRight = entry.position === position && entry.relativeOffset === lastOffset - this.#base
      if (!isRight)
        this.#wrong.push([
          OFFSET_INDEX_SUFFIX,
          `says that offset ${this.#base + entry.relativeOffset} is at byte ${entry.position}, the batch there or behind it ends at ${lastOffset}`,
        ])
    }
    const time = this.#times[0]
    if (time !== undefined && time.relativeOffset <= lastOffset - this.#base) {
      this.#times.shift()
      this.#lastTimeMs = time.timestampMs
      const isRight =
        time.relativeOffset === lastOffset - this.#base && time.timestampMs === maxTimestampMs && maxTimestampMs > this.#largestMs
      if (!isRight)
        this.#wrong.push([
          TIME_INDEX_SUFFIX,
          `says that ${time.timestampMs} is the largest timestamp up to offset ${this.#base + time.relativeOffset}`,
        ])
    }
    this.#largestMs = Math.max(this.#largestMs, maxTimestampMs)
  }

  /** All that is wrong, the log having ended at `end`. `isComplete`: the indexes must cover all of it. */
  *problems(end: number, isComplete: boolean): Generator<[suffix: string, problem: string]> {
    yield* this.#wrong
    if (!isComplete || end === 0) return
    if (this.#offsetBytes === undefined) yield [OFFSET_INDEX_SUFFIX, 'is missing']
    if (this.#timeBytes === undefined) yield [TIME_INDEX_SUFFIX, 'is missing']
    else if (this.#wrong.length === 0 && this.#lastTimeMs !== this.#largestMs)
      yield [TIME_INDEX_SUFFIX, `ends with ${this.#lastTimeMs}, the largest timestamp is ${this.#largestMs}`]
    if (this.#offsets.length > 0) yield [OFFSET_INDEX_SUFFIX, `has ${this.#offsets.length} entries beyond the end of the log`]
  }
}
