/** Which partition a record goes to: the one it names, its key's, or the one whose batch is being filled. */
import { TidemarkError } from '../../protocol/errors.ts'
import { partitionForKey } from '../../protocol/partitioner.ts'
import type { Random } from '../../runtime/runtime.ts'
import type { TopicInfo } from '../cluster-client.ts'
import type { PartitionQueue } from './partition-queue.ts'
import type { EncodedRecord } from './record-encoding.ts'

/** The partition for records without a key, and the batch they fill. `order` -1: its first batch is yet to come. */
interface Sticky {
  partition: number
  order: number
}

export class PartitionChoice {
  readonly #random: Random
  readonly #queueOf: (topic: string, partition: number) => PartitionQueue
  readonly #sticky = new Map<string, Sticky>()

  constructor(random: Random, queueOf: (topic: string, partition: number) => PartitionQueue) {
    this.#random = random
    this.#queueOf = queueOf
  }

  /** Throws `UNKNOWN_PARTITION` for an explicit one that is not there. */
  choose(info: TopicInfo, record: EncodedRecord): PartitionQueue {
    if (record.partition !== undefined) {
      checkPartition(info, record.partition)
      return this.#queueOf(info.name, record.partition)
    }
    const count = info.partitions.length
    if (record.key !== null) return this.#queueOf(info.name, partitionForKey(info.partitioner, record.key, count))
    return this.#stickyQueue(info.name, count)
  }

  /** Records without a key fill one batch, then go on with the next partition. */
  #stickyQueue(topic: string, count: number): PartitionQueue {
    let sticky = this.#sticky.get(topic)
    if (sticky === undefined) {
      sticky = { partition: Math.floor(this.#random.float() * count), order: -1 }
      this.#sticky.set(topic, sticky)
    }
    let queue = this.#queueOf(topic, sticky.partition % count)
    if (sticky.order >= 0 && queue.open?.order !== sticky.order) {
      sticky.partition = (sticky.partition + 1) % count
      sticky.order = -1
      queue = this.#queueOf(topic, sticky.partition)
    }
    if (sticky.order < 0) sticky.order = queue.open?.order ?? queue.nextOrder
    return queue
  }
}

export function checkPartition(info: TopicInfo, partition: number): void {
  const count = info.partitions.length
  if (Number.isInteger(partition) && partition >= 0 && partition < count) return
  throw new TidemarkError('UNKNOWN_PARTITION', `topic ${info.name} has no partition ${partition}; it has ${count}`, { outcome: 'failed' })
}
