/** Questions that only the leader of a partition answers, for whole topics and from any node. */
import { fromErrorDetail } from '../protocol/error-wire.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { DeleteRecordsPartition, PartitionLogDescription } from '../protocol/gen/tidemark/v1/log.ts'
import type { ClusterClient } from './cluster-client.ts'
import { untilAborted, withRetries } from './retry.ts'
import { leaderAddress, type TopicInfo } from './topic-metadata.ts'

export interface LeaderCall {
  readonly signal?: AbortSignal | undefined
  /** How long it may take, with retries. Default: the client's request timeout. */
  readonly timeoutMs?: number | undefined
}

/** A node that does not answer is not waited for longer: another may lead by now. */
const ATTEMPT_TIMEOUT_MS = 5000

export interface PartitionLogs {
  /** By partition. */
  readonly found: readonly PartitionLogDescription[]
  /** Those whose leader has not said until time was up, or said no. */
  readonly failed: ReadonlyMap<number, TidemarkError>
}

/** The logs of a topic's partitions (default: all of them), each as its leader has it. Throws what concerns the whole topic, `UNKNOWN_PARTITION`, `CANCELLED`. */
export async function describeLogs(
  client: ClusterClient,
  topic: string,
  control: LeaderCall & { readonly partitions?: readonly number[] | undefined },
): Promise<PartitionLogs> {
  const found = new Map<number, PartitionLogDescription>()
  let failed: ReadonlyMap<number, TidemarkError> = new Map()
  try {
    await retrying(client, topic, control, async () => {
      const info = await untilAborted(client.refresh(topic), control.signal)
      const wanted = control.partitions ?? info.partitions.keys()
      const missing = [...wanted].filter((partition) => !found.has(partition))
      failed = await askLeaders(client, info, missing, found, control.signal)
      const [refusal] = failed.values()
      if (refusal !== undefined) throw refusal
    })
  } catch (error) {
    if (![...failed.values()].some((refusal) => refusal === error)) throw error
  }
  return { found: [...found.values()].sort((a, b) => a.partition - b.partition), failed }
}

/** Adds to `found` what the leaders of these partitions answer; returns the others. Throws `UNKNOWN_PARTITION`. */
async function askLeaders(
  client: ClusterClient,
  info: TopicInfo,
  wanted: readonly number[],
  found: Map<number, PartitionLogDescription>,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<number, TidemarkError>> {
  const failed = new Map<number, TidemarkError>()
  const byNode = new Map<string, number[]>()
  for (const partition of wanted) {
    try {
      const address = leaderAddress(info, partition)
      byNode.set(address, [...(byNode.get(address) ?? []), partition])
    } catch (caught) {
      const error = TidemarkError.from(caught)
      if (!error.retriable) throw error
      failed.set(partition, error)
    }
  }
  const ask = async ([address, partitions]: readonly [string, readonly number[]]): Promise<void> => {
    try {
      const call = client.connection(address).call('describeLogs', { topics: [info.name] }, { timeoutMs: ATTEMPT_TIMEOUT_MS, signal })
      // A node describes every replica it has; the leader's is the one that counts, once it knows what is committed.
      const answers = new Map((await untilAborted(call, signal)).partitions.map((one) => [one.partition, one]))
      for (const partition of partitions) {
        const answer = answers.get(partition)
        if (answer === undefined) failed.set(partition, new TidemarkError('UNAVAILABLE', `no node answered for ${info.name}-${partition}`))
        else if (answer.error === undefined) found.set(partition, answer)
        else failed.set(partition, fromErrorDetail(answer.error))
      }
    } catch (caught) {
      for (const partition of partitions) failed.set(partition, TidemarkError.from(caught))
    }
  }
  await Promise.all([...byNode].map(ask))
  return failed
}

/** Deletes the oldest records of one partition; returns where it begins now. */
export async function deleteRecords(client: ClusterClient, wanted: DeleteRecordsPartition, control: LeaderCall): Promise<number> {
  const { signal } = control
  return retrying(client, wanted.topic, control, async () => {
    const node = leaderAddress(await client.topic(wanted.topic, { signal }), wanted.partition)
    const call = client.connection(node).call('deleteRecords', { partitions: [wanted] }, { timeoutMs: ATTEMPT_TIMEOUT_MS, signal })
    const [result] = (await untilAborted(call, signal)).partitions
    if (result?.error !== undefined) throw fromErrorDetail(result.error)
    return result?.logStartOffset ?? 0
  })
}

function retrying<Result>(
  client: ClusterClient,
  topic: string,
  { signal, timeoutMs = client.requestTimeoutMs }: LeaderCall,
  attempt: () => Promise<Result>,
): Promise<Result> {
  const deadlineMs = client.runtime.clock.monotonic() + timeoutMs
  return withRetries(client.runtime, deadlineMs, signal, async () => {
    try {
      return await attempt()
    } catch (error) {
      client.forget(topic)
      throw error
    }
  })
}
