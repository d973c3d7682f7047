/**
 * Whether a log is what its checkpoint says. That has a checksum, but may have been written by hand, or come from another backup than the rest. A log that takes it
 * at its word is cut where it is whole, goes on behind a hole, or is told by its leader for ever where the two part and finds nothing there to cut.
 *
 * Only the two ends are looked at, a few KiB behind the last entry of the offset index. Damage in between is found by who reads there.
 */
import { readLastOffset } from '../protocol/batch-header.ts'
import { readSmallFile } from '../runtime/atomic-file.ts'
import type { Checkpoint } from './checkpoint.ts'
import { OFFSET_INDEX_SUFFIX } from './file-names.ts'
import { OffsetIndex } from './offset-index.ts'
import { RELATIVE_OFFSET_MAX, Segment, type SegmentParts } from './segment.ts'
import { follows } from './batch-walk.ts'
import { damaged } from './segment-files.ts'

/** Throws `CORRUPT_LOG` when the log does not begin where the checkpoint says: seen without reading anything. */
export function checkBegin(directory: string, { logStartOffset, recoveryOffset, segments, compaction }: Checkpoint): void {
  const first = segments[0]?.baseOffset ?? recoveryOffset
  if (first > logStartOffset && !follows(first, logStartOffset, compaction.sparseBelow))
    throw damaged(`${directory} begins with offset ${first}, its checkpoint says ${logStartOffset}`)
}

/** Throws `CORRUPT_LOG` when what was durable does not end where the checkpoint says. */
export async function checkEnd(parts: SegmentParts, directory: string, { recoveryOffset, segments }: Checkpoint): Promise<void> {
  const mark = segments.at(-1)
  if (mark === undefined) return
  const { baseOffset, sizeBytes, generation } = mark
  const segment = new Segment(parts, directory, baseOffset, sizeBytes, generation)
  const end = sizeBytes === 0 ? baseOffset : await endOf(parts, segment)
  if (end !== recoveryOffset)
    throw damaged(`${segment.path} ends after ${sizeBytes} bytes at offset ${end ?? '(none)'}, its checkpoint says ${recoveryOffset}`)
}

/** The offset behind its last batch; undefined when none ends where it does. */
async function endOf({ files }: SegmentParts, segment: Segment): Promise<number | undefined> {
  const content = await readSmallFile(files, segment.pathOf(OFFSET_INDEX_SUFFIX))
  const from = (content && OffsetIndex.parse(content, segment.sizeBytes))?.lookup(RELATIVE_OFFSET_MAX) ?? 0
  // An index may be wrong: then the log itself decides.
  return (await walk(segment, from)) ?? (from > 0 ? walk(segment, 0) : undefined)
}

async function walk(segment: Segment, from: number): Promise<number | undefined> {
  const { baseOffset: firstOffset, sizeBytes: to } = segment
  let end: number | undefined
  const { damage } = await segment.scan({ from, to, firstOffset, checkCrc: false }, (batch) => {
    end = readLastOffset(batch) + 1
    return true
  })
  return damage === undefined ? end : undefined
}
