/** Which refusals prove that nothing was written. Any other may have come after writing. */
import { type ErrorCode, TidemarkError } from '../../protocol/errors.ts'
import type { OutBatch } from './partition-queue.ts'

const NOTHING_WRITTEN: ReadonlySet<ErrorCode> = new Set([
  'BUSY',
  'NOT_ENOUGH_REPLICAS',
  'LEADER_NOT_AVAILABLE',
  'UNKNOWN_TOPIC_ID',
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

/** Why a batch was given up: with what stood in its way last. */
export function deliveryTimedOut({ topic, partition, lastError }: OutBatch, timeoutMs: number): TidemarkError {
  const reason = lastError === undefined ? '' : `; last: ${lastError.message}`
  return new TidemarkError('DELIVERY_TIMED_OUT', `${topic}-${partition} did not acknowledge within ${timeoutMs} ms${reason}`, {
    cause: lastError,
  })
}
