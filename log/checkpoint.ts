/**
 * `checkpoint.json` of a partition: what recovery may start from.
 *
 * When it was written, everything below `recoveryOffset` was durable, and the segments had at least these sizes. All but the last are
 * sealed: their sizes are exact for ever. Replaced atomically; the producer snapshot of the same offset and the indexes are
 * durable before it. A bit that flips in one of its numbers would have recovery cut off what was acknowledged: it has a checksum, as
 * every `jsonFile`.
 */
import { TidemarkError } from '../protocol/errors.ts'
import { jsonFile, parseJsonFile, whyUnreadable } from './data-dir-files.ts'
import type { SegmentId } from './file-names.ts'

export interface SegmentMark extends SegmentId {
  readonly sizeBytes: number
}

/** What compaction has made of the log. */
export interface CompactionState {
  /** Of the records below, only the newest of each key is left. */
  readonly cleanOffset: number
  /** Below, offsets may be missing; from here on there is no gap. */
  readonly sparseBelow: number
  /** When every record without a value that is left below `cleanOffset` may go, wall clock; 0: there is none. */
  readonly tombstonesUntilMs: number
}

export const NEVER_COMPACTED: CompactionState = { cleanOffset: 0, sparseBelow: 0, tombstonesUntilMs: 0 }

export interface Checkpoint {
  /** Records below were deleted. */
  readonly logStartOffset: number
  readonly recoveryOffset: number
  /** When the first batch of the active segment was appended, wall clock; 0 while it is empty. */
  readonly activeSinceMs: number
  /** In order of offset; the last is active. */
  readonly segments: readonly SegmentMark[]
  readonly compaction: CompactionState
}

export function serializeCheckpoint({ logStartOffset, recoveryOffset, activeSinceMs, ...rest }: Checkpoint): Buffer {
  const segments = rest.segments.map(({ baseOffset, sizeBytes, generation }) =>
    generation === 0 ? [baseOffset, sizeBytes] : [baseOffset, sizeBytes, generation],
  )
  // Only where there is something to say: on a full disk a checkpoint must be small.
  const compaction = Object.values(rest.compaction).some((value) => value !== 0) ? rest.compaction : undefined
  return jsonFile({ logStartOffset, recoveryOffset, activeSinceMs, segments, compaction })
}

/** Throws `CORRUPT_LOG` when it is not what `serializeCheckpoint` writes. */
export function parseCheckpoint(content: Buffer, path: string): Checkpoint {
  const fields = parseJsonFile(content) ?? {}
  const { logStartOffset, recoveryOffset, activeSinceMs } = fields
  const segments = Array.isArray(fields.segments) ? fields.segments.map(parseMark) : [undefined]
  const compaction = parseCompaction(fields.compaction ?? NEVER_COMPACTED)
  const isSound =
    compaction !== undefined &&
    isCount(logStartOffset) &&
    isCount(recoveryOffset) &&
    isCount(activeSinceMs) &&
    segments.every(
      (mark, at) => mark !== undefined && mark.baseOffset > (segments[at - 1]?.baseOffset ?? -1) && mark.baseOffset <= recoveryOffset,
    )
  if (!isSound) {
    throw new TidemarkError(
      'CORRUPT_LOG',
      `${path} ${whyUnreadable(content)}. Put it back from a backup, or move it away: then the whole log is checked at the next start, deleted records may come back, and what follows a damaged batch is lost`,
    )
  }
  return { logStartOffset, recoveryOffset, activeSinceMs, segments: segments as SegmentMark[], compaction }
}

function parseMark(value: unknown): SegmentMark | undefined {
  if (!Array.isArray(value) || value.length < 2 || value.length > 3) return undefined
  const [baseOffset, sizeBytes, generation = 0] = value as unknown[]
  return isCount(baseOffset) && isCount(sizeBytes) && isCount(generation) ? { baseOffset, sizeBytes, generation } : undefined
}

function parseCompaction(value: unknown): CompactionState | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { cleanOffset, sparseBelow, tombstonesUntilMs } = value as Record<string, unknown>
  return isCount(cleanOffset) && isCount(sparseBelow) && isCount(tombstonesUntilMs)
    ? { cleanOffset, sparseBelow, tombstonesUntilMs }
    : undefined
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
