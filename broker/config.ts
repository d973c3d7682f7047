/**
 * Every setting of a node, in one table. Loading, `config print`, `config describe`
 * and docs/configuration.md are all made from it.
 *
 * A flag beats the environment, the environment beats the file, the file beats the default. What is loaded is validated once
 * and frozen.
 */
import { TidemarkError } from '../protocol/errors.ts'
import { nearestName } from '../protocol/topic-config.ts'
import { duration, integer, isLoopback, type ListenAddress, type NodeSetting, parseValue, type Role, size } from './setting-values.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'
export type LogFormat = 'auto' | 'json' | 'pretty'

export interface Limits {
  readonly connectionsMax: number
  readonly streamsPerConnectionMax: number
  readonly requestsPerStreamMax: number
  readonly sessionMemoryMb: number
  readonly flowControlWindowBytes: number
  readonly requestBytesMax: number
  readonly produceInflightBytesMax: number
  readonly produceInflightBytesPerConnectionMax: number
  readonly produceInflightBytesPerPartitionMax: number
  readonly fetchBytesMax: number
  readonly fetchMaxWaitMs: number
  readonly fetchParkedMax: number
  readonly tailCacheBytes: number
  readonly openFilesMax: number
  readonly diskMinFreeBytes: number
  readonly handshakeTimeoutMs: number
  readonly idleTimeoutMs: number
  readonly keepaliveIntervalMs: number
  readonly keepaliveTimeoutMs: number
}

export interface NodeConfig {
  readonly listen: ListenAddress
  /** Undefined: what it listens on. */
  readonly advertise: ListenAddress | undefined
  readonly dataDir: string
  readonly nodeId: number
  readonly rack: string
  readonly roles: readonly Role[]
  readonly insecure: boolean
  readonly logLevel: LogLevel
  readonly logFormat: LogFormat
  readonly autoCreateTopics: boolean
  readonly defaultPartitions: number
  readonly defaultReplicas: number
  readonly retentionCheckMs: number
  readonly shutdownTimeoutMs: number
  readonly limits: Limits
}

export type ConfigSource = 'flag' | 'environment' | 'file' | 'default'

/** A setting with its value and where it comes from. */
export interface ConfigSourceEntry {
  readonly key: string
  readonly value: string
  readonly defaultText: string
  readonly source: ConfigSource
  readonly text: string
  readonly type: string
}

const GIB = 1024 ** 3
const DAY_MS = 86_400_000

export const NODE_SETTINGS: Readonly<Record<string, NodeSetting>> = {
  listen: {
    type: { kind: 'address' },
    defaultText: '127.0.0.1:9092',
    text: 'The address and port for everything: gRPC and HTTP. Port 0 takes any free one.',
  },
  advertise: {
    type: { kind: 'address', optional: true },
    defaultText: '',
    text: 'The address clients are told to dial. Empty: the one listened on.',
  },
  data_dir: { type: { kind: 'string' }, defaultText: './tidemark-data', text: 'Where everything is stored. One process at a time.' },
  node_id: { type: integer(0, 2 ** 31 - 1), defaultText: '1', text: 'The number of this node, unique in the cluster.' },
  rack: { type: { kind: 'string' }, defaultText: '', text: 'Where the node stands; replicas are spread over racks.' },
  roles: { type: { kind: 'roles' }, defaultText: 'broker,controller', text: 'What the node does: broker, controller or both.' },
  insecure: { type: { kind: 'boolean' }, defaultText: 'false', text: 'Allows listening beyond this machine without authentication.' },
  auto_create_topics: {
    type: { kind: 'boolean' },
    defaultText: 'false',
    text: 'Whether a topic that is asked for and does not exist is created with the defaults.',
  },
  default_partitions: { type: integer(1, 10_000), defaultText: '1', text: 'Partitions of a topic whose creator does not say.' },
  default_replicas: { type: integer(1, 100), defaultText: '1', text: 'Replicas of a topic whose creator does not say.' },
  retention_check: { type: duration(100, DAY_MS), defaultText: '30s', text: 'How often old segments are looked for.' },
  shutdown_timeout: {
    type: duration(100, 3_600_000),
    defaultText: '30s',
    text: 'How long stopping may take before the process ends anyway.',
  },
  log_level: {
    type: { kind: 'choice', values: ['debug', 'info', 'warn', 'error', 'silent'] },
    defaultText: 'info',
    text: 'The least important messages that are logged.',
  },
  log_format: {
    type: { kind: 'choice', values: ['auto', 'json', 'pretty'] },
    defaultText: 'auto',
    text: 'json: one object a line. pretty: for people. auto: pretty on a terminal.',
  },
  'limits.connections': { type: integer(1, 1_000_000), defaultText: '10000', text: 'Open connections; more are refused.' },
  'limits.streams_per_connection': { type: integer(1, 100_000), defaultText: '256', text: 'Calls at the same time on one connection.' },
  'limits.requests_per_stream': {
    type: integer(1, 100_000),
    defaultText: '1024',
    text: 'Requests of one stream in hand; beyond that the stream is not read.',
  },
  'limits.session_memory_mb': { type: integer(1, 65_536), defaultText: '128', text: 'Megabytes HTTP/2 may hold for one connection.' },
  'limits.flow_control_window': {
    type: size(64 * 1024, GIB),
    defaultText: '8MiB',
    text: 'Bytes a sender may have on the way, per stream and per connection.',
  },
  'limits.request_bytes': {
    type: size(64 * 1024, GIB),
    defaultText: '66MiB',
    text: 'The largest request. A batch of the largest max.message.bytes has to fit.',
  },
  'limits.produce_inflight_bytes': {
    type: size(64 * 1024, 64 * GIB),
    defaultText: '128MiB',
    text: 'Bytes of batches in hand, of the node. Beyond: BUSY.',
  },
  'limits.produce_inflight_bytes_per_connection': {
    type: size(64 * 1024, 64 * GIB),
    defaultText: '64MiB',
    text: 'Bytes of batches in hand, of one connection. Beyond: BUSY.',
  },
  'limits.produce_inflight_bytes_per_partition': {
    type: size(64 * 1024, 64 * GIB),
    defaultText: '32MiB',
    text: 'Bytes of batches in hand, of one partition. Beyond: BUSY.',
  },
  'limits.fetch_bytes': {
    type: size(1024, GIB),
    defaultText: '16MiB',
    text: 'Bytes of batches in one answer, except that the first batch is always whole.',
  },
  'limits.fetch_max_wait': { type: duration(0, 3_600_000), defaultText: '5m', text: 'The longest a fetch may be parked.' },
  'limits.fetch_parked': {
    type: integer(1, 10_000_000),
    defaultText: '100000',
    text: 'Fetches parked at the same time; more are refused with BUSY.',
  },
  'limits.tail_cache': {
    type: size(0, 64 * GIB),
    defaultText: '64MiB',
    text: 'Memory for the newest batches, which consumers at the tail read from.',
  },
  'limits.open_files': { type: integer(16, 1_000_000), defaultText: '4096', text: 'Segment and index files open at the same time.' },
  'limits.disk_min_free': {
    type: size(0, 1024 * GIB),
    defaultText: '64MiB',
    text: 'Free space below which writes are refused, so that metadata can always be written.',
  },
  'limits.handshake_timeout': {
    type: duration(100, 600_000),
    defaultText: '10s',
    text: 'How long a new connection may take to say what it speaks.',
  },
  'limits.idle_timeout': { type: duration(1000, DAY_MS), defaultText: '10m', text: 'A connection without calls for this long is closed.' },
  'limits.keepalive_interval': { type: duration(1000, DAY_MS), defaultText: '30s', text: 'How often a connection is tested with a ping.' },
  'limits.keepalive_timeout': { type: duration(100, 600_000), defaultText: '10s', text: 'How long the answer to that ping may take.' },
}

export interface ConfigSources {
  /** Setting → text. */
  readonly flags?: Readonly<Record<string, string>>
  readonly environment?: Readonly<Record<string, string | undefined>>
  /** The parsed file: nested objects, or dotted keys. */
  readonly file?: unknown
  /** Named in messages. */
  readonly filePath?: string
  /** Setting → text, in place of the table's defaults: for commands that have their own. */
  readonly defaults?: Readonly<Record<string, string>>
}

export interface LoadedConfig {
  readonly config: NodeConfig
  readonly entries: readonly ConfigSourceEntry[]
}

/** `limits.fetch_bytes` → `TIDEMARK_LIMITS_FETCH_BYTES`. */
export function environmentName(key: string): string {
  return `TIDEMARK_${key.replaceAll('.', '_').toUpperCase()}`
}

/** Throws `INVALID_CONFIG` naming the key, its source, the value and what is allowed; `INSECURE_LISTEN`. */
export function loadNodeConfig(sources: ConfigSources): LoadedConfig {
  const flags = checkKeys(sources.flags ?? {}, 'flag')
  const file = checkKeys(flatten(sources.file ?? {}, sources.filePath ?? 'the file'), sources.filePath ?? 'file')
  const defaults = checkKeys(sources.defaults ?? {}, 'default')
  const values: Record<string, unknown> = {}
  const entries = Object.entries(NODE_SETTINGS).map(([key, setting]): ConfigSourceEntry => {
    // A variable that is set to nothing is how compose files and shells say "not set".
    const environment = sources.environment?.[environmentName(key)] || undefined
    const defaultText = defaults[key] ?? setting.defaultText
    const [text, source]: [string, ConfigSource] =
      flags[key] !== undefined
        ? [flags[key], 'flag']
        : environment !== undefined
          ? [environment, 'environment']
          : file[key] !== undefined
            ? [file[key], 'file']
            : [defaultText, 'default']
    values[key] = parseValue(key, setting.type, text)
    return { key, value: text, defaultText, source, text: setting.text, type: setting.type.kind }
  })
  const config = configOf(values)
  const { host } = config.listen
  if (!isLoopback(host) && !config.insecure)
    throw new TidemarkError('INSECURE_LISTEN', `listening on ${host} lets anyone in who can reach it, and there is no authentication yet`)
  return { config, entries }
}

/** For nodes inside another process: the defaults with some fields replaced. */
export function defaultNodeConfig(overrides: Partial<Omit<NodeConfig, 'limits'>> & { readonly limits?: Partial<Limits> } = {}): NodeConfig {
  const { config } = loadNodeConfig({})
  return Object.freeze({ ...config, ...overrides, limits: Object.freeze({ ...config.limits, ...overrides.limits }) })
}

function configOf(values: Record<string, unknown>): NodeConfig {
  const get = <T>(key: string): T => values[key] as T
  return Object.freeze({
    listen: get<ListenAddress>('listen'),
    advertise: get<ListenAddress | undefined>('advertise'),
    dataDir: get<string>('data_dir'),
    nodeId: get<number>('node_id'),
    rack: get<string>('rack'),
    roles: get<readonly Role[]>('roles'),
    insecure: get<boolean>('insecure'),
    logLevel: get<LogLevel>('log_level'),
    logFormat: get<LogFormat>('log_format'),
    autoCreateTopics: get<boolean>('auto_create_topics'),
    defaultPartitions: get<number>('default_partitions'),
    defaultReplicas: get<number>('default_replicas'),
    retentionCheckMs: get<number>('retention_check'),
    shutdownTimeoutMs: get<number>('shutdown_timeout'),
    limits: Object.freeze({
      connectionsMax: get<number>('limits.connections'),
      streamsPerConnectionMax: get<number>('limits.streams_per_connection'),
      requestsPerStreamMax: get<number>('limits.requests_per_stream'),
      sessionMemoryMb: get<number>('limits.session_memory_mb'),
      flowControlWindowBytes: get<number>('limits.flow_control_window'),
      requestBytesMax: get<number>('limits.request_bytes'),
      produceInflightBytesMax: get<number>('limits.produce_inflight_bytes'),
      produceInflightBytesPerConnectionMax: get<number>('limits.produce_inflight_bytes_per_connection'),
      produceInflightBytesPerPartitionMax: get<number>('limits.produce_inflight_bytes_per_partition'),
      fetchBytesMax: get<number>('limits.fetch_bytes'),
      fetchMaxWaitMs: get<number>('limits.fetch_max_wait'),
      fetchParkedMax: get<number>('limits.fetch_parked'),
      tailCacheBytes: get<number>('limits.tail_cache'),
      openFilesMax: get<number>('limits.open_files'),
      diskMinFreeBytes: get<number>('limits.disk_min_free'),
      handshakeTimeoutMs: get<number>('limits.handshake_timeout'),
      idleTimeoutMs: get<number>('limits.idle_timeout'),
      keepaliveIntervalMs: get<number>('limits.keepalive_interval'),
      keepaliveTimeoutMs: get<number>('limits.keepalive_timeout'),
    }),
  })
}

/** `{ limits: { fetch_bytes: '1MiB' } }` → `{ 'limits.fetch_bytes': '1MiB' }`. */
function flatten(file: unknown, where: string, prefix = ''): Record<string, string> {
  if (file === null || file === undefined) return {}
  if (typeof file !== 'object' || Array.isArray(file))
    throw new TidemarkError('INVALID_CONFIG', `${where}: settings have names, such as \`listen: 127.0.0.1:9092\``)
  const flat: Record<string, string> = {}
  for (const [name, value] of Object.entries(file)) {
    const key = `${prefix}${name}`
    if (Array.isArray(value)) flat[key] = value.join(',')
    else if (typeof value === 'object' && value !== null) Object.assign(flat, flatten(value, where, `${key}.`))
    else flat[key] = String(value ?? '')
  }
  return flat
}

function checkKeys(values: Readonly<Record<string, string>>, source: string): Readonly<Record<string, string>> {
  for (const key of Object.keys(values)) {
    if (Object.hasOwn(NODE_SETTINGS, key)) continue
    const nearest = nearestName(key, Object.keys(NODE_SETTINGS))
    throw new TidemarkError(
      'INVALID_CONFIG',
      `unknown setting ${JSON.stringify(key)} (${source})${nearest === undefined ? '' : `; did you mean ${nearest}?`}`,
    )
  }
  return values
}
