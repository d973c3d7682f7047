/** What requests look for in an image. Pure. */
import { TidemarkError } from '../../protocol/errors.ts'
import type { MetadataImage, NodeMetadata, TopicMetadata } from './image.ts'

/** The topic a request may work on. Throws `UNKNOWN_TOPIC`, or `INVALID_REQUEST` for an internal one. */
export function existingTopic(image: MetadataImage, name: string): TopicMetadata {
  const topic = image.topics.get(name)
  if (topic === undefined) throw new TidemarkError('UNKNOWN_TOPIC', `no topic named ${JSON.stringify(name)}`)
  if (topic.internal) throw new TidemarkError('INVALID_REQUEST', `topic ${name} is kept by tidemark itself and cannot be changed`)
  return topic
}

/** Replicas of each of its partitions. */
export function replicaCount(topic: TopicMetadata): number {
  return topic.partitions[0]?.replicas.length ?? 1
}

/** Throws `INVALID_REQUEST` when there is no such node. */
export function existingNode(image: MetadataImage, nodeId: number): NodeMetadata {
  const node = image.nodes.get(nodeId)
  if (node === undefined) throw new TidemarkError('INVALID_REQUEST', `node ${nodeId} is not registered`)
  return node
}

/** Nodes that may get replicas: alive, and to stay. */
export function brokersOf(image: MetadataImage): NodeMetadata[] {
  return [...image.nodes.values()].filter(
    ({ roles, fenced, shuttingDown, draining }) => roles.includes('broker') && !fenced && !shuttingDown && !draining,
  )
}
