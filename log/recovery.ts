/**
 * Opens what is on disk of a partition, trusting nothing that was not made durable.
 *
 * The checkpoint says how far the log was durable and how large each segment was. What lies beyond is walked batch by
 * batch, with checksums, and cut at the first that is not whole: that is what a crash leaves. Damage before the checkpoint
 * is not cut, nor is a whole batch in the format of another version: the partition is refused with `CORRUPT_LOG`, and nothing is
 * changed. What survives beyond the checkpoint is written again and synced before anyone sees it, because the kernel may only have
 * had it in memory. Recovering twice gives the same log.
 */
import { readBaseOffset, readLastOffset, readLeaderEpoch } from '../protocol/batch-header.ts'
import type { Log } from '../runtime/runtime.ts'
import { producerOf } from './append-checks.ts'
import { readSmallFile } from '../runtime/atomic-file.ts'
import type { PlacedBatch } from './batch-chunks.ts'
import { type Damage, follows } from './batch-walk.ts'
import { checkBegin, checkEnd } from './checkpoint-claims.ts'
import type { Checkpoint, CompactionState } from './checkpoint.ts'
import { LEADER_EPOCHS_FILE, offsetName, SNAPSHOT_SUFFIX } from './file-names.ts'
import { LeaderEpochs } from './leader-epochs.ts'
import { OffsetIndex } from './offset-index.ts'
import { ProducerState } from './producer-state.ts'
import type { Segment, SegmentParts } from './segment.ts'
import { damaged, findSegments, readCheckpoint, withoutCheckpoint } from './segment-files.ts'
import { TimeIndex } from './time-index.ts'

export interface RecoveredLog {
  /** In order of offset, the last is active; empty for a new partition. */
  readonly segments: Segment[]
  readonly checkpoint: Checkpoint
  readonly logEndOffset: number
  readonly producers: ProducerState
  readonly epochs: LeaderEpochs
  readonly compaction: CompactionState
  /** The checkpoint does not cover all of it. */
  readonly isDirty: boolean
  /** Files that belong to nothing: leftovers of an interrupted roll, retention or compaction. */
  readonly strays: readonly string[]
}

export interface RecoveryOptions {
  readonly directory: string
  readonly indexIntervalBytes: number
  readonly nowMs: number
  readonly log: Log
  /** The last process that had it stopped in order. */
  readonly isClean: boolean
}

export async function recoverLog(parts: SegmentParts, options: RecoveryOptions): Promise<RecoveredLog> {
  const { directory, nowMs } = options
  const names = await parts.files.list(directory)
  const start = (await readCheckpoint(parts, directory)) ?? withoutCheckpoint(names)
  const { segments, strays } = await findSegments(parts, directory, names, start)
  checkBegin(directory, start)
  // After a clean stop there is nothing to cut, and no segment is read: its end is looked at before the first write.
  if (!options.isClean || isLonger(segments, start)) await checkEnd(parts, directory, start)
  const epochs = await readEpochs(parts, directory, start.recoveryOffset)
  const snapshot = await readSnapshot(parts, directory, start.recoveryOffset)
  const isRebuilt = start.segments.length > 0 && (epochs === undefined || snapshot === undefined)
  const replay = isRebuilt
    ? new Replay(new LeaderEpochs(), new ProducerState(), nowMs)
    : new Replay(epochs ?? new LeaderEpochs(), snapshot ?? new ProducerState(), nowMs)
  if (isRebuilt) {
    options.log.warn('partition.state-rebuilt', {
      directory,
      isEpochsMissing: epochs === undefined,
      isSnapshotMissing: snapshot === undefined,
    })
    await replayDurablePart(segments, start, replay)
  }
  const tail = await recoverTail(segments, start, replay, options)
  if (tail.endOffset < start.logStartOffset)
    throw damaged(`${directory} ends at offset ${tail.endOffset}, before its start ${start.logStartOffset}`)
  replay.epochs.truncateFromStart(start.logStartOffset)
  return {
    segments: tail.segments,
    checkpoint: start,
    logEndOffset: tail.endOffset,
    producers: replay.producers,
    epochs: replay.epochs,
    compaction: { ...start.compaction, sparseBelow: Math.min(start.compaction.sparseBelow, tail.endOffset) },
    isDirty: tail.isDirty || isRebuilt,
    strays: [...strays, ...tail.dropped.map((segment) => segment.path)],
  }
}

/** Whether there is more than the checkpoint vouches for. */
function isLonger(segments: readonly Segment[], start: Checkpoint): boolean {
  const mark = start.segments.at(-1)
  const last = segments.at(-1)
  return last !== undefined && (last.baseOffset !== mark?.baseOffset || last.sizeBytes > mark.sizeBytes)
}

/** Applies batches to what the checkpoint had. */
class Replay {
  readonly epochs: LeaderEpochs
  readonly producers: ProducerState
  readonly #nowMs: number

  constructor(epochs: LeaderEpochs, producers: ProducerState, nowMs: number) {
    this.epochs = epochs
    this.producers = producers
    this.#nowMs = nowMs
  }

  apply(batch: Buffer): void {
    const baseOffset = readBaseOffset(batch)
    this.epochs.assign(readLeaderEpoch(batch), baseOffset)
    const producer = producerOf(batch)
    if (producer === undefined) return
    this.producers.update(producer, baseOffset, this.#nowMs, readLastOffset(batch) + 1)
  }
}

interface RecoveredTail {
  readonly segments: Segment[]
  /** Empty segments of a roll that did not come to its end. */
  readonly dropped: readonly Segment[]
  readonly endOffset: number
  readonly isDirty: boolean
}

/** Walks everything beyond the checkpoint. A segment was durable as a whole before the next was begun, so only the last may be cut. */
async function recoverTail(
  segments: readonly Segment[],
  start: Checkpoint,
  replay: Replay,
  options: RecoveryOptions,
): Promise<RecoveredTail> {
  const vouched = start.segments.at(-1)
  const firstAt = segments.findIndex((segment) => segment.baseOffset >= (vouched?.baseOffset ?? 0))
  if (firstAt < 0) return { segments: [...segments], dropped: [], endOffset: start.recoveryOffset, isDirty: false }
  let endOffset = start.recoveryOffset
  let isDirty = false
  for (let at = firstAt; at < segments.length; at++) {
    const segment = segments[at] as Segment
    const later = segments.slice(at + 1)
    const isVouched = segment.baseOffset === vouched?.baseOffset
    if (isVouched && vouched.sizeBytes > 0) segment.firstAppendMs = start.activeSinceMs
    const { sparseBelow } = start.compaction
    if (!isVouched && !follows(segment.baseOffset, endOffset, sparseBelow))
      throw damaged(`${segment.path} begins where offset ${endOffset} is expected`)
    const isLast = later.every((one) => one.sizeBytes === 0)
    const endsAt = isLast ? undefined : later[0]?.baseOffset
    const place = { from: isVouched ? vouched.sizeBytes : 0, nextOffset: endOffset, endsAt, sparseBelow }
    const tail = await recoverSegment(segment, place, replay, options)
    isDirty ||= tail.isChanged || !isVouched
    endOffset = tail.endOffset
    if (isLast) return { segments: segments.slice(0, at + 1), dropped: later, endOffset, isDirty }
    segment.seal()
  }
  return { segments: [...segments], dropped: [], endOffset, isDirty }
}

/** Which part of a segment is walked. */
interface Place {
  readonly from: number
  readonly nextOffset: number
  /** Where the segment after it begins: this one ended there when that was begun. What lies behind comes of a cut of which the disk lost track. Undefined: it is the last. */
  readonly endsAt: number | undefined
  /** Below, offsets may be missing. */
  readonly sparseBelow: number
}

/** Walks one segment from `from` on, where `nextOffset` is expected; cuts it where it ends, or at the first damage if it is the last; refuses it if it is not. */
async function recoverSegment(
  segment: Segment,
  { from, nextOffset, endsAt, sparseBelow }: Place,
  replay: Replay,
  options: RecoveryOptions,
): Promise<{ endOffset: number; isChanged: boolean }> {
  const fileBytes = segment.sizeBytes
  segment.sizeBytes = from
  if (from === fileBytes) return { endOffset: nextOffset, isChanged: false }
  await takeUpIndexes(segment, nextOffset, options.indexIntervalBytes)
  let expected = nextOffset
  let objection: Damage | undefined
  const end = await segment.scan(
    { from, to: fileBytes, firstOffset: nextOffset, checkCrc: true },
    (batch, position) => {
      const offset = readBaseOffset(batch)
      if (expected === endsAt) objection = { position, what: `the next segment begins at offset ${endsAt}` }
      else if (!follows(offset, expected, sparseBelow)) objection = { position, what: `offset ${offset} follows ${expected - 1}` }
      if (objection !== undefined) return false
      expected = readLastOffset(batch) + 1
      replay.apply(batch)
      segment.noteBatch(batch, position, options.indexIntervalBytes, options.nowMs)
      return true
    },
    (batches) => writeAgain(segment, batches),
  )
  const damage = end.damage ?? objection
  if (damage !== undefined && endsAt !== undefined && expected !== endsAt)
    throw damaged(`${segment.path} at byte ${damage.position}: ${damage.what}, and a later segment exists`)
  // The records may have been acknowledged by the version that knows them.
  if (damage?.isOtherFormat === true)
    throw damaged(
      `${segment.path} at byte ${damage.position}: ${damage.what}, and whole: another version of tidemark wrote this. Start that one`,
    )
  if (damage !== undefined)
    options.log.warn('segment.tail-cut', {
      path: segment.path,
      position: end.position,
      cutBytes: fileBytes - end.position,
      reason: damage.what,
    })
  await makeTailDurable(segment, end.position, fileBytes)
  if (endsAt !== undefined) await segment.writeIndexes()
  return { endOffset: expected, isChanged: true }
}

/** Makes ready to write to a segment whose batches so far end at `endOffset`. */
export async function takeUpIndexes(segment: Segment, endOffset: number, intervalBytes: number): Promise<void> {
  if (segment.sizeBytes === 0) {
    segment.activate({ offsets: new OffsetIndex(), times: new TimeIndex() })
    return
  }
  segment.activate(await segment.loadIndexes(intervalBytes, endOffset))
}

/**
 * Writes batches once more, the same bytes in the same place. To sync alone would not do: where a sync failed before, the kernel takes what it could not
 * write for written, and may let go of it at any time. So what is written is what was checked, not what a second look finds.
 */
async function writeAgain(segment: Segment, batches: readonly PlacedBatch[]): Promise<void> {
  const [first, last] = [batches[0], batches.at(-1)]
  if (first === undefined || last === undefined) return
  const lease = await segment.leaseLog()
  try {
    // They lie back to back in one buffer.
    const bytes = last.position + last.batch.length - first.position
    await lease.handle.write([Buffer.from(first.batch.buffer, first.batch.byteOffset, bytes)], first.position)
  } finally {
    lease.release()
  }
}

/** Cuts the segment at `endPosition`, and syncs what was written again. */
async function makeTailDurable(segment: Segment, endPosition: number, fileBytes: number): Promise<void> {
  const lease = await segment.leaseLog()
  try {
    if (endPosition < fileBytes) await lease.handle.truncate(endPosition)
    await lease.handle.datasync()
  } finally {
    lease.release()
  }
}

/** Undefined when the file is missing or damaged. */
async function readEpochs(parts: SegmentParts, directory: string, recoveryOffset: number): Promise<LeaderEpochs | undefined> {
  const content = await readSmallFile(parts.files, `${directory}/${LEADER_EPOCHS_FILE}`)
  const epochs = content && LeaderEpochs.parse(content)
  epochs?.truncateFromEnd(recoveryOffset)
  return epochs
}

/** The snapshot made with the checkpoint. Undefined when it is missing or damaged. */
async function readSnapshot(parts: SegmentParts, directory: string, recoveryOffset: number): Promise<ProducerState | undefined> {
  const content = await readSmallFile(parts.files, `${directory}/${offsetName(recoveryOffset, SNAPSHOT_SUFFIX)}`)
  return content && ProducerState.parse(content)
}

/** Makes producer state and epochs again from everything before the checkpoint. */
async function replayDurablePart(segments: readonly Segment[], start: Checkpoint, replay: Replay): Promise<void> {
  for (const mark of start.segments) {
    const segment = segments.find((one) => one.baseOffset === mark.baseOffset)
    let wrong: Damage | undefined
    const end = await segment?.scan({ from: 0, to: mark.sizeBytes, firstOffset: mark.baseOffset, checkCrc: false }, (batch, position) => {
      const epoch = readLeaderEpoch(batch)
      // No checksum covers it, and by what is made of it here the log may be cut.
      if (epoch < replay.epochs.latest) wrong = { position, what: `leader epoch ${epoch} follows ${replay.epochs.latest}` }
      else replay.apply(batch)
      return wrong === undefined
    })
    const damage = wrong ?? end?.damage
    if (damage !== undefined) throw damaged(`${segment?.path} at byte ${damage.position}: ${damage.what}`)
  }
}
