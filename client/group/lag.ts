/** How far behind a group is, as its coordinator tells it. */
import { fromErrorDetail } from '../../protocol/error-wire.ts'
import type { GroupCalls } from '../group-calls.ts'
import type { PartitionPosition } from '../types.ts'
import type { GroupPartitionLag } from './types.ts'

/** In the partitions whose positions are given. Throws what the first of them cannot be asked for. */
export async function lagOf(
  calls: GroupCalls,
  positions: readonly PartitionPosition[],
  signal: AbortSignal | undefined,
): Promise<GroupPartitionLag[]> {
  const { groups } = await calls.call('describeGroups', { groups: [calls.group], withoutLag: false }, { signal }, (answer) => {
    if (answer.groups[0]?.error !== undefined) throw fromErrorDetail(answer.groups[0].error)
  })
  const found = groups[0]?.partitions ?? []
  return positions.flatMap(({ topic, partition, offset }) => {
    const one = found.find((other) => other.topic === topic && other.partition === partition)
    if (one === undefined) return []
    if (one.error !== undefined) throw fromErrorDetail(one.error)
    return [
      {
        topic,
        partition,
        position: offset,
        committed: one.committedOffset === undefined ? undefined : BigInt(one.committedOffset),
        highWatermark: BigInt(one.highWatermark ?? 0),
        lag: BigInt(one.lagRecords ?? 0),
        lagMs: one.lagMs ?? 0,
      },
    ]
  })
}
