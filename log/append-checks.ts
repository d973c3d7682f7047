/** What a batch must be before a log takes it, and what of its header the log goes by. */
import { readBaseSequence, readProducerEpoch, readProducerId, readRecordCount, validateProducedBatch } from '../protocol/batch-header.ts'
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
