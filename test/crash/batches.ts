/** Batches as producers send them. */
import { BatchBuilder } from '../../protocol/batch-builder.ts'
import { bytesOf } from '../log/compaction-support.ts'
import type { WrittenRecord } from './expected.ts'

export function encode(
  records: readonly WrittenRecord[],
  producer?: { readonly producerId: number; readonly baseSequence: number },
): Buffer {
  const builder = new BatchBuilder()
  for (const { key, value, timestampMs } of records) builder.append(bytesOf(key), bytesOf(value), timestampMs)
  return Buffer.from(builder.buildSync('none', producer && { id: producer.producerId, epoch: 0, baseSequence: producer.baseSequence }))
}
