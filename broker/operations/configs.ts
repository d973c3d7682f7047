/** Settings of topics and of this node. */
import { toErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type {
  AlterConfigsRequest,
  AlterConfigsResponse,
  ConfigDescription,
  ConfigEntry,
  ConfigResource,
  DescribeConfigsRequest,
  DescribeConfigsResponse,
} from '../../protocol/gen/tidemark/v1/cluster.ts'
import { ConfigScope } from '../../protocol/gen/tidemark/v1/cluster.ts'
import { TOPIC_SETTINGS } from '../../protocol/topic-config.ts'
import type { Broker } from '../broker.ts'
import type { ConfigSourceEntry } from '../config.ts'
import type { Origin } from './topics.ts'

export async function describeConfigs(broker: Broker, request: DescribeConfigsRequest): Promise<DescribeConfigsResponse> {
  broker.checkServing()
  await broker.catchUp.knowing(request.resources.flatMap(({ scope, name }) => (scope === ConfigScope.TOPIC ? [name] : [])))
  return { resources: request.resources.map((resource) => describeResource(broker, resource)) }
}

export async function alterConfigs(broker: Broker, request: AlterConfigsRequest, origin: Origin): Promise<AlterConfigsResponse> {
  broker.checkServing()
  return broker.controller.ask('alterConfigs', request, origin)
}

function describeResource(broker: Broker, resource: ConfigResource): ConfigDescription {
  try {
    return { resource, error: undefined, entries: entriesOf(broker, resource) }
  } catch (error) {
    return { resource, error: toErrorDetail(TidemarkError.from(error)), entries: [] }
  }
}

function entriesOf(broker: Broker, resource: ConfigResource): ConfigEntry[] {
  switch (resource.scope) {
    case ConfigScope.TOPIC:
      return topicEntries(broker, resource.name)
    case ConfigScope.NODE:
      return nodeEntries(broker, resource.name)
    default:
      throw new TidemarkError('INVALID_REQUEST', `unknown config scope ${String(resource.scope)}`)
  }
}

function topicEntries(broker: Broker, name: string): ConfigEntry[] {
  const topic = broker.view.image.topics.get(name)
  if (topic === undefined) throw new TidemarkError('UNKNOWN_TOPIC', `no topic named ${JSON.stringify(name)}`)
  return Object.entries(TOPIC_SETTINGS).map(([key, setting]) => {
    const own = topic.configs[key]
    return {
      key,
      value: own ?? setting.defaultText,
      defaultValue: setting.defaultText,
      source: own === undefined ? 'default' : 'topic',
      text: setting.text,
      type: setting.type.kind,
    }
  })
}

function nodeEntries(broker: Broker, name: string): ConfigEntry[] {
  if (name !== '' && name !== String(broker.config.nodeId)) {
    throw new TidemarkError('INVALID_REQUEST', `this is node ${broker.config.nodeId}; ask node ${name} for its own settings`)
  }
  return broker.configEntries.map((entry: ConfigSourceEntry) => ({
    key: entry.key,
    value: entry.value,
    defaultValue: entry.defaultText,
    source: entry.source,
    text: entry.text,
    type: entry.type,
  }))
}
