/** The partitions of a consumer, in the order in which they take turns. */
import { TidemarkError } from '../../protocol/errors.ts'
import type { TopicPartition } from '../../protocol/ids.ts'
import type { PartitionFetch } from './partition-fetch.ts'

export class Turns {
  #partitions: PartitionFetch[] = []

  get all(): readonly PartitionFetch[] {
    return this.#partitions
  }

  add(partition: PartitionFetch): void {
    this.#partitions.push(partition)
  }

  remove(partition: PartitionFetch): void {
    this.#partitions = this.#partitions.filter((one) => one !== partition)
  }

  /** Whose turn it is, if any that is wanted has something; it goes to the end of the line. */
  next(isWanted: (partition: PartitionFetch) => boolean): PartitionFetch | undefined {
    const at = this.#partitions.findIndex((partition) => partition.buffered.length > 0 && !partition.isPaused && isWanted(partition))
    if (at < 0) return undefined
    const [partition] = this.#partitions.splice(at, 1)
    if (partition !== undefined) this.#partitions.push(partition)
    return partition
  }

  has(topic: string, partition: number): boolean {
    return this.#partitions.some((one) => one.topic === topic && one.partition === partition)
  }

  /** Throws `UNKNOWN_PARTITION`. */
  find({ topic, partition }: TopicPartition): PartitionFetch {
    const found = this.#partitions.find((one) => one.topic === topic && one.partition === partition)
    if (found === undefined) throw new TidemarkError('UNKNOWN_PARTITION', `this consumer does not read ${topic}-${partition}`)
    return found
  }

  /** All of them when none is named. Throws `UNKNOWN_PARTITION`. */
  select(partitions: readonly TopicPartition[] | undefined): readonly PartitionFetch[] {
    return partitions === undefined ? this.#partitions : partitions.map((one) => this.find(one))
  }
}
