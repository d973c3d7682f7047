/** What the delivery of batches tells the producer. */
import type { TidemarkError } from '../../protocol/errors.ts'
import type { OutBatch, PartitionQueue } from './partition-queue.ts'

export interface DeliveryEvents {
  /** The batch's records have been told what became of them; its room in the buffer is free. */
  settled(queue: PartitionQueue, batch: OutBatch): void
  /** Records were lost of which nobody waits to hear. */
  lost(error: TidemarkError, batch: OutBatch, recordCount: number): void
}
