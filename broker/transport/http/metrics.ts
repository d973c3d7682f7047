/**
 * `/metrics` in the Prometheus text format. The numbers are kept as plain fields where the work
 * happens; here they are given their names when someone asks, and prom-client is loaded
 * only then.
 *
 * Labels are bounded: nothing a client sends becomes a label, save the names of groups (`group-metrics.ts`). Other per-partition numbers are
 * the CLI's business (`tidemark offsets`).
 */
import type { Broker } from '../../broker.ts'
import { LATENCY_BUCKETS_MS, type LatencyHistogram } from '../../counters.ts'
import { nodeHealth, underReplicated } from '../../operations/health.ts'

interface Sample {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge'
  readonly read: (broker: Broker) => number
}

const SAMPLES: readonly Sample[] = [
  {
    name: 'tidemark_node_healthy',
    help: '1 when the node serves and nothing is wrong',
    type: 'gauge',
    read: (broker) => (nodeHealth(broker).isHealthy ? 1 : 0),
  },
  { name: 'tidemark_node_partitions', help: 'Partitions on this node', type: 'gauge', read: (broker) => broker.partitions.count },
  {
    name: 'tidemark_node_failed_partitions',
    help: 'Partitions on this node that could not be opened',
    type: 'gauge',
    read: (broker) => broker.partitions.failures().length,
  },
  {
    name: 'tidemark_node_under_replicated_partitions',
    help: 'Partitions that this node leads and that have replicas not in sync',
    type: 'gauge',
    read: (broker) => underReplicated(broker).length,
  },
  { name: 'tidemark_node_connections', help: 'Open connections', type: 'gauge', read: (broker) => broker.portStats().connectionCount },
  {
    name: 'tidemark_node_connections_refused_total',
    help: 'Connections refused because there were too many',
    type: 'counter',
    read: (broker) => broker.portStats().refusedCount,
  },
  {
    name: 'tidemark_node_connections_unknown_total',
    help: 'Connections closed because they spoke no known protocol',
    type: 'counter',
    read: (broker) => broker.portStats().unknownCount,
  },
  {
    name: 'tidemark_produce_bytes_total',
    help: 'Bytes of record batches appended',
    type: 'counter',
    read: (broker) => broker.counters.producedBytes,
  },
  {
    name: 'tidemark_produce_batches_total',
    help: 'Record batches appended',
    type: 'counter',
    read: (broker) => broker.counters.producedBatchCount,
  },
  {
    name: 'tidemark_produce_failed_total',
    help: 'Batches refused or not acknowledged',
    type: 'counter',
    read: (broker) => broker.counters.produceFailedCount,
  },
  {
    name: 'tidemark_produce_inflight_bytes',
    help: 'Bytes of batches not yet acknowledged',
    type: 'gauge',
    read: (broker) => broker.produceBudget.usedBytes,
  },
  {
    name: 'tidemark_produce_inflight_limit_bytes',
    help: 'Most bytes of batches not yet acknowledged',
    type: 'gauge',
    read: (broker) => broker.produceBudget.maxBytes,
  },
  {
    name: 'tidemark_produce_refused_total',
    help: 'Batches refused because the node had too much in hand',
    type: 'counter',
    read: (broker) => broker.produceBudget.refusedCount,
  },
  {
    name: 'tidemark_fetch_bytes_total',
    help: 'Bytes of record batches read by consumers',
    type: 'counter',
    read: (broker) => broker.counters.fetchedBytes,
  },
  {
    name: 'tidemark_fetch_cold_reads_total',
    help: 'Reads that the tail cache could not serve',
    type: 'counter',
    read: (broker) => broker.counters.coldReadCount,
  },
  { name: 'tidemark_fetch_parked', help: 'Fetches waiting for records', type: 'gauge', read: (broker) => broker.purgatory.parkedCount },
  {
    name: 'tidemark_fetch_unsent_bytes',
    help: 'Bytes of answers not yet taken by the socket',
    type: 'gauge',
    read: (broker) => broker.responseMemory.usedBytes,
  },
  {
    name: 'tidemark_compaction_runs_total',
    help: 'Compactions of a log that came to their end',
    type: 'counter',
    read: (broker) => broker.counters.compaction.runCount,
  },
  {
    name: 'tidemark_compaction_failed_total',
    help: 'Compactions of a log that failed',
    type: 'counter',
    read: (broker) => broker.counters.compaction.failedCount,
  },
  {
    name: 'tidemark_compaction_read_bytes_total',
    help: 'Bytes of record batches read by compaction',
    type: 'counter',
    read: (broker) => broker.counters.compaction.readBytes,
  },
  {
    name: 'tidemark_compaction_written_bytes_total',
    help: 'Bytes of record batches written by compaction',
    type: 'counter',
    read: (broker) => broker.counters.compaction.writtenBytes,
  },
  {
    name: 'tidemark_compaction_removed_records_total',
    help: 'Records compacted away',
    type: 'counter',
    read: (broker) => broker.counters.compaction.removedRecordCount,
  },
  {
    name: 'tidemark_compaction_seconds_total',
    help: 'Time spent compacting',
    type: 'counter',
    read: (broker) => broker.counters.compaction.totalMs / 1000,
  },
  {
    name: 'tidemark_compaction_damaged_logs',
    help: 'Logs that are not compacted any more because of damage that was met',
    type: 'gauge',
    read: (broker) => broker.partitions.all().filter(({ log }) => log.compactor.failure !== undefined).length,
  },
  {
    name: 'tidemark_scrub_bytes_total',
    help: 'Bytes read from the disk to find damage',
    type: 'counter',
    read: (broker) => broker.counters.scrubbedBytes,
  },
  {
    name: 'tidemark_scrub_passes_total',
    help: 'Times everything on disk was read to find damage',
    type: 'counter',
    read: (broker) => broker.counters.scrubPassCount,
  },
  {
    name: 'tidemark_replica_damaged_total',
    help: 'Replicas on this node that were found damaged',
    type: 'counter',
    read: (broker) => broker.damage()?.foundCount ?? 0,
  },
  {
    name: 'tidemark_replica_damaged',
    help: 'Replicas on this node that are damaged now',
    type: 'gauge',
    read: (broker) => broker.damage()?.list().length ?? 0,
  },
  {
    name: 'tidemark_metadata_version',
    help: 'Version of the metadata this node has applied',
    type: 'gauge',
    read: (broker) => broker.view.image.version,
  },
  {
    name: 'tidemark_storage_syncs_total',
    help: 'Times data was made durable',
    type: 'counter',
    read: (broker) => broker.storageStats().syncCount,
  },
  {
    name: 'tidemark_storage_sync_seconds_total',
    help: 'Time spent making data durable',
    type: 'counter',
    read: (broker) => broker.storageStats().syncTotalMs / 1000,
  },
  {
    name: 'tidemark_storage_tail_cache_bytes',
    help: 'Bytes of the newest batches kept in memory',
    type: 'gauge',
    read: (broker) => broker.storageStats().tailCacheBytes,
  },
  {
    name: 'tidemark_storage_open_files',
    help: 'Segment and index files open now',
    type: 'gauge',
    read: (broker) => broker.storageStats().openFileCount,
  },
]

/** The page as it is now. Before the node has a broker it is empty. */
export async function renderMetrics(broker: Broker | undefined): Promise<{ readonly contentType: string; readonly text: string }> {
  const { Registry, collectDefaultMetrics, Gauge, Counter } = await import('prom-client')
  if (broker === undefined) return { contentType: Registry.PROMETHEUS_CONTENT_TYPE, text: '' }
  const registry = new Registry()
  for (const { name, help, type, read } of SAMPLES) {
    if (type === 'gauge') new Gauge({ name, help, registers: [registry] }).set(read(broker))
    else new Counter({ name, help, registers: [registry] }).inc(read(broker))
  }
  processRegistry ??= new Registry()
  if (!isCollecting) {
    isCollecting = true
    // Event loop delay, garbage collection, memory, CPU: measured from the first scrape on.
    collectDefaultMetrics({ register: processRegistry, prefix: 'tidemark_' })
  }
  const own = await registry.metrics()
  const latency = renderHistogram(
    'tidemark_produce_latency_seconds',
    'Time from a batch being received to its acknowledgement',
    broker.counters.produceLatency,
  )
  const groups = broker.lateGroups.present === undefined ? '' : await (await import('./group-metrics.ts')).renderGroupMetrics(broker)
  const process = await processRegistry.metrics()
  return { contentType: registry.contentType, text: `${own}${latency}${groups}${process}` }
}

let processRegistry: import('prom-client').Registry | undefined
let isCollecting = false

function renderHistogram(name: string, help: string, histogram: LatencyHistogram): string {
  const lines = [`# HELP ${name} ${help}`, `# TYPE ${name} histogram`]
  let cumulated = 0
  LATENCY_BUCKETS_MS.forEach((boundMs, bucket) => {
    cumulated += histogram.counts[bucket] ?? 0
    lines.push(`${name}_bucket{le="${boundMs / 1000}"} ${cumulated}`)
  })
  lines.push(
    `${name}_bucket{le="+Inf"} ${histogram.count}`,
    `${name}_sum ${histogram.sumMs / 1000}`,
    `${name}_count ${histogram.count}`,
    '',
  )
  return `${lines.join('\n')}\n`
}
