/** Which partitions to read, from where to where. */
import { TidemarkError } from '../../protocol/errors.ts'
import type { TopicPartition } from '../../protocol/ids.ts'
import type { ClusterClient } from '../cluster-client.ts'
import type { ConsumerOptions, EndPosition } from '../types.ts'
import { askOffsets, LATEST, startOffsets, toOffset } from './positions.ts'

export interface Span extends TopicPartition {
  readonly start: number
  /** Reading stops before it; infinite: never. */
  readonly end: number
}

/** Throws `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, and what asking the leaders ends with. */
export async function planReading(client: ClusterClient, topics: Iterable<string>, options: ConsumerOptions): Promise<Span[]> {
  const { signal, start, end, partitions: chosen } = options
  const wanted: TopicPartition[] = []
  for (const topic of topics) {
    const info = await client.topic(topic, { signal })
    const numbers = chosen ?? info.partitions.map((_, partition) => partition)
    const missing = numbers.find((partition) => info.partitions[partition] === undefined)
    if (missing !== undefined)
      throw new TidemarkError('UNKNOWN_PARTITION', `topic ${topic} has no partition ${missing}; it has ${info.partitions.length}`)
    wanted.push(...numbers.map((partition) => ({ topic, partition })))
  }
  const starts = await startOffsets(client, wanted, start, signal)
  const ends = await endOffsets(client, wanted, end ?? 'never', signal)
  return wanted.map((one, index) => ({ ...one, start: starts[index] as number, end: ends[index] as number }))
}

async function endOffsets(
  client: ClusterClient,
  wanted: readonly TopicPartition[],
  end: EndPosition,
  signal: AbortSignal | undefined,
): Promise<number[]> {
  if (end === 'never') return wanted.map(() => Number.POSITIVE_INFINITY)
  if (end === 'now') return (await askOffsets(client, wanted, LATEST, signal)).map((offset) => offset ?? 0)
  return wanted.map(({ topic, partition }) => toOffset(end.offset(topic, partition)))
}
