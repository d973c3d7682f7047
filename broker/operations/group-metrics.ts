/** How the groups that this node coordinates are doing, partition by partition, for the page of metrics: the same numbers as `DescribeGroups`. */
import { TidemarkError } from '../../protocol/errors.ts'
import type { Broker } from '../broker.ts'
import type { GroupState } from '../groups/group-state.ts'
import { partitionOf, topicIdOf } from '../groups/partition-keys.ts'
import { groupLags, partitionsOf } from './group-lag.ts'

export interface GroupMetric {
  readonly group: string
  readonly topic: string
  readonly partition: number
  readonly lagRecords: number
  readonly lagMs: number
  readonly noProgressMs: number
}

export interface GroupMetrics {
  /** Of partitions whose leader answered. */
  readonly metrics: readonly GroupMetric[]
  readonly groupCount: number
  readonly memberCount: number
  /** Partitions of groups that are too many to be named. */
  readonly unnamedCount: number
}

export async function groupMetrics(broker: Broker): Promise<GroupMetrics> {
  const states = broker.groups.shards().flatMap((shard) => [...shard.groups.values()].map(({ state }) => state))
  const { named, unnamedCount } = choose(states, broker.config.limits.groupMetricsMax)
  const lags = await broker.groups.lags.get(' ', () => groupLags(broker, named))
  const { topics } = broker.groups
  const metrics = named.flatMap(({ group }) =>
    [...(lags.get(group) ?? [])].flatMap(([key, lag]) => {
      const topic = topics.byId(topicIdOf(key))?.name
      return topic === undefined || TidemarkError.is(lag) ? [] : [{ group, topic, partition: partitionOf(key), ...lag }]
    }),
  )
  return { metrics, groupCount: states.length, memberCount: states.reduce((sum, { members }) => sum + members.size, 0), unnamedCount }
}

/** Whole groups, by id, as long as their partitions fit. */
function choose(states: readonly GroupState[], max: number): { readonly named: readonly GroupState[]; readonly unnamedCount: number } {
  let namedCount = 0
  let unnamedCount = 0
  const named = [...states]
    .sort((a, b) => (a.group < b.group ? -1 : 1))
    .filter((state) => {
      const count = partitionsOf(state).length
      const fits = namedCount + count <= max
      if (fits) namedCount += count
      else unnamedCount += count
      return fits
    })
  return { named, unnamedCount }
}
