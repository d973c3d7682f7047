/** Topics and settings: what goes through the controller, and what is read from its image. */
import type { MetadataImage, NodeMetadata, TopicMetadata } from '../../controller/metadata/image.ts'
import { splitAddress } from '../../protocol/addresses.ts'
import { toErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type {
  CreateTopicsRequest,
  CreateTopicsResponse,
  DeleteTopicsRequest,
  DeleteTopicsResponse,
  DescribeClusterResponse,
  DescribeTopicsRequest,
  DescribeTopicsResponse,
  GrowTopicsRequest,
  GrowTopicsResponse,
  NodeDescription,
  TopicDescription,
} from '../../protocol/gen/tidemark/v1/cluster.ts'
import { isInternalTopic } from '../../protocol/internal-topics.ts'
import type { Broker } from '../broker.ts'
import { isWildcard } from '../setting-values.ts'

/** Longest time a question for newer metadata is parked. */
const METADATA_WAIT_MAX_MS = 300_000

/** Where a request comes from. */
export interface Origin {
  /** Another node passes it on: it is answered here or not at all. */
  readonly isForwarded: boolean
}

/** Who asks, from where. */
export interface Asker {
  readonly signal: AbortSignal
  /** The address the asker dialled. */
  readonly authority: string
}

const OF_CLIENT: Origin = { isForwarded: false }

export function describeCluster(broker: Broker, authority: string): DescribeClusterResponse {
  const image = broker.view.image
  return {
    clusterId: image.clusterId,
    controllerId: broker.controllerId(),
    nodes: [...image.nodes.values()].sort((a, b) => a.nodeId - b.nodeId).map(nodeDescriber(broker, authority)),
    metadataVersion: image.version,
  }
}

export async function describeTopics(
  broker: Broker,
  request: DescribeTopicsRequest,
  { signal, authority }: Asker,
): Promise<DescribeTopicsResponse> {
  broker.checkServing()
  if (request.maxWaitMs > 0) {
    await broker.view.waitForVersion(request.afterVersion, { timeoutMs: Math.min(request.maxWaitMs, METADATA_WAIT_MAX_MS), signal })
  }
  await broker.catchUp.knowing(request.topics)
  if (broker.config.autoCreateTopics && !request.all) await createMissing(broker, request.topics)
  const image = broker.view.image
  const topics = request.all
    ? [...image.topics.values()].sort(byName).map((topic) => describeTopic(topic))
    : request.topics.map((name) => describeNamed(image, name))
  const leaders = new Set(topics.flatMap((topic) => topic.partitions.map((partition) => partition.leader)))
  const nodes = [...image.nodes.values()].filter((node) => leaders.has(node.nodeId)).map(nodeDescriber(broker, authority))
  return { metadataVersion: image.version, topics, nodes }
}

/** Answers once the partitions of the new topics can be written and read on this node. */
export async function createTopics(broker: Broker, request: CreateTopicsRequest, origin: Origin): Promise<CreateTopicsResponse> {
  broker.checkServing()
  const response = await broker.controller.ask('createTopics', request, origin)
  await broker.partitions.settled()
  return response
}

export async function deleteTopics(broker: Broker, request: DeleteTopicsRequest, origin: Origin): Promise<DeleteTopicsResponse> {
  broker.checkServing()
  return broker.controller.ask('deleteTopics', request, origin)
}

export async function growTopics(broker: Broker, request: GrowTopicsRequest, origin: Origin): Promise<GrowTopicsResponse> {
  broker.checkServing()
  const response = await broker.controller.ask('growTopics', request, origin)
  await broker.partitions.settled()
  return response
}

async function createMissing(broker: Broker, names: readonly string[]): Promise<void> {
  const missing = names.filter((name) => !broker.view.image.topics.has(name) && !isInternalTopic(name))
  if (missing.length === 0) return
  // A name that may not be created is reported as unknown by the description that follows.
  await createTopics(
    broker,
    { topics: missing.map((name) => ({ name, partitions: 0, replicas: 0, configs: {} })), validateOnly: false },
    OF_CLIENT,
  )
}

function describeNamed(image: MetadataImage, name: string): TopicDescription {
  const topic = image.topics.get(name)
  return topic === undefined ? unknownTopic(name) : describeTopic(topic)
}

function unknownTopic(name: string): TopicDescription {
  const error = toErrorDetail(new TidemarkError('UNKNOWN_TOPIC', `no topic named ${JSON.stringify(name)}`))
  return {
    name,
    error,
    topicId: Buffer.alloc(0),
    internal: false,
    partitions: [],
    partitioner: '',
    replicas: 0,
    maxMessageBytes: 0,
    configs: {},
  }
}

function describeTopic(topic: TopicMetadata): TopicDescription {
  return {
    name: topic.name,
    error: undefined,
    topicId: Buffer.from(topic.topicId, 'base64url'),
    internal: topic.internal,
    partitions: topic.partitions.map((partition, number) => ({
      partition: number,
      leader: partition.leader,
      leaderEpoch: partition.leaderEpoch,
      replicas: [...partition.replicas],
      isr: [...partition.isr],
      partitionEpoch: partition.partitionEpoch,
      eligible: [...partition.elr],
      adding: [...partition.addingReplicas],
      removing: [...partition.removingReplicas],
    })),
    partitioner: topic.config.partitioner,
    replicas: topic.partitions[0]?.replicas.length ?? 0,
    maxMessageBytes: topic.config.maxMessageBytes,
    configs: { ...topic.configs },
  }
}

/** Describes nodes with the addresses that whoever came by `authority` can reach: those at the same place in each node's list. */
export function nodeDescriber({ view, config }: Broker, authority: string): (node: NodeMetadata) => NodeDescription {
  const place = view.image.nodes.get(config.nodeId)?.alternatives.indexOf(authority) ?? -1
  return (node) => {
    const alternative = isWildcard(node.host) ? dialled(authority, node.port) : splitAddress(node.alternatives[place] ?? '')
    return {
      nodeId: node.nodeId,
      host: alternative?.host ?? node.host,
      port: alternative?.port ?? node.port,
      rack: node.rack,
      alive: !node.fenced,
      version: node.version,
      roles: [...node.roles],
      shuttingDown: node.shuttingDown,
      draining: node.draining,
      directoryId: node.directoryId,
      nodeEpoch: node.nodeEpoch,
    }
  }
}

/** A node that is alone and cannot say where it is: it is where the asker found it. */
function dialled(authority: string, port: number): { readonly host: string; readonly port: number } | undefined {
  return authority === '' ? undefined : (splitAddress(authority) ?? { host: authority, port })
}

function byName(a: TopicMetadata, b: TopicMetadata): number {
  return a.name < b.name ? -1 : 1
}
