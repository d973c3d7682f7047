/** What the durability of a topic makes of the offsets of a replica. */
import type { PartitionLog } from '../log/partition-log.ts'
import type { TopicConfig } from '../protocol/topic-config.ts'

/** Up to where this node alone has records as durable as the topic asks. */
export function durableOffset(log: Pick<PartitionLog, 'flushedOffset' | 'writtenOffset' | 'logEndOffset'>, config: TopicConfig): number {
  if (countsFlushed(config)) return log.flushedOffset
  return config.durability === 'replicated' ? log.writtenOffset : log.logEndOffset
}

/** Of a follower counts what it has on disk, and not what it has merely written. */
export function countsFlushed({ durability }: TopicConfig): boolean {
  return durability === 'fsync'
}
