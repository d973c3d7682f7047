/** Questions that only the leader of a partition answers, for whole topics and from any node. */
import { fromErrorDetail } from '../protocol/error-wire.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { DeleteRecordsPartition, PartitionLogDescription } from '../protocol/gen/tidemark/v1/log.ts'
import type { ClusterClient } from './cluster-client.ts'
import { withRetries } from './retry.ts'
import { leaderAddress } from './topic-metadata.ts'

export interface LeaderCall {
  readonly signal?: AbortSignal | undefined
}

/** A node that does not answer is not waited for longer: another may lead by now. */
const ATTEMPT_TIMEOUT_MS = 5000

/** The logs of a topic, each as its leader has it, by partition. */
export async function describeLogs(client: ClusterClient, topic: string, { signal }: LeaderCall): Promise<PartitionLogDescription[]> {
  const found = new Map<number, PartitionLogDescription>()
  const refused = new Map<number, PartitionLogDescription>()
  await retrying(client, topic, signal, async () => {
    const { partitions } = await client.refresh(topic)
    const addresses = [
      ...new Set(partitions.flatMap(({ address }, partition) => (address === undefined || found.has(partition) ? [] : [address]))),
    ]
    for (const address of addresses) {
      const answer = await client.connection(address).call('describeLogs', { topics: [topic] }, { timeoutMs: ATTEMPT_TIMEOUT_MS, signal })
      // A node describes every replica it has; the leader's is the one that counts, once it knows what is committed.
      for (const one of answer.partitions)
        if (partitions[one.partition]?.address === address) (one.error === undefined ? found : refused).set(one.partition, one)
    }
    const missing = partitions.findIndex((_, partition) => !found.has(partition))
    const error = refused.get(missing)?.error
    refused.clear()
    if (error !== undefined) throw fromErrorDetail(error)
    if (missing >= 0) throw new TidemarkError('LEADER_NOT_AVAILABLE', `${topic}-${missing} has no leader at the moment`)
  })
  return [...found.values()].sort((a, b) => a.partition - b.partition)
}

/** Deletes the oldest records of one partition; returns where it begins now. */
export async function deleteRecords(client: ClusterClient, wanted: DeleteRecordsPartition, { signal }: LeaderCall): Promise<number> {
  return retrying(client, wanted.topic, signal, async () => {
    const node = leaderAddress(await client.topic(wanted.topic, { signal }), wanted.partition)
    const answer = await client.connection(node).call('deleteRecords', { partitions: [wanted] }, { timeoutMs: ATTEMPT_TIMEOUT_MS, signal })
    const [result] = answer.partitions
    if (result?.error !== undefined) throw fromErrorDetail(result.error)
    return result?.logStartOffset ?? 0
  })
}

function retrying<Result>(
  client: ClusterClient,
  topic: string,
  signal: AbortSignal | undefined,
  attempt: () => Promise<Result>,
): Promise<Result> {
  const deadlineMs = client.runtime.clock.monotonic() + client.requestTimeoutMs
  return withRetries(client.runtime, deadlineMs, signal, async () => {
    try {
      return await attempt()
    } catch (error) {
      client.forget(topic)
      throw error
    }
  })
}
