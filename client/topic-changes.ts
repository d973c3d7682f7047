/**
 * Creating, growing and deleting topics.
 *
 * An attempt whose answer did not come in time may have been done all the same. What the next attempt then finds, a topic
 * that exists, or is gone, or has these partitions already, is what was asked for, and no failure.
 */
import { fromErrorDetail } from '../protocol/error-wire.ts'
import { type ErrorCode, TidemarkError } from '../protocol/errors.ts'
import type { CreateTopic, TopicDescription } from '../protocol/gen/tidemark/v1/cluster.ts'
import type { ErrorDetail } from '../protocol/gen/tidemark/v1/errors.ts'
import type { Durability, PartitionerName } from '../protocol/topic-config.ts'
import type { Duration, Size } from '../protocol/units.ts'
import type { ClusterClient } from './cluster-client.ts'
import { checkKnown, type KnownOptions } from './known-options.ts'

export interface CreateTopicOptions {
  /** Default: the cluster's. */
  readonly partitions?: number
  readonly replicas?: number
  readonly durability?: Durability
  readonly partitioner?: PartitionerName
  /** Age, or age and size per partition. */
  readonly retention?: Duration | { readonly age?: Duration; readonly bytes?: Size }
  /** Any other setting, by its name. */
  readonly configs?: Readonly<Record<string, string>>
  /** Check everything, create nothing. */
  readonly validateOnly?: boolean
  readonly signal?: AbortSignal
}

export interface CreatedTopic {
  readonly topicId: string
  readonly partitions: number
  readonly replicas: number
}

export interface ChangeOptions {
  readonly validateOnly?: boolean
  readonly signal?: AbortSignal
}

const KNOWN: KnownOptions<CreateTopicOptions> = {
  partitions: true,
  replicas: true,
  durability: true,
  partitioner: true,
  retention: true,
  configs: true,
  validateOnly: true,
  signal: true,
}

export async function createTopic(client: ClusterClient, name: string, options: CreateTopicOptions): Promise<CreatedTopic> {
  checkKnown(options, KNOWN, 'a topic')
  const { partitions = 0, replicas = 0, validateOnly = false } = options
  if (options.partitions !== undefined && !(partitions >= 1))
    throw new TidemarkError('INVALID_PARTITIONS', `${partitions} partitions, at least 1 is needed`)
  const attempts = new Attempts(options)
  const request = { topics: [{ name, partitions, replicas, configs: configsOf(options) }], validateOnly }
  const [result] = (await client.call('createTopics', request, attempts)).topics
  if (attempts.mayExplain(result?.error, 'TOPIC_ALREADY_EXISTS')) {
    const present = await describe(client, name, options)
    if (present !== undefined && isAsAsked(present, request.topics[0]))
      return { topicId: present.topicId.toString('base64url'), partitions: present.partitions.length, replicas: present.replicas }
  }
  throwIf(result?.error)
  const { topicId = Buffer.alloc(0) } = result ?? {}
  return { topicId: topicId.toString('base64url'), partitions: result?.partitions ?? 0, replicas: result?.replicas ?? 0 }
}

export async function deleteTopic(client: ClusterClient, name: string, options: ChangeOptions): Promise<void> {
  const attempts = new Attempts(options)
  const { topics } = await client.call('deleteTopics', { names: [name] }, attempts)
  client.forget(name)
  if (!attempts.mayExplain(topics[0]?.error, 'UNKNOWN_TOPIC')) throwIf(topics[0]?.error)
}

export async function growTopic(client: ClusterClient, name: string, partitions: number, options: ChangeOptions): Promise<void> {
  const attempts = new Attempts(options)
  const request = { topics: [{ name, partitions }], validateOnly: options.validateOnly ?? false }
  const { topics } = await client.call('growTopics', request, attempts)
  client.forget(name)
  const [result] = topics
  const isDone =
    attempts.mayExplain(result?.error, 'INVALID_PARTITIONS') && (await describe(client, name, options))?.partitions.length === partitions
  if (!isDone) throwIf(result?.error)
}

/** Counts the attempts of a call. */
class Attempts {
  readonly signal: AbortSignal | undefined
  #count = 0

  constructor({ signal }: { readonly signal?: AbortSignal | undefined }) {
    this.signal = signal
  }

  readonly onAttempt = (): void => void this.#count++

  /** Whether `error` is what an attempt finds after one that was done. */
  mayExplain(error: ErrorDetail | undefined, code: ErrorCode): boolean {
    return error?.code === code && this.#count > 1
  }
}

/** Whether a topic is what the request would have made, in all that it says. */
function isAsAsked(present: TopicDescription, asked: CreateTopic | undefined): boolean {
  if (asked === undefined) return false
  const { partitions, replicas, configs } = asked
  return (
    (partitions === 0 || present.partitions.length === partitions) &&
    (replicas === 0 || present.replicas === replicas) &&
    Object.entries(configs).every(([key, value]) => present.configs[key] === value)
  )
}

async function describe(
  client: ClusterClient,
  name: string,
  { signal }: { readonly signal?: AbortSignal | undefined },
): Promise<TopicDescription | undefined> {
  const { topics } = await client.call('describeTopics', { topics: [name], all: false, afterVersion: 0, maxWaitMs: 0 }, { signal })
  return topics[0]?.error === undefined ? topics[0] : undefined
}

function configsOf(options: CreateTopicOptions): Record<string, string> {
  const configs: Record<string, string> = { ...options.configs }
  if (options.durability !== undefined) configs['durability'] = options.durability
  if (options.partitioner !== undefined) configs['partitioner'] = options.partitioner
  const { retention } = options
  const { age, bytes } = typeof retention === 'object' ? retention : { age: retention, bytes: undefined }
  if (age !== undefined) configs['retention.ms'] = String(age)
  if (bytes !== undefined) configs['retention.bytes'] = String(bytes)
  return configs
}

function throwIf(error: ErrorDetail | undefined): void {
  if (error !== undefined) throw fromErrorDetail(error)
}
