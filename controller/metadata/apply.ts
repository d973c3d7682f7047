/**
 * Records to image. Deterministic and free of I/O: every node that applies the same records
 * gets the same image. A record that is not known, or that contradicts the image, stops the node: going on would mean
 * to disagree with the others.
 */
import type { MetadataBatch, MetadataRecord, PartitionRecord, TopicConfigRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { DEFAULT_TOPIC_CONFIG, parseTopicConfig } from '../../protocol/topic-config.ts'
import { invariant } from '../../runtime/invariant.ts'
import type { MetadataDelta, MetadataImage, NodeMetadata, PartitionMetadata, TopicMetadata } from './image.ts'

/** The image after `batch`, which lies at `offset` of the metadata log. */
export function applyBatch(image: MetadataImage, offset: number, batch: MetadataBatch): { readonly image: MetadataImage; readonly delta: MetadataDelta } {
  invariant(offset === image.version, `metadata is applied in order: ${image.version} is next, not ${offset}`)
  const draft = new Draft(image)
  for (const record of batch.records) draft.apply(record)
  return draft.finish(offset + 1)
}

/** An image in the making: copies a map when it is first changed. */
class Draft {
  readonly #base: MetadataImage
  #clusterId: string
  #featureLevel: number
  #nextProducerId: number
  #nodes: Map<number, NodeMetadata> | undefined
  #topics: Map<string, TopicMetadata> | undefined
  #names: Map<string, string> | undefined
  readonly #changed = new Set<string>()
  readonly #removed: TopicMetadata[] = []

  constructor(base: MetadataImage) {
    this.#base = base
    this.#clusterId = base.clusterId
    this.#featureLevel = base.featureLevel
    this.#nextProducerId = base.nextProducerId
  }

  apply(record: MetadataRecord): void {
    const { record: one } = record
    invariant(one !== undefined, 'a metadata record of an unknown kind: this node is too old for the cluster')
    switch (one.$case) {
      case 'cluster':
        invariant(this.#clusterId === '', 'a cluster is named once')
        this.#clusterId = one.value.clusterId
        this.#featureLevel = one.value.featureLevel
        return
      case 'registerNode':
        this.#nodes ??= new Map(this.#base.nodes)
        this.#nodes.set(one.value.nodeId, { ...one.value })
        return
      case 'topic': {
        const { name, topicId, internal } = one.value
        invariant(!this.#currentTopics().has(name), `topic ${name} is created once`)
        this.#setTopic({ name, topicId, internal, configs: {}, config: DEFAULT_TOPIC_CONFIG, partitions: [] })
        return
      }
      case 'partition':
        this.#applyPartition(one.value)
        return
      case 'topicConfig':
        this.#applyTopicConfig(one.value)
        return
      case 'removeTopic': {
        const topic = this.#topicOfId(one.value.topicId)
        this.#writableTopics().delete(topic.name)
        this.#writableNames().delete(topic.topicId)
        this.#changed.delete(topic.name)
        this.#removed.push(topic)
        return
      }
      case 'producerIdBlock':
        invariant(one.value.nextProducerId > this.#nextProducerId, 'producer ids only grow')
        this.#nextProducerId = one.value.nextProducerId
        return
      default:
        invariant(false, `a metadata record of an unknown kind: this node is too old for the cluster`)
    }
  }

  finish(version: number): { image: MetadataImage; delta: MetadataDelta } {
    const topics = this.#topics ?? this.#base.topics
    const image = {
      version,
      clusterId: this.#clusterId,
      featureLevel: this.#featureLevel,
      nodes: this.#nodes ?? this.#base.nodes,
      topics,
      topicNamesById: this.#names ?? this.#base.topicNamesById,
      nextProducerId: this.#nextProducerId,
    }
    const changedTopics = [...this.#changed].map((name) => topics.get(name)).filter((topic) => topic !== undefined)
    return { image, delta: { changedTopics, removedTopics: this.#removed } }
  }

  #applyPartition(record: PartitionRecord): void {
    const topic = this.#topicOfId(record.topicId)
    invariant(record.partition <= topic.partitions.length, `partitions of ${topic.name} are made in order`)
    const partition: PartitionMetadata = {
      replicas: record.replicas,
      isr: record.isr,
      leader: record.leader,
      leaderEpoch: record.leaderEpoch,
      partitionEpoch: record.partitionEpoch,
    }
    this.#setTopic({ ...topic, partitions: topic.partitions.toSpliced(record.partition, 1, partition) })
  }

  #applyTopicConfig(record: TopicConfigRecord): void {
    const topic = this.#topicOfId(record.topicId)
    const { [record.key]: _old, ...others } = topic.configs
    const configs = record.value === undefined ? others : { ...others, [record.key]: record.value }
    this.#setTopic({ ...topic, configs, config: parseTopicConfig(configs) })
  }

  #topicOfId(topicId: string): TopicMetadata {
    const name = (this.#names ?? this.#base.topicNamesById).get(topicId)
    const topic = name === undefined ? undefined : this.#currentTopics().get(name)
    invariant(topic !== undefined, `a record names the unknown topic id ${topicId}`)
    return topic
  }

  #setTopic(topic: TopicMetadata): void {
    this.#writableTopics().set(topic.name, topic)
    this.#writableNames().set(topic.topicId, topic.name)
    this.#changed.add(topic.name)
  }

  #currentTopics(): ReadonlyMap<string, TopicMetadata> {
    return this.#topics ?? this.#base.topics
  }

  #writableTopics(): Map<string, TopicMetadata> {
    this.#topics ??= new Map(this.#base.topics)
    return this.#topics
  }

  #writableNames(): Map<string, string> {
    this.#names ??= new Map(this.#base.topicNamesById)
    return this.#names
  }
}
