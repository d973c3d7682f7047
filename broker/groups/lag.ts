/** How far a group is behind in one partition: in records, and in time. Pure. */
import type { TidemarkError } from '../../protocol/errors.ts'
import type { StoredOffset } from './group-state.ts'
import type { PartitionKey } from './partition-keys.ts'

/** Of a log, as its leader told it. */
export interface LogPosition {
  readonly logStartOffset: number
  readonly highWatermark: number
  /** What else was looked up; undefined: nothing is there. */
  readonly found: { readonly offset: number; readonly timestampMs: number } | undefined
}

export interface PartitionLag {
  readonly lagRecords: number
  /** Age of the oldest record to be read; 0 at the end. */
  readonly lagMs: number
  /** For how long there was something to read and nothing happened; 0 at the end. */
  readonly noProgressMs: number
  readonly logStartOffset: number
  readonly highWatermark: number
}

/** An error where the leader could not be asked. */
export type GroupLag = ReadonlyMap<PartitionKey, PartitionLag | TidemarkError>

/**
 * `found`: the first record that is still to be read. Without an offset a group is taken to stand at the log start: what has begun and committed nothing
 * must not look as if it were done.
 */
export function lagOf(
  stored: StoredOffset | undefined,
  { logStartOffset, highWatermark, found }: LogPosition,
  nowMs: number,
): PartitionLag {
  const from = Math.max(stored?.offset ?? 0, logStartOffset)
  const lagRecords = Math.max(0, highWatermark - from)
  const oldestMs = lagRecords > 0 ? (found?.timestampMs ?? nowMs) : nowMs
  return {
    lagRecords,
    // Clocks of producers may be ahead.
    lagMs: Math.max(0, nowMs - oldestMs),
    noProgressMs: lagRecords > 0 ? Math.max(0, nowMs - Math.max(oldestMs, stored?.progressTimeMs ?? 0)) : 0,
    logStartOffset,
    highWatermark,
  }
}
