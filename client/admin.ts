/** Administration: topics, settings, offsets, the cluster. */
import { fromErrorDetail } from '../protocol/error-wire.ts'
import { TidemarkError } from '../protocol/errors.ts'
import {
  ConfigScope,
  type ConfigEntry as WireConfigEntry,
  type TopicDescription as WireTopicDescription,
} from '../protocol/gen/tidemark/v1/cluster.ts'
import type { ErrorDetail } from '../protocol/gen/tidemark/v1/errors.ts'
import type { PartitionLogDescription } from '../protocol/gen/tidemark/v1/log.ts'
import type { ClusterClient } from './cluster-client.ts'
import { ClusterAdmin } from './cluster-admin.ts'
import { askPartitions, toOffset } from './consumer/positions.ts'
import { GroupAdmin } from './group-admin.ts'
import { deleteRecords, describeLogs } from './leader-calls.ts'
import { type CreatedTopic, type CreateTopicOptions, createTopic, deleteTopic, growTopic } from './topic-changes.ts'

export type { CreateTopicOptions } from './topic-changes.ts'

/** A topic, by name or by its typed reference. */
export type TopicName = string | { readonly name: string }

export interface AdminCall {
  readonly signal?: AbortSignal
}

export interface PartitionsCall extends AdminCall {
  /** Only these. Default: all partitions of the topic. */
  readonly partitions?: readonly number[]
}

export interface PartitionDescription {
  readonly partition: number
  /** -1 while there is none. */
  readonly leader: number
  readonly leaderEpoch: number
  readonly replicas: readonly number[]
  readonly isr: readonly number[]
}

export interface TopicDescription {
  readonly name: string
  /** 22 characters of URL-safe base64. */
  readonly topicId: string
  readonly internal: boolean
  readonly partitioner: string
  readonly replicas: number
  readonly maxMessageBytes: number
  /** Settings that differ from their default. */
  readonly configs: Readonly<Record<string, string>>
  readonly partitions: readonly PartitionDescription[]
}

export interface PartitionOffsets {
  readonly topic: string
  readonly partition: number
  readonly earliest: bigint
  /** One past the last record that can be read. */
  readonly highWatermark: bigint
  readonly logEnd: bigint
  readonly sizeBytes: number
  readonly segmentCount: number
}

/** A partition that could not be asked, and why. */
export interface FailedPartition {
  readonly partition: number
  readonly error: TidemarkError
}

export interface ConfigEntry {
  readonly key: string
  readonly value: string
  readonly defaultValue: string
  /** topic, flag, environment, file or default. */
  readonly source: string
  readonly text: string
  readonly type: string
}

export interface NodeInfo {
  readonly nodeId: number
  readonly host: string
  readonly port: number
  readonly rack: string
  readonly alive: boolean
  /** It hands over what it leads, to stop. */
  readonly shuttingDown: boolean
  /** It gets no replicas, and those it has move to others. */
  readonly draining: boolean
  readonly version: string
  readonly roles: readonly string[]
}

export interface ClusterDescription {
  readonly clusterId: string
  /** -1 while there is none. */
  readonly controllerId: number
  readonly nodes: readonly NodeInfo[]
}

export class Admin {
  readonly #client: ClusterClient
  /** The quorum, the nodes, where replicas are and who leads. */
  readonly cluster: ClusterAdmin
  /** Consumer groups. */
  readonly groups: GroupAdmin

  constructor(client: ClusterClient) {
    this.#client = client
    this.cluster = new ClusterAdmin(client)
    this.groups = new GroupAdmin(client)
  }

  /** Creates a topic; resolves once it can be written. */
  createTopic(topic: TopicName, options: CreateTopicOptions = {}): Promise<CreatedTopic> {
    return createTopic(this.#client, nameOf(topic), options)
  }

  /** Deletes a topic with all its records. There is no way back. */
  deleteTopic(topic: TopicName, options: AdminCall = {}): Promise<void> {
    return deleteTopic(this.#client, nameOf(topic), options)
  }

  /** Adds partitions, up to `partitions` in all. Keys may go to other partitions from then on. */
  growTopic(topic: TopicName, partitions: number, options: AdminCall & { readonly validateOnly?: boolean } = {}): Promise<void> {
    return growTopic(this.#client, nameOf(topic), partitions, options)
  }

  /** Every topic, by name. */
  async listTopics(options: AdminCall = {}): Promise<TopicDescription[]> {
    const { topics } = await this.#client.call('describeTopics', { topics: [], all: true, afterVersion: 0, maxWaitMs: 0 }, options)
    return topics.map(descriptionOf)
  }

  async describeTopic(topic: TopicName, options: AdminCall = {}): Promise<TopicDescription> {
    const { topics } = await this.#client.call(
      'describeTopics',
      { topics: [nameOf(topic)], all: false, afterVersion: 0, maxWaitMs: 0 },
      options,
    )
    const [found] = topics
    throwIf(found?.error)
    if (found === undefined) throw new TidemarkError('UNKNOWN_TOPIC', `no topic named ${JSON.stringify(nameOf(topic))}`)
    return descriptionOf(found)
  }

  /** Every setting of a topic. */
  describeConfigs(topic: TopicName, options: AdminCall = {}): Promise<ConfigEntry[]> {
    return this.#configs(ConfigScope.TOPIC, nameOf(topic), options)
  }

  /** Every setting of the node that answers. */
  describeNodeConfigs(options: AdminCall = {}): Promise<ConfigEntry[]> {
    return this.#configs(ConfigScope.NODE, '', options)
  }

  /** Changes settings of a topic; those in `reset` go back to their default. */
  async alterConfigs(
    topic: TopicName,
    change: { readonly set?: Readonly<Record<string, string>>; readonly reset?: readonly string[] },
    options: AdminCall & { readonly validateOnly?: boolean } = {},
  ): Promise<void> {
    const resource = { scope: ConfigScope.TOPIC, name: nameOf(topic) }
    const wanted = { resource, set: { ...change.set }, reset: [...(change.reset ?? [])] }
    const { resources } = await this.#client.call(
      'alterConfigs',
      { resources: [wanted], validateOnly: options.validateOnly ?? false },
      options,
    )
    this.#client.forget(resource.name)
    throwIf(resources[0]?.error)
  }

  /** Where each partition of a topic begins and ends, and how large it is. Throws when one of them has no leader to tell. */
  async offsets(topic: TopicName, options: PartitionsCall = {}): Promise<PartitionOffsets[]> {
    const { offsets, failed } = await this.knownOffsets(topic, options)
    if (failed[0] !== undefined) throw failed[0].error
    return offsets
  }

  /** As `offsets`, with what is known when time is up: partitions without a leader are named beside the others. */
  async knownOffsets(
    topic: TopicName,
    options: PartitionsCall & { readonly timeoutMs?: number } = {},
  ): Promise<{ readonly offsets: PartitionOffsets[]; readonly failed: readonly FailedPartition[] }> {
    const { found, failed } = await describeLogs(this.#client, nameOf(topic), options)
    return { offsets: found.map(offsetsOf), failed: [...failed].map(([partition, error]) => ({ partition, error })) }
  }

  /** The first record of each partition at or after a time; undefined where there is none. */
  async offsetsForTimestamp(
    topic: TopicName,
    timestamp: number | Date,
    options: PartitionsCall = {},
  ): Promise<{ readonly partition: number; readonly offset: bigint | undefined }[]> {
    const name = nameOf(topic)
    const info = await this.#client.topic(name, options)
    const numbers = options.partitions ?? info.partitions.keys()
    const wanted = [...numbers].map((partition) => ({ topic: name, partition }))
    const value = timestamp instanceof Date ? timestamp.getTime() : timestamp
    const answers = await askPartitions(this.#client, wanted, { $case: 'timestampMs', value }, options.signal)
    return answers.map(({ partition, found, offset }) => ({ partition, offset: found ? BigInt(offset) : undefined }))
  }

  /** Deletes the records of a partition below `before`, or all there are. Returns the new start. */
  async deleteRecords(topic: TopicName, partition: number, before: bigint | 'all', options: AdminCall = {}): Promise<bigint> {
    const target =
      before === 'all' ? ({ $case: 'all', value: true } as const) : ({ $case: 'beforeOffset', value: toOffset(before) } as const)
    return BigInt(await deleteRecords(this.#client, { topic: nameOf(topic), partition, target }, options))
  }

  async describeCluster(options: AdminCall & { readonly timeoutMs?: number } = {}): Promise<ClusterDescription> {
    const { clusterId, controllerId, nodes } = await this.#client.describeCluster(options)
    return { clusterId, controllerId, nodes }
  }

  async #configs(scope: ConfigScope, name: string, options: AdminCall): Promise<ConfigEntry[]> {
    const { resources } = await this.#client.call('describeConfigs', { resources: [{ scope, name }] }, options)
    throwIf(resources[0]?.error)
    return (resources[0]?.entries ?? []).map((entry: WireConfigEntry) => ({ ...entry }))
  }
}

function nameOf(topic: TopicName): string {
  return typeof topic === 'string' ? topic : topic.name
}

function descriptionOf(topic: WireTopicDescription): TopicDescription {
  return {
    name: topic.name,
    topicId: topic.topicId.toString('base64url'),
    internal: topic.internal,
    partitioner: topic.partitioner,
    replicas: topic.replicas,
    maxMessageBytes: topic.maxMessageBytes,
    configs: topic.configs,
    partitions: topic.partitions.map(({ partition, leader, leaderEpoch, replicas, isr }) => ({
      partition,
      leader,
      leaderEpoch,
      replicas,
      isr,
    })),
  }
}

function offsetsOf(log: PartitionLogDescription): PartitionOffsets {
  return {
    topic: log.topic,
    partition: log.partition,
    earliest: BigInt(log.logStartOffset),
    highWatermark: BigInt(log.highWatermark),
    logEnd: BigInt(log.logEndOffset),
    sizeBytes: log.sizeBytes,
    segmentCount: log.segmentCount,
  }
}

function throwIf(error: ErrorDetail | undefined): void {
  if (error !== undefined) throw fromErrorDetail(error)
}
