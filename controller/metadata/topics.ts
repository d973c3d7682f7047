/** Creating, deleting and growing topics. Pure. */
import { TidemarkError } from '../../protocol/errors.ts'
import type {
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
import type { MetadataRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { INTERNAL_TOPICS } from '../../protocol/internal-topics.ts'
import { topicCollisionKey, validateTopicName } from '../../protocol/names.ts'
import { placeReplicas } from '../placement.ts'
import { checkTopicConfig, configRecord } from './configs.ts'
import { type Decision, decideEntry, repeatChecker } from './decision.ts'
import type { MetadataImage, NodeMetadata, TopicMetadata } from './image.ts'
import { brokersOf, existingTopic, replicaCount } from './lookup.ts'

/** Partitions of one topic. */
export const PARTITIONS_MAX = 10_000
/** Partitions of the whole cluster: each costs its leader open files and some kilobytes. */
export const CLUSTER_PARTITIONS_MAX = 100_000

export interface CreateContext {
  /** For topics that do not say. */
  readonly defaults: { readonly partitions: number; readonly replicas: number }
  /** A fresh id, in the form of `encodeUuid`. */
  readonly newTopicId: () => string
}

export function createTopics(image: MetadataImage, request: CreateTopicsRequest, context: CreateContext): Decision<CreateTopicsResponse> {
  const plan = new Plan(image)
  const refuseRepeated = repeatChecker(
    'topic',
    request.topics.map(({ name }) => name),
  )
  const taken = new Map<string, string>()
  // Names without dot and underscore collide with nothing but themselves: the common case looks at no other topic.
  if (request.topics.some(({ name }) => /[._]/.test(name))) {
    for (const name of image.topics.keys()) taken.set(topicCollisionKey(name), name)
  }
  const topics = request.topics.map((wanted) =>
    decideEntry<CreateTopicResult>(
      () => {
        refuseRepeated(wanted.name)
        checkName(image, wanted.name, taken)
        const result = createTopic(plan, wanted, context)
        taken.set(topicCollisionKey(wanted.name), wanted.name)
        return result
      },
      (error) => ({ name: wanted.name, error, topicId: Buffer.alloc(0), partitions: 0, replicas: 0 }),
    ),
  )
  return { records: request.validateOnly ? [] : plan.records, response: { topics } }
}

export function deleteTopics(image: MetadataImage, request: DeleteTopicsRequest): Decision<DeleteTopicsResponse> {
  const records: MetadataRecord[] = []
  const topics = decideByName(request.names, (name) => {
    const { topicId } = existingTopic(image, name)
    records.push({ record: { $case: 'removeTopic', value: { topicId } } })
  })
  return { records, response: { topics } }
}

export function growTopics(image: MetadataImage, request: GrowTopicsRequest): Decision<GrowTopicsResponse> {
  const plan = new Plan(image)
  const wanted = new Map(request.topics.map((topic) => [topic.name, topic]))
  const topics = decideByName(
    request.topics.map(({ name }) => name),
    (name) => growTopic(plan, existingTopic(image, name), wanted.get(name) as GrowTopic),
  )
  return { records: request.validateOnly ? [] : plan.records, response: { topics } }
}

/** Replicas of which any one may be lost while another is being mended. */
export const REPLICAS_USUAL = 3
/** With so many an acknowledged record shall be on two of them. */
export const USUAL_MIN_ISR = 2

/** The partitions one request adds: each entry is decided with those of the entries before it in place. */
class Plan {
  readonly records: MetadataRecord[] = []
  readonly #brokers: readonly NodeMetadata[]
  #clusterPartitions: number

  constructor(image: MetadataImage) {
    this.#brokers = brokersOf(image)
    this.#clusterPartitions = image.partitionCount
  }

  /** What a topic gets whose creator does not care: it survives the loss of a node, where that is possible. */
  get usualReplicas(): number {
    return this.#brokers.length >= REPLICAS_USUAL ? REPLICAS_USUAL : 1
  }

  /** Throws unless so many replicas can be placed. */
  checkReplicas(replicas: number): void {
    if (replicas > this.#brokers.length) {
      throw new TidemarkError(
        'INVALID_REPLICATION_FACTOR',
        `${replicas} replicas need as many nodes, ${this.#brokers.length} are alive and may get some`,
      )
    }
  }

  /** Throws unless a topic may come to have so many partitions by adding `added`. */
  checkPartitions(partitions: number, added: number): void {
    if (partitions > PARTITIONS_MAX)
      throw new TidemarkError('INVALID_PARTITIONS', `${partitions} partitions were asked for, a topic may have ${PARTITIONS_MAX}`)
    const total = this.#clusterPartitions + added
    if (total > CLUSTER_PARTITIONS_MAX) {
      throw new TidemarkError(
        'INVALID_PARTITIONS',
        `the cluster would have ${total} partitions, at most ${CLUSTER_PARTITIONS_MAX} are allowed`,
      )
    }
  }

  addPartitions(topicId: string, first: number, added: number, replicas: number): void {
    const placed = placeReplicas(this.#brokers, added, replicas, this.#clusterPartitions)
    placed.forEach((nodeIds, index) => this.records.push(newPartition(topicId, first + index, nodeIds)))
    this.#clusterPartitions += added
  }
}

function checkName(image: MetadataImage, name: string, taken: ReadonlyMap<string, string>): void {
  validateTopicName(name)
  if (image.topics.has(name)) throw new TidemarkError('TOPIC_ALREADY_EXISTS', `topic ${name} exists`)
  const other = taken.get(topicCollisionKey(name))
  if (other !== undefined)
    throw new TidemarkError('INVALID_TOPIC_NAME', `topic name ${name} differs from ${other} only in dots and underscores`)
}

function createTopic(plan: Plan, wanted: CreateTopic, context: CreateContext): CreateTopicResult {
  const partitions = wanted.partitions || context.defaults.partitions
  const replicas = wanted.replicas || context.defaults.replicas || plan.usualReplicas
  plan.checkPartitions(partitions, partitions)
  plan.checkReplicas(replicas)
  const ownConfigs = INTERNAL_TOPICS.get(wanted.name)
  if (ownConfigs !== undefined && Object.keys(wanted.configs).length > 0)
    throw new TidemarkError('INVALID_CONFIG', `topic ${wanted.name} is kept by tidemark itself, and its settings are fixed`)
  const configs = withMinIsr(ownConfigs ?? wanted.configs, replicas)
  checkTopicConfig(configs, replicas)
  const topicId = context.newTopicId()
  plan.records.push({ record: { $case: 'topic', value: { name: wanted.name, topicId, internal: ownConfigs !== undefined } } })
  plan.records.push(...Object.entries(configs).map(([key, value]) => configRecord(topicId, key, value)))
  plan.addPartitions(topicId, 0, partitions, replicas)
  return { name: wanted.name, error: undefined, topicId: Buffer.from(topicId, 'base64url'), partitions, replicas }
}

/** Unless the creator says otherwise. */
function withMinIsr(configs: Readonly<Record<string, string>>, replicas: number): Readonly<Record<string, string>> {
  const key = 'min.insync.replicas'
  return replicas < REPLICAS_USUAL || Object.hasOwn(configs, key) ? configs : { ...configs, [key]: String(USUAL_MIN_ISR) }
}

function growTopic(plan: Plan, topic: TopicMetadata, wanted: GrowTopic): void {
  const present = topic.partitions.length
  const added = wanted.partitions - present
  if (added <= 0)
    throw new TidemarkError(
      'INVALID_PARTITIONS',
      `topic ${topic.name} has ${present} partitions and can only grow, ${wanted.partitions} were asked for`,
    )
  const replicas = replicaCount(topic)
  plan.checkPartitions(wanted.partitions, added)
  plan.checkReplicas(replicas)
  plan.addPartitions(topic.topicId, present, added, replicas)
}

function decideByName(names: readonly string[], decide: (name: string) => void): TopicResult[] {
  const refuseRepeated = repeatChecker('topic', names)
  return names.map((name) =>
    decideEntry<TopicResult>(
      () => {
        refuseRepeated(name)
        decide(name)
        return { name, error: undefined }
      },
      (error) => ({ name, error }),
    ),
  )
}

function newPartition(topicId: string, partition: number, replicas: number[]): MetadataRecord {
  return {
    record: {
      $case: 'partition',
      value: {
        topicId,
        partition,
        replicas,
        isr: replicas,
        leader: replicas[0] as number,
        leaderEpoch: 0,
        partitionEpoch: 0,
        elr: [],
        addingReplicas: [],
        removingReplicas: [],
        lastKnownLeader: -1,
      },
    },
  }
}
