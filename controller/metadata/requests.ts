/**
 * What becomes of a request: records to commit and the response to give once they are. Pure: the image and
 * the request decide, randomness is handed in. One bad entry never fails the others.
 */
import { toErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type {
  AlterConfig,
  AlterConfigResult,
  AlterConfigsRequest,
  AlterConfigsResponse,
  CreateTopic,
  CreateTopicResult,
  CreateTopicsRequest,
  CreateTopicsResponse,
  DeleteTopicsRequest,
  DeleteTopicsResponse,
  GrowTopic,
  GrowTopicsRequest,
  GrowTopicsResponse,
  TopicResult,
} from '../../protocol/gen/tidemark/v1/cluster.ts'
import { ConfigScope } from '../../protocol/gen/tidemark/v1/cluster.ts'
import type { MetadataRecord, RegisterNodeRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { topicCollisionKey, validateTopicName } from '../../protocol/names.ts'
import { parseTopicConfig, topicSetting } from '../../protocol/topic-config.ts'
import { placeReplicas } from '../placement.ts'
import type { MetadataImage, TopicMetadata } from './image.ts'

/** Partitions of one topic. */
export const TOPIC_PARTITIONS_MAX = 10_000
/** Partitions of the whole cluster. */
export const CLUSTER_PARTITIONS_MAX = 100_000
/** Producer ids a node gets at a time. */
export const PRODUCER_ID_BLOCK = 1000

export interface Decision<Response> {
  readonly records: readonly MetadataRecord[]
  readonly response: Response
}

export interface RequestDefaults {
  readonly partitions: number
  readonly replicas: number
}

export interface CreateContext {
  readonly defaults: RequestDefaults
  /** A fresh id, in the form of `encodeUuid`. */
  readonly newTopicId: () => string
}

export function createTopics(image: MetadataImage, request: CreateTopicsRequest, context: CreateContext): Decision<CreateTopicsResponse> {
  const records: MetadataRecord[] = []
  const taken = new Set([...image.topics.keys()].map(topicCollisionKey))
  const counts = countOf(request.topics.map(({ name }) => name))
  let partitionTotal = totalPartitions(image)
  const topics = request.topics.map((wanted): CreateTopicResult => {
    try {
      if ((counts.get(wanted.name) ?? 0) > 1) throw new TidemarkError('INVALID_REQUEST', `topic ${wanted.name} stands twice in one request`)
      const made = createTopic(image, wanted, context, taken, partitionTotal)
      taken.add(topicCollisionKey(wanted.name))
      partitionTotal += made.result.partitions
      records.push(...made.records)
      return made.result
    } catch (error) {
      return { name: wanted.name, error: detailOf(error), topicId: Buffer.alloc(0), partitions: 0, replicas: 0 }
    }
  })
  return { records: request.validateOnly ? [] : records, response: { topics } }
}

function createTopic(image: MetadataImage, wanted: CreateTopic, context: CreateContext, taken: ReadonlySet<string>, partitionTotal: number): { records: MetadataRecord[]; result: CreateTopicResult } {
  validateTopicName(wanted.name)
  if (image.topics.has(wanted.name)) throw new TidemarkError('TOPIC_ALREADY_EXISTS', `topic ${wanted.name} exists`)
  if (taken.has(topicCollisionKey(wanted.name))) {
    throw new TidemarkError('INVALID_TOPIC_NAME', `topic name ${wanted.name} differs from an existing one only in dots and underscores`)
  }
  const partitions = wanted.partitions || context.defaults.partitions
  const replicas = wanted.replicas || context.defaults.replicas
  checkPartitionCount(partitions, partitionTotal + partitions)
  if (replicas > image.nodes.size) {
    throw new TidemarkError('INVALID_REPLICATION_FACTOR', `${replicas} replicas need as many nodes, the cluster has ${image.nodes.size}`)
  }
  const config = parseTopicConfig(wanted.configs)
  if (config.minInsyncReplicas > replicas) {
    throw new TidemarkError('INVALID_CONFIG', `min.insync.replicas is ${config.minInsyncReplicas}, the topic has ${replicas} replicas`)
  }
  const topicId = context.newTopicId()
  const placed = placeReplicas([...image.nodes.values()], partitions, replicas, partitionTotal % image.nodes.size)
  const records: MetadataRecord[] = [
    { record: { $case: 'topic', value: { name: wanted.name, topicId, internal: false } } },
    ...Object.entries(wanted.configs).map(([key, value]): MetadataRecord => ({ record: { $case: 'topicConfig', value: { topicId, key, value } } })),
    ...placed.map((nodeIds, partition) => newPartition(topicId, partition, nodeIds)),
  ]
  return { records, result: { name: wanted.name, error: undefined, topicId: Buffer.from(topicId, 'base64url'), partitions, replicas } }
}

export function deleteTopics(image: MetadataImage, request: DeleteTopicsRequest): Decision<DeleteTopicsResponse> {
  const records: MetadataRecord[] = []
  const seen = new Set<string>()
  const topics = request.names.map((name): TopicResult =>
    resultOf(name, () => {
      if (seen.has(name)) throw new TidemarkError('INVALID_REQUEST', `topic ${name} stands twice in one request`)
      seen.add(name)
      const topic = existingTopic(image, name)
      records.push({ record: { $case: 'removeTopic', value: { topicId: topic.topicId } } })
    }),
  )
  return { records, response: { topics } }
}

export function growTopics(image: MetadataImage, request: GrowTopicsRequest): Decision<GrowTopicsResponse> {
  const records: MetadataRecord[] = []
  const seen = new Set<string>()
  const topics = request.topics.map((wanted): TopicResult =>
    resultOf(wanted.name, () => {
      if (seen.has(wanted.name)) throw new TidemarkError('INVALID_REQUEST', `topic ${wanted.name} stands twice in one request`)
      seen.add(wanted.name)
      records.push(...growTopic(image, wanted))
    }),
  )
  return { records: request.validateOnly ? [] : records, response: { topics } }
}

function growTopic(image: MetadataImage, wanted: GrowTopic): MetadataRecord[] {
  const topic = existingTopic(image, wanted.name)
  const present = topic.partitions.length
  if (wanted.partitions <= present) {
    throw new TidemarkError('INVALID_PARTITIONS', `topic ${wanted.name} has ${present} partitions and can only grow, ${wanted.partitions} were asked for`)
  }
  checkPartitionCount(wanted.partitions, totalPartitions(image) + wanted.partitions - present)
  const replicas = topic.partitions[0]?.replicas.length ?? 1
  const placed = placeReplicas([...image.nodes.values()], wanted.partitions - present, replicas, totalPartitions(image) % image.nodes.size)
  return placed.map((nodeIds, index) => newPartition(topic.topicId, present + index, nodeIds))
}

export function alterConfigs(image: MetadataImage, request: AlterConfigsRequest): Decision<AlterConfigsResponse> {
  const records: MetadataRecord[] = []
  const resources = request.resources.map((wanted): AlterConfigResult => {
    try {
      records.push(...alterConfig(image, wanted))
      return { resource: wanted.resource, error: undefined }
    } catch (error) {
      return { resource: wanted.resource, error: detailOf(error) }
    }
  })
  return { records: request.validateOnly ? [] : records, response: { resources } }
}

function alterConfig(image: MetadataImage, wanted: AlterConfig): MetadataRecord[] {
  if (wanted.resource?.scope !== ConfigScope.TOPIC) {
    throw new TidemarkError('INVALID_REQUEST', 'only settings of topics can be changed while running; those of a node are in its configuration file, environment or flags')
  }
  const topic = existingTopic(image, wanted.resource.name)
  const changed = [...Object.keys(wanted.set), ...wanted.reset]
  for (const key of changed) {
    if (topicSetting(key).fixed) throw new TidemarkError('INVALID_CONFIG', `${key} is fixed when a topic is created`)
  }
  const kept = Object.entries(topic.configs).filter(([key]) => !wanted.reset.includes(key))
  const config = parseTopicConfig({ ...Object.fromEntries(kept), ...wanted.set })
  const replicas = topic.partitions[0]?.replicas.length ?? 1
  if (config.minInsyncReplicas > replicas) throw new TidemarkError('INVALID_CONFIG', `min.insync.replicas is ${config.minInsyncReplicas}, the topic has ${replicas} replicas`)
  const { topicId } = topic
  return [
    ...wanted.reset.filter((key) => key in topic.configs).map((key): MetadataRecord => ({ record: { $case: 'topicConfig', value: { topicId, key, value: undefined } } })),
    ...Object.entries(wanted.set).map(([key, value]): MetadataRecord => ({ record: { $case: 'topicConfig', value: { topicId, key, value } } })),
  ]
}

/** A node came up. Its data directory may not be another than the one it had: a wiped disk is a new node. */
export function registerNode(_image: MetadataImage, node: RegisterNodeRecord): Decision<void> {
  return { records: [{ record: { $case: 'registerNode', value: node } }], response: undefined }
}

export function allocateProducerIds(image: MetadataImage, nodeId: number): Decision<{ readonly first: number; readonly next: number }> {
  const first = image.nextProducerId
  const next = first + PRODUCER_ID_BLOCK
  return { records: [{ record: { $case: 'producerIdBlock', value: { nodeId, firstProducerId: first, nextProducerId: next } } }], response: { first, next } }
}

function newPartition(topicId: string, partition: number, replicas: number[]): MetadataRecord {
  return {
    record: { $case: 'partition', value: { topicId, partition, replicas, isr: replicas, leader: replicas[0] as number, leaderEpoch: 0, partitionEpoch: 0 } },
  }
}

function existingTopic(image: MetadataImage, name: string): TopicMetadata {
  const topic = image.topics.get(name)
  if (topic === undefined) throw new TidemarkError('UNKNOWN_TOPIC', `no topic named ${JSON.stringify(name)}`)
  if (topic.internal) throw new TidemarkError('INVALID_REQUEST', `${name} is kept by tidemark itself`)
  return topic
}

function checkPartitionCount(ofTopic: number, ofCluster: number): void {
  if (ofTopic > TOPIC_PARTITIONS_MAX) throw new TidemarkError('INVALID_PARTITIONS', `${ofTopic} partitions, a topic may have ${TOPIC_PARTITIONS_MAX}`)
  if (ofCluster > CLUSTER_PARTITIONS_MAX) throw new TidemarkError('INVALID_PARTITIONS', `the cluster would have ${ofCluster} partitions, at most ${CLUSTER_PARTITIONS_MAX} are allowed`)
}

function totalPartitions(image: MetadataImage): number {
  let total = 0
  for (const topic of image.topics.values()) total += topic.partitions.length
  return total
}

function countOf(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  return counts
}

function resultOf(name: string, work: () => void): TopicResult {
  try {
    work()
    return { name, error: undefined }
  } catch (error) {
    return { name, error: detailOf(error) }
  }
}

function detailOf(error: unknown): ReturnType<typeof toErrorDetail> {
  return toErrorDetail(TidemarkError.from(error))
}
