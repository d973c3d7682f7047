/**
 * Opens what is on disk of a partition, trusting nothing that was not made durable.
 *
 * The checkpoint says how far the log was durable. What lies beyond it in the active segment is walked batch by
 * batch, with checksums, and cut at the first that is not whole: such a tail was never acknowledged as
 * durable. Damage before the checkpoint is not cut: the partition is refused with `CORRUPT_LOG`, and nothing is changed.
 * What survives beyond the checkpoint is synced before anyone sees it, because the kernel may only have had it
 * in memory. Recovering twice gives the same log.
 */
import {
  readBaseOffset,
  readBaseSequence,
  readLastOffset,
  readLeaderEpoch,
  readProducerEpoch,
  readProducerId,
  readRecordCount,
} from '../protocol/batch-header.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { Log } from '../runtime/runtime.ts'
import { isTemporary, readSmallFile } from './atomic-file.ts'
import { type Checkpoint, parseCheckpoint } from './checkpoint.ts'
import { CHECKPOINT_FILE, DELETED_SUFFIX, LEADER_EPOCHS_FILE, LOG_SUFFIX, offsetName, offsetOfName, SNAPSHOT_SUFFIX } from './file-names.ts'
import { LeaderEpochs } from './leader-epochs.ts'
import { OffsetIndex } from './offset-index.ts'
import { ProducerState } from './producer-state.ts'
import { Segment, type SegmentParts } from './segment.ts'
import { TimeIndex } from './time-index.ts'

export interface RecoveredLog {
  /** In order of offset, the last is active; empty for a new partition. */
  readonly segments: Segment[]
  readonly logStartOffset: number
  readonly logEndOffset: number
  readonly producers: ProducerState
  readonly epochs: LeaderEpochs
  /** Something lies beyond the checkpoint, or was cut: make a new one. */
  readonly isDirty: boolean
  /** Files that belong to nothing: leftovers of an interrupted roll or retention. */
  readonly strays: readonly string[]
}

export async function recoverLog(parts: SegmentParts, directory: string, intervalBytes: number, nowMs: number, log: Log): Promise<RecoveredLog> {
  const names = await parts.files.list(directory)
  const checkpoint = await readCheckpoint(parts, directory)
  const start = checkpoint ?? { logStartOffset: 0, recoveryOffset: 0, segmentBase: 0, recoveryPosition: 0 }
  const { segments, strays } = await findSegments(parts, directory, names, start)
  const active = segments.at(-1)
  if (active === undefined) {
    if (start.recoveryOffset > start.logStartOffset) throw damaged(directory, `every segment is missing, offsets ${start.logStartOffset} to ${start.recoveryOffset} were durable`)
    return emptyLog(start, strays, await readEpochs(parts, directory, start.recoveryOffset))
  }
  checkDurablePart(directory, segments, start)
  const epochs = await readEpochs(parts, directory, start.recoveryOffset)
  const snapshot = await readSnapshot(parts, directory, start.recoveryOffset, log)
  const tail = new TailReplay(epochs, snapshot ?? new ProducerState(), nowMs)
  if (snapshot === undefined) await replayProducers(segments, start, tail)
  const { endOffset, isDirty } = await recoverActive(active, start, intervalBytes, tail, log)
  return { segments, logStartOffset: start.logStartOffset, logEndOffset: endOffset, producers: tail.producers, epochs: tail.epochs, isDirty, strays }
}

function emptyLog(start: Checkpoint, strays: readonly string[], epochs: LeaderEpochs): RecoveredLog {
  return { segments: [], logStartOffset: start.logStartOffset, logEndOffset: start.recoveryOffset, producers: new ProducerState(), epochs, isDirty: false, strays }
}

/** Applies the batches beyond the checkpoint to what the checkpoint had. */
class TailReplay {
  readonly epochs: LeaderEpochs
  readonly producers: ProducerState
  readonly nowMs: number
  /** The offset the next batch must begin with. */
  nextOffset = 0

  constructor(epochs: LeaderEpochs, producers: ProducerState, nowMs: number) {
    this.epochs = epochs
    this.producers = producers
    this.nowMs = nowMs
  }

  apply(batch: Buffer): void {
    const baseOffset = readBaseOffset(batch)
    this.nextOffset = readLastOffset(batch) + 1
    this.epochs.assign(readLeaderEpoch(batch), baseOffset)
    const producerId = readProducerId(batch)
    if (producerId < 0) return
    const producer = { producerId, epoch: readProducerEpoch(batch), baseSequence: readBaseSequence(batch), recordCount: readRecordCount(batch) }
    this.producers.update(producer, baseOffset, this.nowMs, this.nextOffset)
  }
}

async function readCheckpoint(parts: SegmentParts, directory: string): Promise<Checkpoint | undefined> {
  const path = `${directory}/${CHECKPOINT_FILE}`
  const content = await readSmallFile(parts.files, path)
  return content && parseCheckpoint(content, path)
}

/** The segments by their `.log` files. Those wholly below the log start were being deleted; leftovers of all kinds are strays. */
async function findSegments(parts: SegmentParts, directory: string, names: readonly string[], start: Checkpoint): Promise<{ segments: Segment[]; strays: string[] }> {
  const bases = names.flatMap((name) => offsetOfName(name, LOG_SUFFIX) ?? []).sort((a, b) => a - b)
  const keptFrom = bases.findLastIndex((base) => base <= start.logStartOffset)
  const kept = bases.slice(Math.max(0, keptFrom))
  const segments = await Promise.all(
    kept.map(async (base) => {
      const segment = new Segment(parts, directory, base, 0)
      segment.sizeBytes = (await parts.files.stat(segment.path))?.sizeBytes ?? 0
      return segment
    }),
  )
  const gone = new Set(bases.slice(0, Math.max(0, keptFrom)))
  const strays = names.filter((name) => isTemporary(name) || name.endsWith(DELETED_SUFFIX) || isOfSegment(name, gone))
  return { segments, strays: strays.map((name) => `${directory}/${name}`) }
}

function isOfSegment(name: string, bases: ReadonlySet<number>): boolean {
  const base = /^(\d{20})\./.exec(name)?.[1]
  return base !== undefined && !name.endsWith(SNAPSHOT_SUFFIX) && bases.has(Number(base))
}

/** Throws unless everything the checkpoint vouches for is there. */
function checkDurablePart(directory: string, segments: readonly Segment[], start: Checkpoint): void {
  const first = segments[0]
  if (first !== undefined && first.baseOffset > start.logStartOffset) {
    throw damaged(directory, `the log starts at offset ${start.logStartOffset}, its first segment at ${first.baseOffset}`)
  }
  const vouched = segments.find((segment) => segment.baseOffset === start.segmentBase)
  if (vouched === undefined && start.recoveryOffset > start.logStartOffset) throw damaged(directory, `the segment that begins at offset ${start.segmentBase} is missing`)
  if (vouched !== undefined && vouched.sizeBytes < start.recoveryPosition) {
    throw damaged(directory, `${vouched.path} has ${vouched.sizeBytes} bytes, ${start.recoveryPosition} were durable`)
  }
}

/**
 * Walks the active segment beyond the checkpoint. A segment that was begun after the checkpoint is walked whole; the one before it was
 * durable before the new one was made.
 */
async function recoverActive(
  active: Segment,
  start: Checkpoint,
  intervalBytes: number,
  tail: TailReplay,
  log: Log,
): Promise<{ endOffset: number; isDirty: boolean }> {
  const isVouched = active.baseOffset === start.segmentBase
  const from = isVouched ? start.recoveryPosition : 0
  const fileBytes = active.sizeBytes
  tail.nextOffset = isVouched ? start.recoveryOffset : active.baseOffset
  active.sizeBytes = from
  if (from > 0) active.firstAppendMs = tail.nowMs
  if (from === fileBytes) return { endOffset: tail.nextOffset, isDirty: false }
  await takeUpIndexes(active, from, intervalBytes)
  let expected = tail.nextOffset
  const end = await active.scan(from, fileBytes, true, ({ buffer, position }) => {
    if (readBaseOffset(buffer) !== expected) throw new CutHere(position, `offset ${readBaseOffset(buffer)} follows ${expected}`)
    expected = readLastOffset(buffer) + 1
    tail.apply(buffer)
    active.noteBatch(buffer, position, intervalBytes, tail.nowMs)
  }).catch((error: unknown) => {
    if (error instanceof CutHere) return { position: error.position, damage: error.message }
    throw error
  })
  if (end.position < fileBytes) {
    log.warn('segment.tail-cut', { path: active.path, position: end.position, cutBytes: fileBytes - end.position, reason: end.damage ?? 'end' })
  }
  await makeTailDurable(active, end.position, fileBytes)
  return { endOffset: expected, isDirty: true }
}

class CutHere extends Error {
  readonly position: number
  constructor(position: number, why: string) {
    super(why)
    this.position = position
  }
}

/** The active segment's indexes for the part before `position`, so that only what follows has to be walked. */
export async function takeUpIndexes(active: Segment, position: number, intervalBytes: number): Promise<void> {
  if (position === 0) {
    active.active = { offsets: new OffsetIndex(), times: new TimeIndex() }
    active.maxTimestamp = -1
    return
  }
  const loaded = (await active.loadIndexes()) ?? (await active.rebuildIndexes(intervalBytes))
  loaded.offsets.truncate(position)
  active.active = loaded
  active.maxTimestamp = loaded.times.maxTimestamp
}

async function makeTailDurable(active: Segment, endPosition: number, fileBytes: number): Promise<void> {
  const lease = await active.leaseLog()
  try {
    if (endPosition < fileBytes) await lease.handle.truncate(endPosition)
    await lease.handle.datasync()
  } finally {
    lease.release()
  }
}

async function readEpochs(parts: SegmentParts, directory: string, recoveryOffset: number): Promise<LeaderEpochs> {
  const content = await readSmallFile(parts.files, `${directory}/${LEADER_EPOCHS_FILE}`)
  const epochs = content === undefined ? new LeaderEpochs() : LeaderEpochs.parse(content)
  epochs.truncateFromEnd(recoveryOffset)
  return epochs
}

/** The snapshot made with the checkpoint. Undefined when it is missing or damaged. */
async function readSnapshot(parts: SegmentParts, directory: string, recoveryOffset: number, log: Log): Promise<ProducerState | undefined> {
  const path = `${directory}/${offsetName(recoveryOffset, SNAPSHOT_SUFFIX)}`
  const content = await readSmallFile(parts.files, path)
  const state = content && ProducerState.parse(content)
  if (state === undefined && recoveryOffset > 0) log.warn('producer-snapshot.missing', { path })
  return state
}

/** Makes the producer state again from everything before the checkpoint. */
async function replayProducers(segments: readonly Segment[], start: Checkpoint, tail: TailReplay): Promise<void> {
  for (const segment of segments) {
    const to = segment.baseOffset === start.segmentBase ? start.recoveryPosition : segment.sizeBytes
    if (segment.baseOffset < start.recoveryOffset) await segment.scan(0, to, false, ({ buffer }) => tail.apply(buffer))
  }
}

function damaged(directory: string, what: string): TidemarkError {
  return new TidemarkError('CORRUPT_LOG', `${directory}: ${what}. Nothing was changed; \`tidemark log verify\` tells more`)
}
