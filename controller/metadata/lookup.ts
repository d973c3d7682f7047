/** What requests look for in an image. Pure. */
import { TidemarkError } from '../../protocol/errors.ts'
import type { MetadataImage, NodeMetadata, PartitionMetadata, TopicMetadata } from './image.ts'

/** The topic, an internal one too. Throws `UNKNOWN_TOPIC`. */
export function anyTopic(image: MetadataImage, name: string): TopicMetadata {
  const topic = image.topics.get(name)
  if (topic === undefined) throw new TidemarkError('UNKNOWN_TOPIC', `no topic named ${JSON.stringify(name)}`)
  return topic
}

/** Throws `UNKNOWN_PARTITION`. */
export function existingPartition(topic: TopicMetadata, partition: number): PartitionMetadata {
  const state = topic.partitions[partition]
  if (state === undefined)
    throw new TidemarkError('UNKNOWN_PARTITION', `topic ${topic.name} has ${topic.partitions.length} partitions, there is no ${partition}`)
  return state
}

/** The topic a request may work on. Throws `UNKNOWN_TOPIC`, or `INVALID_REQUEST` for an internal one. */
export function existingTopic(image: MetadataImage, name: string): TopicMetadata {
  const topic = anyTopic(image, name)
  if (topic.internal) throw new TidemarkError('INVALID_REQUEST', `topic ${name} is kept by tidemark itself and cannot be changed`)
  return topic
}

/** Replicas of each of its partitions, once all moves are over. */
export function replicaCount(topic: TopicMetadata): number {
  const [first] = topic.partitions
  return first === undefined ? 1 : targetReplicas(first).length
}

/** Where the partition has its replicas once the move under way is over, the preferred leader first. */
export function targetReplicas({ replicas, removingReplicas }: PartitionMetadata): number[] {
  return replicas.filter((nodeId) => !removingReplicas.includes(nodeId))
}

export function isMoving({ addingReplicas, removingReplicas }: PartitionMetadata): boolean {
  return addingReplicas.length > 0 || removingReplicas.length > 0
}

/** Throws `UNKNOWN_NODE`. */
export function existingNode(image: MetadataImage, nodeId: number): NodeMetadata {
  const node = image.nodes.get(nodeId)
  if (node === undefined) throw new TidemarkError('UNKNOWN_NODE', `node ${nodeId} is not registered`)
  return node
}

/** Nodes that may get replicas: alive, and to stay. */
export function brokersOf(image: MetadataImage): NodeMetadata[] {
  return [...image.nodes.values()].filter(
    ({ roles, fenced, shuttingDown, draining }) => roles.includes('broker') && !fenced && !shuttingDown && !draining,
  )
}
