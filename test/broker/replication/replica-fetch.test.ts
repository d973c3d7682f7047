/** Whose fetches a leader answers, and what of them it counts. */
import { describe, expect, it } from 'vitest'
import { type ReplicaSource, replicaFetch } from '../../../broker/operations/replica-fetch.ts'
import type { ReplicaFetchRequest, ReplicaFetchResponse } from '../../../protocol/gen/tidemark/v1/replica.ts'
import { ReplicaCluster } from './replica-cluster.ts'

/** Node 1 leads; nothing comes of nodes 2 and 3 but what the test sends in their name. */
async function leading(seed: number) {
  const cluster = new ReplicaCluster(seed)
  // Nobody leaves the ISR because of the silence.
  cluster.replicaLagMaxMs = 3_600_000
  await cluster.begin()
  const [leader] = cluster.nodes
  const partition = leader?.partition
  if (leader?.running === undefined || partition?.isLeader !== true) throw new Error('node 1 leads first')
  for (const follower of [2, 3]) cluster.network.cut(follower, 1)
  await cluster.time.advance(600)
  const { view, registry } = leader.running
  const { runtime } = cluster
  const source: ReplicaSource = { view, partitions: registry, runtime, checkServing: () => {}, damage: () => undefined }
  const ask = async (
    changes: Partial<Omit<ReplicaFetchRequest, 'partitions'>>,
    entry: Partial<ReplicaFetchRequest['partitions'][number]> = {},
  ): Promise<ReplicaFetchResponse | undefined> => {
    let answer: ReplicaFetchResponse | undefined
    const { logEndOffset } = partition.log
    const request: ReplicaFetchRequest = {
      correlationId: 7,
      clusterId: view.image.clusterId,
      nodeId: 2,
      nodeEpoch: view.image.nodes.get(changes.nodeId ?? 2)?.nodeEpoch ?? 0,
      maxWaitMs: 500,
      minBytes: 1,
      maxBytes: 1 << 20,
      ...changes,
      partitions: [
        {
          topicId: partition.topicId,
          partition: 0,
          leaderEpoch: partition.leaderEpoch,
          fetchOffset: logEndOffset,
          lastFetchedEpochPlusOne: partition.log.leaderEpochs.latest + 1,
          flushedOffset: logEndOffset,
          logStartOffset: 0,
          maxBytes: 0,
          suspect: false,
          ...entry,
        },
      ],
    }
    replicaFetch(source, request, (response) => {
      answer = response
    })
    await cluster.time.advance(1)
    return answer
  }
  const append = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) cluster.produce(leader)
    await cluster.time.advance(50)
  }
  return { cluster, partition, ask, append }
}

const codeOf = (answer: ReplicaFetchResponse | undefined): string | undefined => answer?.partitions[0]?.error?.code

describe('a leader', () => {
  it('K05 K27 refuses fetches of another epoch and counts nothing of them', async () => {
    const { partition, ask, append } = await leading(11)
    await append(3)
    const { leaderEpoch } = partition
    for (const nodeId of [2, 3]) expect(codeOf(await ask({ nodeId }, { leaderEpoch: leaderEpoch + 1 }))).toBe('UNKNOWN_LEADER_EPOCH')
    for (const nodeId of [2, 3]) expect(codeOf(await ask({ nodeId }, { leaderEpoch: leaderEpoch - 1 }))).toBe('FENCED_LEADER_EPOCH')
    expect(partition.highWatermark).toBe(0)
    for (const nodeId of [2, 3]) await ask({ nodeId })
    expect(partition.highWatermark).toBe(3)
  })

  it('K26 refuses nodes of another cluster, and earlier runs of nodes', async () => {
    const { partition, ask, append } = await leading(12)
    await append(2)
    expect((await ask({ clusterId: 'another' }))?.error?.code).toBe('INCONSISTENT_CLUSTER_ID')
    expect((await ask({ nodeEpoch: 1, nodeId: 3 }))?.error?.code).toBe('FENCED_NODE_EPOCH')
    expect(codeOf(await ask({ nodeId: 9, nodeEpoch: 99 }))).toBe('INELIGIBLE_REPLICA')
    expect(codeOf(await ask({}, { topicId: 'BBBBBBBBBBBBBBBBBBBBBB' }))).toBe('UNKNOWN_TOPIC_ID')
    expect(partition.highWatermark).toBe(0)
  })

  it('counts what is on disk at the follower, not what it has fetched', async () => {
    const { partition, ask, append } = await leading(23)
    await append(4)
    await ask({ nodeId: 3 })
    await ask({ nodeId: 2 }, { flushedOffset: 1 })
    expect(partition.highWatermark).toBe(1)
    await ask({ nodeId: 2 }, { flushedOffset: 900 })
    expect(partition.highWatermark).toBe(4)
  })

  it('tells a follower where their logs part, and counts nothing of what lies beyond', async () => {
    const { partition, ask, append } = await leading(14)
    await append(4)
    const diverging = (await ask({ nodeId: 2 }, { lastFetchedEpochPlusOne: partition.leaderEpoch + 6, fetchOffset: 3 }))?.partitions[0]
    expect(diverging?.diverging).toEqual({ epoch: partition.leaderEpoch, endOffset: 4 })
    const longer = (await ask({ nodeId: 3 }, { fetchOffset: 6, flushedOffset: 6 }))?.partitions[0]
    expect(longer?.diverging).toEqual({ epoch: partition.leaderEpoch, endOffset: 4 })
    expect(codeOf(await ask({ nodeId: 3 }, { fetchOffset: 6, lastFetchedEpochPlusOne: 0 }))).toBe('OFFSET_OUT_OF_RANGE')
    expect(partition.highWatermark).toBe(0)
  })

  it('answers a fetch that waits when there are records, and one that only reports at once', async () => {
    const { cluster, partition, ask, append } = await leading(15)
    await append(1)
    expect((await ask({ maxBytes: 0, maxWaitMs: 0 }))?.partitions[0]).toMatchObject({ error: undefined, highWatermark: 0 })
    expect(await ask({})).toBeUndefined()
    const behind = await ask({ nodeId: 3 }, { fetchOffset: 0, flushedOffset: 0, lastFetchedEpochPlusOne: 0 })
    expect(behind?.partitions[0]?.batches.length).toBeGreaterThan(0)
    expect(partition.log.logEndOffset).toBe(1)
    await cluster.time.advance(600)
  })
})

describe('a node made leader while its log is being cut', () => {
  it('leads what is left, once that is done', async () => {
    const cluster = new ReplicaCluster(21)
    await cluster.begin()
    const [first, second] = cluster.nodes
    const partition = second?.partition
    const registry = second?.running?.registry
    if (first === undefined || second === undefined || partition === undefined || registry === undefined) throw new Error('two nodes run')
    for (let i = 0; i < 4; i++) cluster.produce(first)
    await cluster.time.advance(200)
    expect(partition.log.logEndOffset).toBe(4)
    const cut = registry.changes.truncate(partition, 2)
    cluster.fence(first)
    cluster.deliver(second)
    expect(cluster.state.leader).toBe(2)
    expect(() => partition.checkLeadership(undefined)).toThrow(expect.objectContaining({ code: 'LEADER_NOT_AVAILABLE', retriable: true }))
    await cluster.run(cut)
    expect(() => partition.checkLeadership(cluster.state.leaderEpoch)).not.toThrow()
    expect(partition.append(Buffer.from((await partition.log.read(1, 1, 2))[0] as Buffer))).toMatchObject({ baseOffset: 2 })
  })
})
