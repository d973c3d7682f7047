/**
 * `checkpoint.json` of a partition: what recovery may start from.
 *
 * When it was written, everything below `recoveryOffset` was durable, and the segments had at least these sizes. All but the last are
 * sealed: their sizes are exact for ever. Replaced atomically; the producer snapshot of the same offset and the indexes are
 * durable before it.
 */
import { TidemarkError } from '../protocol/errors.ts'

export interface SegmentMark {
  readonly baseOffset: number
  readonly sizeBytes: number
}

export interface Checkpoint {
  /** Records below were deleted. */
  readonly logStartOffset: number
  readonly recoveryOffset: number
  /** When the first batch of the active segment was appended, wall clock; 0 while it is empty. */
  readonly activeSinceMs: number
  /** In order of offset; the last is active. */
  readonly segments: readonly SegmentMark[]
}

const VERSION = 1

export function serializeCheckpoint(checkpoint: Checkpoint): Buffer {
  const { logStartOffset, recoveryOffset, activeSinceMs } = checkpoint
  const segments = checkpoint.segments.map(({ baseOffset, sizeBytes }) => [baseOffset, sizeBytes])
  return Buffer.from(`${JSON.stringify({ version: VERSION, logStartOffset, recoveryOffset, activeSinceMs, segments })}\n`)
}

/** Throws `CORRUPT_LOG` when it is not what `serializeCheckpoint` writes. */
export function parseCheckpoint(content: Buffer, path: string): Checkpoint {
  const fields = parseObject(content)
  const { logStartOffset, recoveryOffset, activeSinceMs } = fields
  const segments = Array.isArray(fields.segments) ? fields.segments.map(parseMark) : [undefined]
  const isSound =
    fields.version === VERSION &&
    isCount(logStartOffset) &&
    isCount(recoveryOffset) &&
    isCount(activeSinceMs) &&
    segments.every(
      (mark, at) => mark !== undefined && mark.baseOffset > (segments[at - 1]?.baseOffset ?? -1) && mark.baseOffset <= recoveryOffset,
    )
  if (!isSound) {
    throw new TidemarkError(
      'CORRUPT_LOG',
      `${path} is damaged, or of another version. Put it back from a backup, or move it away: then the whole log is checked at the next start, deleted records may come back, and what follows a damaged batch is lost`,
    )
  }
  return { logStartOffset, recoveryOffset, activeSinceMs, segments: segments as SegmentMark[] }
}

function parseObject(content: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(content.toString('utf8'))
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}

function parseMark(value: unknown): SegmentMark | undefined {
  if (!Array.isArray(value) || value.length !== 2) return undefined
  const [baseOffset, sizeBytes] = value as unknown[]
  return isCount(baseOffset) && isCount(sizeBytes) ? { baseOffset, sizeBytes } : undefined
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
