/** THE table of the settings of a node: `config describe`, `docs/configuration.md` and validation come from it. */
import { duration, integer, type NodeSetting, size } from './setting-values.ts'

const GIB = 1024 ** 3
const DAY_MS = 86_400_000

export const NODE_SETTINGS: Readonly<Record<string, NodeSetting>> = {
  listen: {
    type: { kind: 'address' },
    defaultText: '127.0.0.1:9092',
    text: 'The address and port for everything: gRPC and HTTP. Port 0 takes any free one.',
  },
  advertise: {
    type: { kind: 'addresses' },
    defaultText: '',
    text: 'Where the node is reached. The first is what other nodes dial; a client that came by the n-th of a node is told the n-th of every other, so that it finds all of them from where it is. Empty: the address listened on; where that is every address of the machine (0.0.0.0), other nodes dial the one of `voters`, and clients are told the one they dialled.',
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
  default_replicas: {
    type: integer(0, 100),
    defaultText: '0',
    text: 'Replicas of a topic whose creator does not say. 0: 3 where three nodes are alive, else 1.',
  },
  retention_check: { type: duration(100, DAY_MS), defaultText: '30s', text: 'How often old segments are looked for.' },
  compaction_check: {
    type: duration(100, DAY_MS),
    defaultText: '15s',
    text: 'How often logs are looked for that have enough to compact.',
  },
  scrub_period: {
    type: duration(0, 365 * DAY_MS),
    defaultText: '7d',
    text: 'Within this time everything on disk is read once and its checksums are compared, so that damage is found while another replica has what is lost. 0s: never.',
  },
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
  voters: {
    type: { kind: 'voters' },
    defaultText: '',
    text: 'The controllers a new cluster begins with, the same list on each: `1@host:port,2@host:port,3@host:port`. Empty: this node alone. Not looked at once the node belongs to a quorum.',
  },
  join: {
    type: { kind: 'addresses' },
    defaultText: '',
    text: 'Nodes of a running cluster that this one shall become part of, instead of beginning a new one.',
  },
  session_timeout: {
    type: duration(100, 3_600_000),
    defaultText: '6s',
    text: 'How long a node may be silent before it is fenced: its leaderships go to others.',
  },
  heartbeat_interval: {
    type: duration(10, 600_000),
    defaultText: '1s',
    text: 'How often a node tells the active controller that it is alive. Several times within the session.',
  },
  election_timeout: {
    type: duration(50, 600_000),
    defaultText: '1s',
    text: 'How long controllers wait for their leader, up to twice as long by chance, before they elect another.',
  },
  election_heartbeat_interval: {
    type: duration(5, 60_000),
    defaultText: '100ms',
    text: 'How often the leader of the controllers is heard. Several times within the election timeout.',
  },
  replica_lag_max: {
    type: duration(100, 3_600_000),
    defaultText: '10s',
    text: 'How long a replica may be behind its leader before it does not count as in sync any more.',
  },
  'groups.session_timeout': {
    type: duration(100, 3_600_000),
    defaultText: '30s',
    text: 'How long a member of a consumer group may be silent before its partitions go to others, where it does not say.',
  },
  'groups.session_timeout_min': {
    type: duration(100, 3_600_000),
    defaultText: '1s',
    text: 'The shortest session a member may ask for. Short ones end while a process merely collects garbage.',
  },
  'groups.session_timeout_max': {
    type: duration(100, DAY_MS),
    defaultText: '30m',
    text: 'The longest session a member may ask for. For so long nobody reads what a dead member had.',
  },
  'groups.rebalance_timeout': {
    type: duration(100, DAY_MS),
    defaultText: '5m',
    text: 'How long a member may take to let go of partitions, where it does not say: the longest its handler may be busy with one record while the group changes.',
  },
  'groups.rebalance_timeout_max': {
    type: duration(100, DAY_MS),
    defaultText: '1h',
    text: 'The longest a member may ask for to let go of partitions.',
  },
  'groups.heartbeat_interval': {
    type: duration(10, 600_000),
    defaultText: '3s',
    text: 'How often members are asked to be heard; four times within their session at least.',
  },
  'groups.offsets_retention': {
    type: duration(1000, 3650 * DAY_MS),
    defaultText: '7d',
    text: 'How long the offsets of a group are kept that has no members any more, and of topics that no member reads any more.',
  },
  'groups.offsets_partitions': {
    type: integer(1, 1000),
    defaultText: '12',
    text: 'Partitions of `__consumer_offsets`, made when groups are used for the first time; fixed from then on. Groups are spread over their leaders.',
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
  'limits.compaction_memory': {
    type: size(64 * 1024, 64 * GIB),
    defaultText: '32MiB',
    text: 'Memory for the keys of the log that is being compacted, 30 bytes each; a log with more takes several passes. Only taken while one is.',
  },
  'limits.compaction_bytes_per_second': {
    type: size(0, 64 * GIB),
    defaultText: '32MiB',
    text: 'Bytes that compaction reads and writes a second, of the node; 0: as fast as it goes.',
  },
  'limits.open_files': { type: integer(16, 1_000_000), defaultText: '4096', text: 'Segment and index files open at the same time.' },
  'limits.scrub_bytes_per_second': {
    type: size(64 * 1024, 64 * GIB),
    defaultText: '8MiB',
    text: 'The most that is read in a second to find damage, however much there is.',
  },
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
  'limits.groups': {
    type: integer(1, 10_000_000),
    defaultText: '10000',
    text: 'Consumer groups that one node coordinates; more are refused.',
  },
  'limits.group_members': {
    type: integer(1, 100_000),
    defaultText: '1000',
    text: 'Members of one consumer group; more are refused with GROUP_MAX_SIZE_REACHED.',
  },
  'limits.group_offsets': {
    type: integer(1, 100_000_000),
    defaultText: '1000000',
    text: 'Committed offsets of all groups that one node coordinates, a few hundred bytes each; more are refused.',
  },
  'limits.group_metrics': {
    type: integer(0, 1_000_000),
    defaultText: '2000',
    text: 'Partitions of groups that `/metrics` of one node names; the rest are counted only.',
  },
  'limits.keepalive_timeout': { type: duration(100, 600_000), defaultText: '10s', text: 'How long the answer to that ping may take.' },
}
