/** From "earliest", "latest", a time and the like to offsets. */
import { fromErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { type ListOffsetsPartition, OffsetPosition, type PartitionOffset } from '../../protocol/gen/tidemark/v1/log.ts'
import type { TopicPartition } from '../../protocol/ids.ts'
import type { ClusterClient, TopicInfo } from '../cluster-client.ts'
import type { StartPosition } from '../types.ts'

type Target = NonNullable<ListOffsetsPartition['target']>

export const EARLIEST: Target = { $case: 'position', value: OffsetPosition.EARLIEST }
export const LATEST: Target = { $case: 'position', value: OffsetPosition.LATEST }

/** Asks the leaders. Undefined for a time after the last record. Throws the first partition's error. */
export async function askOffsets(
  client: ClusterClient,
  partitions: readonly TopicPartition[],
  target: Target,
  signal?: AbortSignal,
): Promise<(number | undefined)[]> {
  const answers = await askPartitions(client, partitions, target, signal)
  return answers.map((answer) => (answer.found ? answer.offset : undefined))
}

export async function askPartitions(
  client: ClusterClient,
  partitions: readonly TopicPartition[],
  target: Target,
  signal?: AbortSignal,
): Promise<PartitionOffset[]> {
  const infos = new Map<string, TopicInfo>()
  for (const { topic } of partitions) if (!infos.has(topic)) infos.set(topic, await client.topic(topic, { signal }))
  const byNode = Map.groupBy(partitions, ({ topic, partition }) => infos.get(topic)?.partitions[partition]?.address ?? '')
  const found = new Map<string, PartitionOffset>()
  for (const [address, group] of byNode) {
    const request = { partitions: group.map(({ topic, partition }) => ({ topic, partition, leaderEpochPlusOne: 0, target })) }
    const response = await client.callAt(() => address || (client.bootstrap[0] as string), 'listOffsets', request, { signal })
    for (const answer of response.partitions) found.set(`${answer.partition} ${answer.topic}`, answer)
  }
  return partitions.map(({ topic, partition }) => {
    const answer = found.get(`${partition} ${topic}`)
    if (answer === undefined) throw new TidemarkError('UNAVAILABLE', `no node answered for ${topic}-${partition}`)
    if (answer.error !== undefined) throw fromErrorDetail(answer.error)
    return answer
  })
}

/** Where to start each partition. */
export async function startOffsets(
  client: ClusterClient,
  partitions: readonly TopicPartition[],
  start: StartPosition,
  signal?: AbortSignal,
): Promise<number[]> {
  if (start === 'earliest') return certain(await askOffsets(client, partitions, EARLIEST, signal))
  if (start === 'latest') return certain(await askOffsets(client, partitions, LATEST, signal))
  if ('offset' in start) return partitions.map(({ topic, partition }) => toOffset(start.offset(topic, partition)))
  const latest = certain(await askOffsets(client, partitions, LATEST, signal))
  if ('last' in start) {
    const earliest = certain(await askOffsets(client, partitions, EARLIEST, signal))
    return latest.map((end, index) => Math.max(earliest[index] as number, end - start.last))
  }
  const timestampMs = start.at instanceof Date ? start.at.getTime() : start.at
  const found = await askOffsets(client, partitions, { $case: 'timestampMs', value: Math.max(0, timestampMs) }, signal)
  return found.map((offset, index) => offset ?? (latest[index] as number))
}

/** An offset of the application's as one of ours. Throws `USAGE` for a negative one or one beyond 2^53. */
export function toOffset(offset: bigint): number {
  if (offset < 0n || offset > BigInt(Number.MAX_SAFE_INTEGER)) throw new TidemarkError('USAGE', `offset ${offset} is outside 0 to 2^53`)
  return Number(offset)
}

function certain(offsets: readonly (number | undefined)[]): number[] {
  return offsets.map((offset) => offset ?? 0)
}
