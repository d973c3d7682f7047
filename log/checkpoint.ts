/**
 * `checkpoint.json` of a partition: what recovery may start from.
 *
 * Everything below `recoveryOffset` was durable when it was written, and the active segment's file was at least
 * `recoveryPosition` bytes long. Replaced atomically.
 */
import { TidemarkError } from '../protocol/errors.ts'

export interface Checkpoint {
  /** Records below were deleted. */
  readonly logStartOffset: number
  readonly recoveryOffset: number
  /** Base offset of the segment that was active. */
  readonly segmentBase: number
  readonly recoveryPosition: number
}

const VERSION = 1

export function serializeCheckpoint(checkpoint: Checkpoint): Buffer {
  return Buffer.from(`${JSON.stringify({ version: VERSION, ...checkpoint })}\n`)
}

/** Throws `CORRUPT_LOG` when it is not what `serializeCheckpoint` writes. */
export function parseCheckpoint(content: Buffer, path: string): Checkpoint {
  let fields: Record<string, unknown>
  try {
    fields = JSON.parse(content.toString('utf8')) as Record<string, unknown>
  } catch (error) {
    throw new TidemarkError('CORRUPT_LOG', `${path} is damaged`, { cause: error })
  }
  const { version, logStartOffset, recoveryOffset, segmentBase, recoveryPosition } = fields ?? {}
  const numbers = [logStartOffset, recoveryOffset, segmentBase, recoveryPosition]
  if (version !== VERSION || !numbers.every((value) => Number.isSafeInteger(value) && (value as number) >= 0)) {
    throw new TidemarkError('CORRUPT_LOG', `${path} is damaged, or of another version`)
  }
  const [start, recovery, base, position] = numbers as [number, number, number, number]
  return { logStartOffset: start, recoveryOffset: recovery, segmentBase: base, recoveryPosition: position }
}
