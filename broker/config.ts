/**
 * Every setting of a node, in one table. Loading, `config print`, `config describe`
 * and docs/configuration.md are all made from it.
 *
 * A flag beats the environment, the environment beats the file, the file beats the default. What is loaded is validated once
 * and frozen.
 */
import { formatAddress } from '../protocol/addresses.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { nearestName } from '../protocol/topic-config.ts'
import type { GroupSettings } from './groups/settings.ts'
import { NODE_SETTINGS } from './node-settings.ts'
import { isLoopback, isWildcard, type ListenAddress, parseValue, type Role, type VoterAddress } from './setting-values.ts'

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
  readonly compactionMemoryBytes: number
  readonly compactionBytesPerSecond: number
  readonly openFilesMax: number
  readonly scrubBytesPerSecondMax: number
  readonly diskMinFreeBytes: number
  readonly handshakeTimeoutMs: number
  readonly idleTimeoutMs: number
  readonly keepaliveIntervalMs: number
  readonly keepaliveTimeoutMs: number
  readonly groupsMax: number
  readonly groupMembersMax: number
  readonly groupOffsetsMax: number
  readonly groupMetricsMax: number
}

export interface NodeConfig {
  readonly listen: ListenAddress
  /** Where it is reached, the first by other nodes; empty: what it listens on. */
  readonly advertise: readonly ListenAddress[]
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
  readonly compactionCheckMs: number
  /** 0: never. */
  readonly scrubPeriodMs: number
  readonly shutdownTimeoutMs: number
  /** Empty: this node alone. */
  readonly voters: readonly VoterAddress[]
  readonly join: readonly ListenAddress[]
  readonly sessionTimeoutMs: number
  readonly heartbeatIntervalMs: number
  readonly electionTimeoutMs: number
  readonly electionHeartbeatIntervalMs: number
  readonly replicaLagMaxMs: number
  readonly groups: GroupSettings
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
  checkCluster(config)
  checkReachable(config)
  return { config, entries }
}

/** What others are told must be something they can dial. */
function checkReachable({ listen, advertise, voters, join, nodeId }: NodeConfig): void {
  const wrong = advertise.find(({ host, port }) => isWildcard(host) || port === 0)
  if (wrong !== undefined)
    throw new TidemarkError('INVALID_CONFIG', `advertise has ${formatAddress(wrong.host, wrong.port)}, which nobody can dial`)
  const isTold = advertise.length > 0 || voters.some((voter) => voter.nodeId === nodeId)
  const hasOthers = voters.length > 0 || join.length > 0
  if (isWildcard(listen.host) && hasOthers && !isTold)
    throw new TidemarkError(
      'INVALID_CONFIG',
      `listening on ${formatAddress(listen.host, listen.port)} does not say where other nodes reach this one: set advertise`,
    )
}

/** What settings mean together. */
function checkCluster({
  nodeId,
  voters,
  join,
  roles,
  sessionTimeoutMs,
  heartbeatIntervalMs,
  electionTimeoutMs,
  electionHeartbeatIntervalMs,
  groups,
}: NodeConfig): void {
  const wrong = (problem: string): TidemarkError => new TidemarkError('INVALID_CONFIG', problem)
  if (voters.length > 0 && join.length > 0) throw wrong('voters begins a new cluster, join enters a running one: set one of them')
  const isVoter = voters.some((voter) => voter.nodeId === nodeId)
  const isController = roles.includes('controller')
  if (isController && voters.length > 0 && !isVoter)
    throw wrong(`node ${nodeId} has the role controller and is not among the voters; give it \`join\` to let it in later`)
  if (!isController && isVoter) throw wrong(`node ${nodeId} is among the voters and has not the role controller`)
  if (!isController && voters.length === 0 && join.length === 0)
    throw wrong('a node without the role controller needs `join`, or the `voters` of its cluster')
  if (isController && nodeId < 1) throw wrong('a controller has a node_id of 1 or more')
  if (heartbeatIntervalMs * 2 > sessionTimeoutMs) throw wrong('heartbeat_interval fits at least twice into session_timeout')
  if (electionHeartbeatIntervalMs * 2 > electionTimeoutMs)
    throw wrong('election_heartbeat_interval fits at least twice into election_timeout')
  if (groups.sessionTimeoutMs < groups.sessionTimeoutMinMs || groups.sessionTimeoutMs > groups.sessionTimeoutMaxMs)
    throw wrong('groups.session_timeout lies between groups.session_timeout_min and groups.session_timeout_max')
  if (groups.rebalanceTimeoutMs > groups.rebalanceTimeoutMaxMs)
    throw wrong('groups.rebalance_timeout is not larger than groups.rebalance_timeout_max')
}

/** Some fields of a configuration. */
export type ConfigOverrides = Partial<Omit<NodeConfig, 'limits' | 'groups'>> & {
  readonly limits?: Partial<Limits>
  readonly groups?: Partial<GroupSettings>
}

/** For nodes inside another process: the defaults with some fields replaced. */
export function defaultNodeConfig(overrides: ConfigOverrides = {}): NodeConfig {
  const { config } = loadNodeConfig({})
  return Object.freeze({
    ...config,
    ...overrides,
    limits: Object.freeze({ ...config.limits, ...overrides.limits }),
    groups: Object.freeze({ ...config.groups, ...overrides.groups }),
  })
}

function configOf(values: Record<string, unknown>): NodeConfig {
  const get = <T>(key: string): T => values[key] as T
  return Object.freeze({
    listen: get<ListenAddress>('listen'),
    advertise: get<readonly ListenAddress[]>('advertise'),
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
    compactionCheckMs: get<number>('compaction_check'),
    scrubPeriodMs: get<number>('scrub_period'),
    shutdownTimeoutMs: get<number>('shutdown_timeout'),
    voters: get<readonly VoterAddress[]>('voters'),
    join: get<readonly ListenAddress[]>('join'),
    sessionTimeoutMs: get<number>('session_timeout'),
    heartbeatIntervalMs: get<number>('heartbeat_interval'),
    electionTimeoutMs: get<number>('election_timeout'),
    electionHeartbeatIntervalMs: get<number>('election_heartbeat_interval'),
    replicaLagMaxMs: get<number>('replica_lag_max'),
    groups: Object.freeze({
      sessionTimeoutMs: get<number>('groups.session_timeout'),
      sessionTimeoutMinMs: get<number>('groups.session_timeout_min'),
      sessionTimeoutMaxMs: get<number>('groups.session_timeout_max'),
      rebalanceTimeoutMs: get<number>('groups.rebalance_timeout'),
      rebalanceTimeoutMaxMs: get<number>('groups.rebalance_timeout_max'),
      heartbeatIntervalMs: get<number>('groups.heartbeat_interval'),
      offsetsRetentionMs: get<number>('groups.offsets_retention'),
      offsetsPartitions: get<number>('groups.offsets_partitions'),
    }),
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
      compactionMemoryBytes: get<number>('limits.compaction_memory'),
      compactionBytesPerSecond: get<number>('limits.compaction_bytes_per_second'),
      openFilesMax: get<number>('limits.open_files'),
      scrubBytesPerSecondMax: get<number>('limits.scrub_bytes_per_second'),
      diskMinFreeBytes: get<number>('limits.disk_min_free'),
      handshakeTimeoutMs: get<number>('limits.handshake_timeout'),
      idleTimeoutMs: get<number>('limits.idle_timeout'),
      keepaliveIntervalMs: get<number>('limits.keepalive_interval'),
      keepaliveTimeoutMs: get<number>('limits.keepalive_timeout'),
      groupsMax: get<number>('limits.groups'),
      groupMembersMax: get<number>('limits.group_members'),
      groupOffsetsMax: get<number>('limits.group_offsets'),
      groupMetricsMax: get<number>('limits.group_metrics'),
    }),
  })
}

/** Longer than the name of any setting: what nests so deep holds itself, as an alias of YAML can. */
const PREFIX_LENGTH_MAX = 100

/** `{ limits: { fetch_bytes: '1MiB' } }` → `{ 'limits.fetch_bytes': '1MiB' }`. */
function flatten(file: unknown, where: string, prefix = ''): Record<string, string> {
  if (file === null || file === undefined) return {}
  if (prefix.length > PREFIX_LENGTH_MAX) throw new TidemarkError('INVALID_CONFIG', `${where}: ${prefix.slice(0, 30)}… is no setting`)
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
