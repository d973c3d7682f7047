/**
 * Cuts the end off a closed log: what this replica has and its leader has not.
 *
 * The steps are in an order in which a crash between any two leaves a log that can be opened: the checkpoint first, which from then on vouches
 * for less; then the later segments, the last one first; then the rest of the one that is cut. Until the end is gone a start
 * finds it again, and the replica asks its leader again. Producer state and epochs are made anew from what is left.
 */
import { readLastOffset } from '../protocol/batch-header.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { writeFileAtomic } from '../runtime/atomic-file.ts'
import { checkEnd } from './checkpoint-claims.ts'
import { type Checkpoint, NEVER_COMPACTED, serializeCheckpoint } from './checkpoint.ts'
import {
  CHECKPOINT_FILE,
  LEADER_EPOCHS_FILE,
  LOG_SUFFIX,
  OFFSET_INDEX_SUFFIX,
  offsetOfName,
  SEGMENT_SUFFIXES,
  SNAPSHOT_SUFFIX,
  segmentOfName,
  TIME_INDEX_SUFFIX,
} from './file-names.ts'
import { Segment, type SegmentParts } from './segment.ts'
import { readCheckpoint } from './segment-files.ts'

/** Where a log is cut: the segment and the byte, and the offset that comes next. */
interface Cut {
  readonly segment: Segment
  readonly position: number
  readonly endOffset: number
}

/** Removes every batch that reaches `offset`. The log is closed, and all of it durable. */
export async function truncateOnDisk(parts: SegmentParts, directory: string, offset: number): Promise<void> {
  const { files } = parts
  const checkpoint = await readCheckpoint(parts, directory)
  // Without a checkpoint nothing was ever written.
  if (checkpoint === undefined) return
  if (offset < checkpoint.logStartOffset)
    throw new TidemarkError('OFFSET_OUT_OF_RANGE', `${directory} starts at ${checkpoint.logStartOffset}, it cannot be cut at ${offset}`)
  await checkEnd(parts, directory, checkpoint)
  const cut = await findCut(parts, directory, checkpoint, offset)
  if (cut === undefined) return
  if (cut.endOffset < checkpoint.logStartOffset)
    throw new TidemarkError(
      'OFFSET_OUT_OF_RANGE',
      `${directory} starts at ${checkpoint.logStartOffset}, in the middle of what would be cut`,
    )
  await writeFileAtomic(files, directory, CHECKPOINT_FILE, serializeCheckpoint(checkpointOf(cut, checkpoint)))
  const names = await files.list(directory)
  const later = names.flatMap((name) => segmentOfName(name, LOG_SUFFIX) ?? []).filter((id) => id.baseOffset > cut.segment.baseOffset)
  for (const { baseOffset, generation } of later.sort((a, b) => b.baseOffset - a.baseOffset)) {
    await removeSegment(parts, new Segment(parts, directory, baseOffset, 0, generation))
    // One after the other on the disk too: a log with a gap could not be opened.
    await files.syncDirectory(directory)
  }
  if (isGone(cut)) await removeSegment(parts, cut.segment)
  else await shorten(cut)
  const state = names.filter((name) => name === LEADER_EPOCHS_FILE || offsetOfName(name, SNAPSHOT_SUFFIX) !== undefined)
  for (const name of state) await files.remove(`${directory}/${name}`)
  for (const suffix of [OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX]) await files.remove(cut.segment.pathOf(suffix))
  await files.syncDirectory(directory)
}

/** What is left of a log that is cut. */
function checkpointOf(cut: Cut, checkpoint: Checkpoint): Checkpoint {
  const { segment, position, endOffset } = cut
  const { baseOffset, generation } = segment
  const kept = checkpoint.segments.filter((mark) => mark.baseOffset < baseOffset)
  return {
    ...checkpoint,
    recoveryOffset: endOffset,
    activeSinceMs: position > 0 ? checkpoint.activeSinceMs : 0,
    segments: isGone(cut) ? kept : [...kept, { baseOffset, sizeBytes: position, generation }],
    // The gaps stay known: until the end is gone a start may find it again, with what is missing in it.
    compaction: { ...checkpoint.compaction, cleanOffset: Math.min(checkpoint.compaction.cleanOffset, endOffset) },
  }
}

/** A log that begins, empty, at `offset`. In a directory that has nothing yet. */
export async function beginAt(parts: SegmentParts, directory: string, offset: number): Promise<void> {
  const checkpoint: Checkpoint = {
    logStartOffset: offset,
    recoveryOffset: offset,
    activeSinceMs: 0,
    segments: [],
    compaction: NEVER_COMPACTED,
  }
  await writeFileAtomic(parts.files, directory, CHECKPOINT_FILE, serializeCheckpoint(checkpoint))
}

/** Undefined when nothing reaches `offset`. */
async function findCut(parts: SegmentParts, directory: string, { segments }: Checkpoint, offset: number): Promise<Cut | undefined> {
  const mark = segments.findLast(({ baseOffset }, at) => baseOffset <= offset || at === 0)
  if (mark === undefined) return undefined
  const segment = new Segment(parts, directory, mark.baseOffset, mark.sizeBytes, mark.generation)
  let endOffset = Math.min(mark.baseOffset, offset)
  const { position, damage } = await segment.scan(
    { from: 0, to: mark.sizeBytes, firstOffset: mark.baseOffset, checkCrc: false },
    (batch) => {
      if (readLastOffset(batch) >= offset) return false
      endOffset = readLastOffset(batch) + 1
      return true
    },
  )
  if (damage !== undefined) throw new TidemarkError('CORRUPT_LOG', `${segment.path} at byte ${damage.position}: ${damage.what}`)
  const isWhole = position === mark.sizeBytes && mark === segments.at(-1)
  return isWhole ? undefined : { segment, position, endOffset }
}

/** The log begins with a gap and is cut within it: not even an empty segment stays. */
function isGone({ segment, endOffset }: Cut): boolean {
  return segment.baseOffset > endOffset
}

async function shorten({ segment, position }: Cut): Promise<void> {
  const lease = await segment.leaseLog()
  try {
    await lease.handle.truncate(position)
    await lease.handle.datasync()
  } finally {
    lease.release()
    segment.forgetFiles()
  }
}

async function removeSegment({ files }: SegmentParts, segment: Segment): Promise<void> {
  segment.forgetFiles()
  for (const suffix of SEGMENT_SUFFIXES.toReversed()) await files.remove(segment.pathOf(suffix))
}
