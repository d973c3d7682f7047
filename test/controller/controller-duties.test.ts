/** The controller over a log, with time that passes: who is silent is fenced, who comes is filled, who comes back leads again. */
import { expect, it } from 'vitest'
import { Controller } from '../../controller/controller.ts'
import type { PartitionMetadata } from '../../controller/metadata/image.ts'
import { ElectionType, NodeAction } from '../../protocol/gen/tidemark/v1/cluster.ts'
import { MemoryStore } from './memory-store.ts'
import { createRequest, partsOf, requestOf, settle } from './fixtures.ts'
import { openSingleVoterLog } from './single-voter-log.ts'

const SESSION_MS = 6000

/** A controller whose clock and rounds are in the hands of the test; nodes beat with every round unless they are silent. */
async function start() {
  let nowMs = 0
  let round = (): void => {}
  const parts = partsOf()
  const timers = { ...parts.runtime.timers, after: parts.runtime.timers.after.bind(parts.runtime.timers), nextTurn: () => {} }
  const controller = new Controller(await openSingleVoterLog(new MemoryStore()), {
    ...parts,
    sessionTimeoutMs: SESSION_MS,
    runtime: {
      ...parts.runtime,
      clock: { now: () => nowMs, monotonic: () => nowMs },
      timers: {
        ...timers,
        every: (_ms, run) => {
          round = run
          return { cancel: () => {} }
        },
      },
    },
  })
  await controller.bootstrap()
  const epochs = new Map<number, number>()
  const join = async (nodeId: number): Promise<void> => {
    epochs.set(nodeId, (await controller.registerNode(requestOf(nodeId))).nodeEpoch)
    await beat(nodeId)
  }
  const beat = async (nodeId: number): Promise<void> => {
    const nodeEpoch = epochs.get(nodeId) as number
    const { version } = controller.image
    await controller.heartbeat({ clusterId: '', nodeId, nodeEpoch, metadataVersion: version, wantFence: false, wantShutdown: false })
  }
  /** Leaders take in whoever is alive. */
  const catchUp = async (): Promise<void> => {
    for (const topic of controller.image.topics.values()) {
      for (const [partition, { leader, leaderEpoch, partitionEpoch, replicas }] of topic.partitions.entries()) {
        if (leader < 0) continue
        const isr = replicas.filter((id) => controller.image.nodes.get(id)?.fenced === false)
        const states = isr.map((nodeId) => ({ nodeId, nodeEpoch: epochs.get(nodeId) as number }))
        const change = { topicId: topic.topicId, partition, leaderEpoch, partitionEpoch, isr: states }
        const { partitions } = await controller.alterPartitions({
          clusterId: '',
          nodeId: leader,
          nodeEpoch: epochs.get(leader) as number,
          partitions: [change],
        })
        expect(partitions[0]?.error).toBeUndefined()
      }
    }
  }
  const pass = async (rounds: number, silent: readonly number[] = []): Promise<void> => {
    for (let at = 0; at < rounds; at++) {
      nowMs += SESSION_MS / 10
      for (const nodeId of epochs.keys()) if (!silent.includes(nodeId)) await beat(nodeId)
      round()
      await settle()
      await catchUp()
    }
  }
  const partitions = (): readonly PartitionMetadata[] => controller.image.topics.get('orders')?.partitions ?? []
  const counts = (): Record<string, number> =>
    Object.fromEntries([...epochs.keys()].map((nodeId) => [nodeId, partitions().filter(({ leader }) => leader === nodeId).length]))
  return { controller, join, pass, counts, partitions }
}

it('balances leaders over nodes that join, and over those that come back', async () => {
  const { controller, join, pass, counts } = await start()
  await join(1)
  await controller.createTopics({ topics: [{ name: 'orders', partitions: 12, replicas: 1, configs: {} }], validateOnly: false })
  await join(2)
  await join(3)
  await pass(10)
  expect(counts()).toEqual({ 1: 4, 2: 4, 3: 4 })
  expect(await controller.listReassignments({})).toEqual({ partitions: [] })
  const { version } = controller.image
  await pass(10)
  expect(controller.image.version, 'where nothing is to do nothing is recorded').toBe(version)
  await controller.close()
})

it('fences who is silent for a session, and gives leadership back when it is heard of again', async () => {
  const { controller, join, pass, counts } = await start()
  for (const nodeId of [1, 2, 3]) await join(nodeId)
  await controller.createTopics({ topics: [{ name: 'orders', partitions: 6, replicas: 3, configs: {} }], validateOnly: false })
  await pass(9, [1])
  expect(counts()).toEqual({ 1: 2, 2: 2, 3: 2 })
  await pass(3, [1])
  expect(counts()[1]).toBe(0)
  expect(controller.image.nodes.get(1)?.fenced).toBe(true)
  await pass(3)
  expect(counts()).toEqual({ 1: 2, 2: 2, 3: 2 })
  await controller.close()
})

it('empties a drained node, which can be removed then', async () => {
  const { controller, join, pass, counts, partitions } = await start()
  for (const nodeId of [1, 2, 3]) await join(nodeId)
  await controller.createTopics({ topics: [{ name: 'orders', partitions: 6, replicas: 2, configs: {} }], validateOnly: false })
  await controller.alterNodes({ nodes: [{ nodeId: 2, action: NodeAction.DRAIN }] })
  await pass(5)
  expect(partitions().flatMap(({ replicas }) => replicas)).not.toContain(2)
  expect(counts()).toEqual({ 1: 3, 2: 0, 3: 3 })
  await pass(12, [2])
  expect((await controller.alterNodes({ nodes: [{ nodeId: 2, action: NodeAction.REMOVE }] })).nodes[0]?.error).toBeUndefined()
  expect([...controller.image.nodes.keys()]).toEqual([1, 3])
  await controller.close()
})

it('takes requests for moves and elections', async () => {
  const { controller, join, pass, partitions } = await start()
  for (const nodeId of [1, 2]) await join(nodeId)
  await controller.createTopics(createRequest('orders'))
  const [first = 0] = partitions()[0]?.replicas ?? []
  const other = first === 1 ? 2 : 1
  await controller.reassign({ partitions: [{ topic: 'orders', partition: 0, replicas: [other, first] }] })
  expect((await controller.listReassignments({})).partitions).toMatchObject([{ adding: [other], removing: [] }])
  await pass(1)
  const { partitions: elected } = await controller.electLeaders({
    type: ElectionType.PREFERRED,
    topics: [{ topic: 'orders', partitions: [0] }],
  })
  expect(elected[0]).toMatchObject({ error: undefined, leader: other })
  await controller.close()
})
