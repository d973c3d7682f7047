/** The part of `/metrics` that is about consumer groups. Its labels come from clients: how many there are is bounded by `limits.group_metrics`. */
import type { Broker } from '../../broker.ts'
import { type GroupMetric, groupMetrics } from '../../operations/group-metrics.ts'

interface Family {
  readonly name: string
  readonly help: string
  readonly read: (metric: GroupMetric) => number
}

const FAMILIES: readonly Family[] = [
  {
    name: 'tidemark_group_lag_records',
    help: 'Records a group still has to read in a partition',
    read: ({ lagRecords }) => lagRecords,
  },
  {
    name: 'tidemark_group_lag_seconds',
    help: 'Age of the oldest record a group still has to read in a partition, by its timestamp; 0 at the end',
    read: ({ lagMs }) => lagMs / 1000,
  },
  {
    name: 'tidemark_group_last_progress_seconds',
    help: 'Time for which a group had something to read in a partition and its committed offset did not move; 0 at the end',
    read: ({ noProgressMs }) => noProgressMs / 1000,
  },
]

export async function renderGroupMetrics(broker: Broker): Promise<string> {
  const { metrics, groupCount, memberCount, unnamedCount } = await groupMetrics(broker)
  const lines = [
    ...gauge('tidemark_groups', 'Consumer groups this node coordinates', groupCount),
    ...gauge('tidemark_group_members', 'Members of the groups this node coordinates', memberCount),
    ...gauge(
      'tidemark_group_partitions_unnamed',
      'Partitions of groups left out below, because they are more than limits.group_metrics',
      unnamedCount,
    ),
  ]
  for (const { name, help, read } of FAMILIES) {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} gauge`)
    for (const metric of metrics) lines.push(`${name}{${labelsOf(metric)}} ${read(metric)}`)
  }
  return `${lines.join('\n')}\n`
}

function gauge(name: string, help: string, value: number): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} gauge`, `${name} ${value}`]
}

function labelsOf({ group, topic, partition }: GroupMetric): string {
  return `group="${escaped(group)}",topic="${escaped(topic)}",partition="${partition}"`
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
