/** Settings of topics: checking and changing them. Pure. */
import { TidemarkError } from '../../protocol/errors.ts'
import {
  type AlterConfig,
  type AlterConfigResult,
  type AlterConfigsRequest,
  type AlterConfigsResponse,
  ConfigScope,
} from '../../protocol/gen/tidemark/v1/cluster.ts'
import type { MetadataRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { parseTopicConfig, topicSetting } from '../../protocol/topic-config.ts'
import { type Decision, decideEntry, repeatChecker } from './decision.ts'
import type { MetadataImage, TopicMetadata } from './image.ts'
import { existingTopic, replicaCount } from './lookup.ts'
import { changePartition, nodeStates } from './partition-change.ts'

/** The text of one value. The longest that means anything has a tenth of it; what is stored must be bounded. */
export const CONFIG_TEXT_MAX_LENGTH = 256

export function alterConfigs(image: MetadataImage, request: AlterConfigsRequest): Decision<AlterConfigsResponse> {
  const records: MetadataRecord[] = []
  const refuseRepeated = repeatChecker(
    'topic',
    request.resources.filter(({ resource }) => resource?.scope === ConfigScope.TOPIC).map(({ resource }) => resource?.name ?? ''),
  )
  const resources = request.resources.map((wanted) =>
    decideEntry<AlterConfigResult>(
      () => {
        records.push(...alterTopicConfig(image, wanted, refuseRepeated))
        return { resource: wanted.resource, error: undefined }
      },
      (error) => ({ resource: wanted.resource, error }),
    ),
  )
  return { records: request.validateOnly ? [] : records, response: { resources } }
}

/** Throws `INVALID_CONFIG` unless `texts` may be the settings of a topic with so many replicas. */
export function checkTopicConfig(texts: Readonly<Record<string, string>>, replicas: number): void {
  for (const [key, text] of Object.entries(texts)) {
    if (text.length > CONFIG_TEXT_MAX_LENGTH) {
      throw new TidemarkError(
        'INVALID_CONFIG',
        `${JSON.stringify(key.slice(0, 80))} has a value of ${text.length} characters, at most ${CONFIG_TEXT_MAX_LENGTH} are allowed`,
      )
    }
  }
  const { minInsyncReplicas } = parseTopicConfig(texts)
  if (minInsyncReplicas > replicas)
    throw new TidemarkError('INVALID_CONFIG', `min.insync.replicas is ${minInsyncReplicas}, the topic has ${replicas} replicas`)
}

export function configRecord(topicId: string, key: string, value: string | undefined): MetadataRecord {
  return { record: { $case: 'topicConfig', value: { topicId, key, value } } }
}

/** Sets how many replicas must be in sync, whatever topic it is. */
export function setMinIsr(image: MetadataImage, topic: TopicMetadata, minIsr: number): MetadataRecord[] {
  const [key, value] = ['min.insync.replicas', String(minIsr)]
  const configs = { ...topic.configs, [key]: value }
  return [configRecord(topic.topicId, key, value), ...followMinIsr(image, topic, { ...topic, configs, config: parseTopicConfig(configs) })]
}

function alterTopicConfig(image: MetadataImage, wanted: AlterConfig, refuseRepeated: (name: string) => void): MetadataRecord[] {
  if (wanted.resource === undefined) throw new TidemarkError('INVALID_REQUEST', 'the change does not say whose settings to change')
  if (wanted.resource.scope !== ConfigScope.TOPIC) {
    throw new TidemarkError(
      'INVALID_REQUEST',
      'only settings of topics can be changed while running; those of a node are in its configuration file, environment or flags',
    )
  }
  refuseRepeated(wanted.resource.name)
  const topic = existingTopic(image, wanted.resource.name)
  for (const key of [...Object.keys(wanted.set), ...wanted.reset]) {
    if (topicSetting(key).fixed) throw new TidemarkError('INVALID_CONFIG', `${key} is fixed when a topic is created`)
  }
  const both = wanted.reset.find((key) => Object.hasOwn(wanted.set, key))
  if (both !== undefined) throw new TidemarkError('INVALID_REQUEST', `${both} is both set and reset`)
  const kept = Object.entries(topic.configs).filter(([key]) => !wanted.reset.includes(key))
  const configs = { ...Object.fromEntries(kept), ...wanted.set }
  checkTopicConfig(configs, replicaCount(topic))
  const reset = new Set(wanted.reset.filter((key) => Object.hasOwn(topic.configs, key)))
  return [
    ...[...reset].map((key) => configRecord(topic.topicId, key, undefined)),
    ...Object.entries(wanted.set).map(([key, value]) => configRecord(topic.topicId, key, value)),
    ...followMinIsr(image, topic, { ...topic, configs, config: parseTopicConfig(configs) }),
  ]
}

/** Who is eligible was chosen under the old minimum, and a move may end under the new one. */
function followMinIsr(image: MetadataImage, before: TopicMetadata, after: TopicMetadata): MetadataRecord[] {
  if (before.config.minInsyncReplicas === after.config.minInsyncReplicas) return []
  const nodes = nodeStates(image)
  return after.partitions.flatMap((_, number) => changePartition(after, number, { minIsrChanged: true }, nodes) ?? [])
}
