/** What a batch must be before a log takes it, and what of its header the log goes by. */
import {
  isChecksumRight,
  readBaseOffset,
  readBaseSequence,
  readLeaderEpoch,
  readProducerEpoch,
  readProducerId,
  readRecordCount,
  validateProducedBatch,
} from '../protocol/batch-header.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { TopicConfig } from '../protocol/topic-config.ts'
import type { ProducerBatch } from './producer-state.ts'

/** Throws `RECORD_TOO_LARGE`, or what is wrong with the batch itself. */
export function checkBatch(batch: Buffer, topic: string, config: TopicConfig, nowMs: number): void {
  const { maxMessageBytes, timestampAfterMaxMs, timestampType } = config
  if (batch.length > maxMessageBytes) {
    throw new TidemarkError(
      'RECORD_TOO_LARGE',
      `a batch of ${batch.length} bytes is larger than max.message.bytes of ${topic} (${maxMessageBytes})`,
      {
        outcome: 'failed',
      },
    )
  }
  const timestampMaxMs = timestampType === 'append' ? Number.POSITIVE_INFINITY : nowMs + timestampAfterMaxMs
  validateProducedBatch(batch, { timestampMaxMs })
}

/** Undefined for a producer without idempotence. */
export function producerOf(batch: Buffer): ProducerBatch | undefined {
  const producerId = readProducerId(batch)
  if (producerId < 0) return undefined
  return { producerId, epoch: readProducerEpoch(batch), baseSequence: readBaseSequence(batch), recordCount: readRecordCount(batch) }
}

/** Whether a batch that came from a leader follows on a log that ends at `endOffset` in `latestEpoch`. Throws `CORRUPT_BATCH`, `OFFSET_OUT_OF_RANGE`. */
export function checkFollows(
  batch: Buffer,
  where: string,
  endOffset: number,
  latestEpoch: number,
): { readonly baseOffset: number; readonly epoch: number } {
  // A flipped bit goes no further.
  if (!isChecksumRight(batch)) throw new TidemarkError('CORRUPT_BATCH', `a batch of ${where} came from its leader with a wrong checksum`)
  const baseOffset = readBaseOffset(batch)
  const epoch = readLeaderEpoch(batch)
  if (baseOffset === endOffset && epoch >= latestEpoch) return { baseOffset, epoch }
  throw new TidemarkError(
    'OFFSET_OUT_OF_RANGE',
    `${where} ends at offset ${endOffset} in epoch ${latestEpoch}, a batch of offset ${baseOffset} and epoch ${epoch} does not follow`,
  )
}
