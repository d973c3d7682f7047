/** From "earliest", "latest", a time and the like to offsets. */
import { fromErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { type ListOffsetsPartition, OffsetPosition, type PartitionOffset } from '../../protocol/gen/tidemark/v1/log.ts'
import type { TopicPartition } from '../../protocol/ids.ts'
import { leaderAddress } from '../topic-metadata.ts'
import type { ClusterClient, TopicInfo } from '../cluster-client.ts'
import { untilAborted, withRetries } from '../retry.ts'
import type { StartPosition } from '../types.ts'

/** A node that does not answer is not waited for longer: another may lead by now. */
const ATTEMPT_TIMEOUT_MS = 5000

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

/** Asks each partition's leader, and again where it has moved, until the client's request timeout. */
export async function askPartitions(
  client: ClusterClient,
  partitions: readonly TopicPartition[],
  target: Target,
  signal?: AbortSignal,
): Promise<PartitionOffset[]> {
  const found = new Map<string, PartitionOffset>()
  const deadlineMs = client.runtime.clock.monotonic() + client.requestTimeoutMs
  await withRetries(client.runtime, deadlineMs, signal, async () => {
    const missing = partitions.filter((one) => !found.has(keyOf(one)))
    const refusal = await askOnce(client, missing, target, found, signal)
    if (refusal !== undefined) throw refusal
  })
  return partitions.map((one) => found.get(keyOf(one)) as PartitionOffset)
}

/** Adds to `found` what the leaders answer; returns the first refusal. */
async function askOnce(
  client: ClusterClient,
  partitions: readonly TopicPartition[],
  target: Target,
  found: Map<string, PartitionOffset>,
  signal: AbortSignal | undefined,
): Promise<TidemarkError | undefined> {
  const infos = new Map<string, TopicInfo>()
  for (const { topic } of partitions) if (!infos.has(topic)) infos.set(topic, await client.topic(topic, { signal }))
  const leaderless = partitions.find(({ topic, partition }) => infos.get(topic)?.partitions[partition]?.address === undefined)
  if (leaderless !== undefined) client.forget(leaderless.topic)
  const byNode = Map.groupBy(partitions, ({ topic, partition }) => leaderAddress(infos.get(topic) as TopicInfo, partition))
  const refusals = await Promise.all(
    [...byNode].map(async ([address, group]) => {
      try {
        return await askNode(client, address, group, target, found, signal)
      } catch (error) {
        for (const { topic } of group) client.forget(topic)
        throw error
      }
    }),
  )
  return refusals.find((refusal) => refusal !== undefined)
}

async function askNode(
  client: ClusterClient,
  address: string,
  group: readonly TopicPartition[],
  target: Target,
  found: Map<string, PartitionOffset>,
  signal: AbortSignal | undefined,
): Promise<TidemarkError | undefined> {
  const request = { partitions: group.map(({ topic, partition }) => ({ topic, partition, leaderEpochPlusOne: 0, target })) }
  const call = client.connection(address).call('listOffsets', request, { timeoutMs: ATTEMPT_TIMEOUT_MS, signal })
  const { partitions } = await untilAborted(call, signal)
  let refusal: TidemarkError | undefined
  for (const one of group) {
    const answer = partitions.find(({ topic, partition }) => topic === one.topic && partition === one.partition)
    if (answer !== undefined && answer.error === undefined) {
      found.set(keyOf(one), answer)
      continue
    }
    const error =
      answer?.error === undefined
        ? new TidemarkError('UNAVAILABLE', `no node answered for ${one.topic}-${one.partition}`)
        : fromErrorDetail(answer.error)
    client.learnLeader(one.topic, one.partition, error)
    refusal ??= error
  }
  return refusal
}

function keyOf({ topic, partition }: TopicPartition): string {
  return `${partition} ${topic}`
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
