/**
 * Records to image. Deterministic and free of I/O: every node that applies the same records
 * gets the same image. A record that is not known, or that contradicts the image, stops the node: going on would mean
 * to disagree with the others.
 *
 * What a batch costs depends on the topics it names (their partitions are copied as references), not on how many there are.
 */
import type {
  MetadataBatch,
  MetadataRecord,
  NodeStateRecord,
  PartitionRecord,
  ProducerIdBlockRecord,
  RegisterNodeRecord,
  RemoveTopicRecord,
  TopicRecord,
} from '../../protocol/gen/tidemark/v1/metadata.ts'
import { invariant, unreachable } from '../../runtime/invariant.ts'
import type { MetadataDelta, MetadataImage, NodeMetadata, TopicMetadata } from './image.ts'
import { TopicDraft } from './topic-draft.ts'

export interface Applied {
  readonly image: MetadataImage
  readonly delta: MetadataDelta
}

/** The image after `batch`, which lies at `offset` of the metadata log. */
export function applyBatch(image: MetadataImage, offset: number, batch: MetadataBatch): Applied {
  return applyBatches(image, offset, [batch])
}

/** The image after all of `batches`, the first of which lies at `offset`: the same as one after the other, for the price of one. */
export function applyBatches(image: MetadataImage, offset: number, batches: readonly MetadataBatch[]): Applied {
  invariant(offset === image.version, `metadata is applied in order: ${image.version} is next, not ${offset}`)
  const draft = new ImageDraft(image)
  for (const { records } of batches) {
    for (const record of records) draft.apply(record)
  }
  return draft.finish(offset + batches.length)
}

/** An image in the making: copies what it changes, once. */
class ImageDraft {
  readonly #base: MetadataImage
  #clusterId: string
  #featureLevel: number
  #nextProducerId: number
  #nodes: Map<number, NodeMetadata> | undefined
  readonly #changedNodes = new Set<number>()
  /** Names by topic id where they differ from the base; undefined: gone. */
  readonly #names = new Map<string, string | undefined>()
  /** Topics created or changed, by name. */
  readonly #topics = new Map<string, TopicDraft>()
  /** Topics of the base that are gone, by name. */
  readonly #removed = new Map<string, TopicMetadata>()

  constructor(base: MetadataImage) {
    this.#base = base
    this.#clusterId = base.clusterId
    this.#featureLevel = base.featureLevel
    this.#nextProducerId = base.nextProducerId
  }

  apply({ record }: MetadataRecord): void {
    invariant(record !== undefined, 'every metadata record is of a kind this version knows; a newer version wrote this one')
    switch (record.$case) {
      case 'cluster':
        invariant(this.#clusterId === '', 'a cluster is named once')
        this.#clusterId = record.value.clusterId
        this.#featureLevel = record.value.featureLevel
        return
      case 'registerNode':
        return this.#registerNode(record.value)
      case 'nodeState':
        return this.#setNodeState(record.value)
      case 'removeNode':
        return this.#removeNode(record.value.nodeId)
      case 'topic':
        return this.#createTopic(record.value)
      case 'partition':
        return this.#setPartition(record.value)
      case 'topicConfig':
        return this.#topicOfId(record.value.topicId).setConfig(record.value.key, record.value.value)
      case 'removeTopic':
        return this.#removeTopic(record.value)
      case 'producerIdBlock':
        return this.#takeProducerIds(record.value)
      default:
        unreachable(record)
    }
  }

  finish(version: number): Applied {
    const changed = [...this.#topics.values()].map((draft) => ({ draft, topic: draft.finish() }))
    const changedTopics = changed.map(({ topic }) => topic)
    const createdTopics = changedTopics.filter(({ topicId }) => !this.#base.topicNamesById.has(topicId))
    const removedTopics = [...this.#removed.values()]
    const nodes = this.#nodes ?? this.#base.nodes
    const image = {
      version,
      clusterId: this.#clusterId,
      featureLevel: this.#featureLevel,
      nodes,
      topics: this.#base.topics.with(
        this.#removed.keys(),
        changedTopics.map((topic) => [topic.name, topic]),
      ),
      topicNamesById: this.#base.topicNamesById.with(
        removedTopics.map(({ topicId }) => topicId),
        createdTopics.map(({ topicId, name }) => [topicId, name]),
      ),
      partitionCount:
        this.#base.partitionCount + partitionsOf(changedTopics) - partitionsOf(this.#replaced(changedTopics)) - partitionsOf(removedTopics),
      nextProducerId: this.#nextProducerId,
    }
    const changedPartitions = changed.flatMap(({ draft, topic }) => [...draft.changedPartitions].map((partition) => ({ topic, partition })))
    const changedNodes = [...this.#changedNodes].flatMap((nodeId) => nodes.get(nodeId) ?? [])
    const removedNodes = [...this.#changedNodes].filter((nodeId) => !nodes.has(nodeId))
    return { image, delta: { changedTopics, createdTopics, removedTopics, changedPartitions, changedNodes, removedNodes } }
  }

  /** Those of `topics` that the base has, as it has them. */
  #replaced(topics: readonly TopicMetadata[]): TopicMetadata[] {
    return topics.flatMap(({ name, topicId }) => {
      const before = this.#base.topics.get(name)
      return before?.topicId === topicId ? [before] : []
    })
  }

  #registerNode(record: RegisterNodeRecord): void {
    const before = this.#nodesNow().get(record.nodeId)
    invariant(record.nodeEpoch > (before?.nodeEpoch ?? 0), `node ${record.nodeId} comes with a larger node epoch than it had`)
    this.#setNode({ ...record, fenced: true, shuttingDown: false, draining: before?.draining ?? false })
  }

  #setNodeState({ nodeId, nodeEpoch, fenced, shuttingDown, draining }: NodeStateRecord): void {
    const before = this.#nodesNow().get(nodeId)
    invariant(before?.nodeEpoch === nodeEpoch, `node ${nodeId} is registered with the node epoch ${nodeEpoch}`)
    this.#setNode({ ...before, fenced, shuttingDown, draining })
  }

  #removeNode(nodeId: number): void {
    this.#nodes = new Map(this.#nodesNow())
    invariant(this.#nodes.delete(nodeId), `a node that is removed, node ${nodeId}, was there`)
    this.#changedNodes.add(nodeId)
  }

  #nodesNow(): ReadonlyMap<number, NodeMetadata> {
    return this.#nodes ?? this.#base.nodes
  }

  #setNode(node: NodeMetadata): void {
    this.#nodes ??= new Map(this.#base.nodes)
    this.#nodes.set(node.nodeId, node)
    this.#changedNodes.add(node.nodeId)
  }

  #createTopic(record: TopicRecord): void {
    const { name, topicId } = record
    const exists = this.#topics.has(name) || (this.#base.topics.has(name) && !this.#removed.has(name))
    invariant(!exists, `topic ${name} is created once`)
    invariant(!this.#names.has(topicId) && !this.#base.topicNamesById.has(topicId), `topic id ${topicId} is given once`)
    this.#names.set(topicId, name)
    this.#topics.set(name, TopicDraft.create(record))
  }

  #setPartition(record: PartitionRecord): void {
    const nodes = this.#nodesNow()
    for (const nodeId of record.replicas) invariant(nodes.has(nodeId), `replicas are on nodes of the cluster, node ${nodeId} is none`)
    this.#topicOfId(record.topicId).setPartition(record)
  }

  #removeTopic({ topicId }: RemoveTopicRecord): void {
    const { name } = this.#topicOfId(topicId)
    const before = this.#base.topics.get(name)
    if (before?.topicId === topicId) this.#removed.set(name, before)
    this.#topics.delete(name)
    this.#names.set(topicId, undefined)
  }

  #takeProducerIds({ firstProducerId, nextProducerId }: ProducerIdBlockRecord): void {
    invariant(
      firstProducerId === this.#nextProducerId,
      `producer ids follow on each other: ${this.#nextProducerId} is next, not ${firstProducerId}`,
    )
    invariant(nextProducerId > firstProducerId, 'a block of producer ids is not empty')
    this.#nextProducerId = nextProducerId
  }

  #topicOfId(topicId: string): TopicDraft {
    const name = this.#names.has(topicId) ? this.#names.get(topicId) : this.#base.topicNamesById.get(topicId)
    invariant(name !== undefined, `records name topics that exist, topic id ${topicId} does not`)
    const present = this.#topics.get(name)
    if (present !== undefined) return present
    const base = this.#base.topics.get(name)
    invariant(base?.topicId === topicId, `topic ${name} has the id ${topicId}`)
    const draft = TopicDraft.of(base)
    this.#topics.set(name, draft)
    return draft
  }
}

function partitionsOf(topics: readonly TopicMetadata[]): number {
  return topics.reduce((sum, { partitions }) => sum + partitions.length, 0)
}
