/** A topic in the making while records are applied: copies its partitions once, reads its settings once, however many records there are. */
import type { PartitionRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { DEFAULT_TOPIC_CONFIG, parseTopicConfig } from '../../protocol/topic-config.ts'
import { invariant } from '../../runtime/invariant.ts'
import type { PartitionMetadata, TopicMetadata } from './image.ts'

export class TopicDraft {
  readonly #base: TopicMetadata
  #partitions: PartitionMetadata[] | undefined
  #configs: Map<string, string> | undefined
  readonly changedPartitions = new Set<number>()

  private constructor(base: TopicMetadata) {
    this.#base = base
  }

  static of(topic: TopicMetadata): TopicDraft {
    return new TopicDraft(topic)
  }

  static create(identity: Pick<TopicMetadata, 'name' | 'topicId' | 'internal'>): TopicDraft {
    const { name, topicId, internal } = identity
    return new TopicDraft({ name, topicId, internal, configs: {}, config: DEFAULT_TOPIC_CONFIG, partitions: [] })
  }

  get name(): string {
    return this.#base.name
  }

  get topicId(): string {
    return this.#base.topicId
  }

  setPartition(record: PartitionRecord): void {
    this.#partitions ??= [...this.#base.partitions]
    const { partition } = record
    const where = `partition ${partition} of ${this.name}`
    invariant(partition >= 0 && partition <= this.#partitions.length, `${where}: partitions are made in order`)
    checkPartition(record, this.#partitions[partition], where)
    const { topicId: _topicId, partition: _partition, ...state } = record
    this.#partitions[partition] = state
    this.changedPartitions.add(partition)
  }

  setConfig(key: string, value: string | undefined): void {
    this.#configs ??= new Map(Object.entries(this.#base.configs))
    if (value === undefined) this.#configs.delete(key)
    else this.#configs.set(key, value)
  }

  /** Throws `INVALID_CONFIG` when a setting is not one this version knows. */
  finish(): TopicMetadata {
    const configs = this.#configs === undefined ? this.#base.configs : Object.fromEntries(this.#configs)
    const config = this.#configs === undefined ? this.#base.config : parseTopicConfig(configs)
    return { ...this.#base, configs, config, partitions: this.#partitions ?? this.#base.partitions }
  }
}

function checkPartition(record: PartitionRecord, before: PartitionMetadata | undefined, where: string): void {
  const { replicas, isr, leader, leaderEpoch, partitionEpoch } = record
  invariant(replicas.length > 0, `${where} has a replica`)
  invariant(new Set(replicas).size === replicas.length, `${where} has each replica once`)
  invariant(new Set(isr).size === isr.length, `${where} has each replica in the ISR once`)
  invariant(
    isr.every((nodeId) => replicas.includes(nodeId)),
    `${where}: the ISR are replicas`,
  )
  invariant(leader === -1 || replicas.includes(leader), `${where}: the leader is a replica`)
  invariant(leaderEpoch >= (before?.leaderEpoch ?? 0), `${where}: leader epochs do not go back`)
  invariant(partitionEpoch > (before?.partitionEpoch ?? -1), `${where}: every change has a partition epoch of its own`)
}
