/**
 * Which refusals prove that nothing was written. Any other may have come after writing: a leader that is deposed, or whose topic is
 * deleted, answers what still waits with NOT_LEADER, LEADER_NOT_AVAILABLE or UNKNOWN_TOPIC_ID.
 */
import type { ErrorCode, TidemarkError } from '../../protocol/errors.ts'

const NOTHING_WRITTEN: ReadonlySet<ErrorCode> = new Set([
  'BUSY',
  'NOT_ENOUGH_REPLICAS',
  'FENCED_LEADER_EPOCH',
  'UNKNOWN_LEADER_EPOCH',
  'OUT_OF_ORDER_SEQUENCE',
  'INVALID_PRODUCER_EPOCH',
  'CORRUPT_BATCH',
  'UNKNOWN_TOPIC',
  'UNKNOWN_PARTITION',
  'RECORD_TOO_LARGE',
  'INVALID_TOPIC_NAME',
  'INVALID_ACKS',
  'INVALID_TIMESTAMP',
  'INVALID_REQUEST',
  'INVALID_RECORD',
  'UNSUPPORTED_COMPRESSION',
  'LIMIT_EXCEEDED',
  'UNSUPPORTED',
])

export function provesNothingWritten(error: TidemarkError): boolean {
  return NOTHING_WRITTEN.has(error.code)
}
