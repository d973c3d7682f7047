/**
 * Looks for damage that nobody has met yet: reads what is on disk of a log, a part at a time, and compares checksums, offsets and epochs.
 *
 * Only what is durable is looked at, in the active segment too. What the kernel has in memory it gives from there: a flipped bit
 * on the disk is found once the page has gone, which of old records it has.
 */
import { readBaseOffset, readLastOffset, readLeaderEpoch } from '../protocol/batch-header.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { Damage } from './batch-walk.ts'
import type { LeaderEpochs } from './leader-epochs.ts'
import type { Segment } from './segment.ts'
import { follows } from './batch-walk.ts'

/** Where in a log to go on. */
export interface ScrubPlace {
  /** Of the segment. */
  readonly baseOffset: number
  readonly generation: number
  readonly position: number
  /** The offset that comes next. */
  readonly nextOffset: number
}

export interface ScrubStep {
  readonly bytes: number
  /** Undefined: the log has no more, or its rest is not worth looking at. */
  readonly next: ScrubPlace | undefined
  readonly isDamaged: boolean
}

/** A log as it is looked at. */
export interface Scrubbed {
  readonly log: {
    readonly compactor: { readonly sparseBelow: number }
    readonly leaderEpochs: LeaderEpochs
    readonly flushedOffset: number
    damaged(error: TidemarkError): void
  }
  /** In order of offset, as they are now. */
  readonly segments: readonly Segment[]
}

export const SCRUB_BEGIN: ScrubPlace = { baseOffset: -1, generation: 0, position: 0, nextOffset: 0 }

/** Looks at about `maxBytes`, in one segment. */
export async function scrubStep({ log, segments }: Scrubbed, place: ScrubPlace, maxBytes: number): Promise<ScrubStep> {
  // The segment may have been deleted since: then the one that follows. Or compacted: then it is looked at from its start.
  const segment = segments.find(({ baseOffset }) => baseOffset >= place.baseOffset)
  if (segment === undefined) return { bytes: 0, next: undefined, isDamaged: false }
  const isSame = segment.baseOffset === place.baseOffset && segment.generation === place.generation
  const from = isSame ? place.position : 0
  let nextOffset = isSame ? place.nextOffset : segment.baseOffset
  const end = await scanSegment(segment, { from, nextOffset, maxBytes, log }, (offset) => {
    nextOffset = offset
  })
  const bytes = end.position - from
  // Of a file that was replaced or cut meanwhile nothing can be said.
  const isThere = segments.includes(segment) && nextOffset < log.flushedOffset
  if (end.damage !== undefined && isThere) {
    log.damaged(new TidemarkError('CORRUPT_LOG', `${segment.path} at byte ${end.damage.position}: ${end.damage.what}`))
    return { bytes, next: undefined, isDamaged: true }
  }
  const isDone = end.damage !== undefined || end.position >= segment.sizeBytes || nextOffset >= log.flushedOffset
  const next = isDone ? placeAfter(segments, segment) : { ...placeOf(segment), position: end.position, nextOffset }
  return { bytes, next, isDamaged: false }
}

interface Part {
  readonly from: number
  readonly nextOffset: number
  readonly maxBytes: number
  readonly log: Scrubbed['log']
}

async function scanSegment(
  segment: Segment,
  { from, nextOffset, maxBytes, log }: Part,
  reached: (nextOffset: number) => void,
): Promise<{ readonly position: number; readonly damage: Damage | undefined }> {
  let wrong: Damage | undefined
  let expected = nextOffset
  const end = await segment.scan({ from, to: segment.sizeBytes, firstOffset: nextOffset, checkCrc: true, maxBytes }, (batch, position) => {
    const baseOffset = readBaseOffset(batch)
    const lastOffset = readLastOffset(batch)
    if (lastOffset >= log.flushedOffset) return false
    const epoch = readLeaderEpoch(batch)
    const known = log.leaderEpochs.at(lastOffset).epoch
    if (!follows(baseOffset, expected, log.compactor.sparseBelow))
      wrong = { position, what: `offset ${baseOffset} where ${expected} is expected` }
    else if (known >= 0 && epoch !== known) wrong = { position, what: `leader epoch ${epoch} instead of ${known}` }
    if (wrong !== undefined) return false
    expected = lastOffset + 1
    reached(expected)
    return true
  })
  return { position: end.position, damage: wrong ?? end.damage }
}

function placeAfter(segments: readonly Segment[], { baseOffset }: Segment): ScrubPlace | undefined {
  const next = segments.find((other) => other.baseOffset > baseOffset)
  return next && placeOf(next)
}

function placeOf({ baseOffset, generation }: Segment): ScrubPlace {
  return { baseOffset, generation, position: 0, nextOffset: baseOffset }
}
