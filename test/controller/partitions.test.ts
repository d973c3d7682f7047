/** Who is in sync and who leads, through everything that happens to nodes. The ids K… and the rule numbers are those of the design. */
import { describe, expect, it } from 'vitest'
import { alterPartitions } from '../../controller/metadata/alter-partitions.ts'
import type { MetadataImage, NodeMetadata, PartitionMetadata, TopicMetadata } from '../../controller/metadata/image.ts'
import { fenceNodes, retireNode, unfenceNode } from '../../controller/metadata/node-states.ts'
import { registerNode } from '../../controller/metadata/nodes.ts'
import { changePartition, nodeStates } from '../../controller/metadata/partition-change.ts'
import { distrustReplicas } from '../../controller/metadata/distrust-replicas.ts'
import { createTopics } from '../../controller/metadata/topics.ts'
import type { AlterPartitionResult } from '../../protocol/gen/tidemark/v1/controller.ts'
import { clusterOf, commit, createContext, createRequest, idOf, requestOf } from './fixtures.ts'

/** Three nodes and topic `orders`, one partition on all of them. */
function threeReplicas(configs: Record<string, string> = {}): MetadataImage {
  const image = clusterOf(3)
  const [topic] = createRequest('orders').topics
  return commit(
    image,
    createTopics(
      image,
      { topics: [{ ...topic, name: 'orders', partitions: 1, replicas: 3, configs }], validateOnly: false },
      createContext(),
    ),
  )
}

function ordersOf(image: MetadataImage): TopicMetadata {
  return image.topics.get('orders') as TopicMetadata
}

function partitionOf(image: MetadataImage): PartitionMetadata {
  return ordersOf(image).partitions[0] as PartitionMetadata
}

function nodeOf(image: MetadataImage, nodeId: number): NodeMetadata {
  return image.nodes.get(nodeId) as NodeMetadata
}

function fence(image: MetadataImage, ...nodeIds: number[]): MetadataImage {
  return commit(image, { records: fenceNodes(image, nodeIds) })
}

function unfence(image: MetadataImage, nodeId: number): MetadataImage {
  return commit(image, { records: unfenceNode(image, nodeOf(image, nodeId)) })
}

function restart(image: MetadataImage, nodeId: number, changes: Parameters<typeof requestOf>[1] = {}): MetadataImage {
  return commit(
    image,
    registerNode(image, requestOf(nodeId, changes), () => false),
  )
}

/** The leader asks for this ISR, with the present epochs of everything. */
function alter(
  image: MetadataImage,
  isr: readonly number[],
  changes: { leaderEpoch?: number; partitionEpoch?: number; nodeEpochs?: Record<number, number>; nodeId?: number } = {},
) {
  const { leader, leaderEpoch, partitionEpoch } = partitionOf(image)
  const nodeId = changes.nodeId ?? leader
  const decision = alterPartitions(image, {
    clusterId: '',
    nodeId,
    nodeEpoch: nodeOf(image, nodeId).nodeEpoch,
    partitions: [
      {
        topicId: ordersOf(image).topicId,
        partition: 0,
        leaderEpoch: changes.leaderEpoch ?? leaderEpoch,
        partitionEpoch: changes.partitionEpoch ?? partitionEpoch,
        isr: isr.map((id) => ({ nodeId: id, nodeEpoch: changes.nodeEpochs?.[id] ?? nodeOf(image, id).nodeEpoch })),
      },
    ],
  })
  return { image: commit(image, decision), result: decision.response.partitions[0] as AlterPartitionResult }
}

describe('a topic of three replicas', () => {
  it('asks for two in sync unless its creator says otherwise', () => {
    expect(ordersOf(threeReplicas()).config.minInsyncReplicas).toBe(2)
    expect(ordersOf(threeReplicas({ 'min.insync.replicas': '1' })).config.minInsyncReplicas).toBe(1)
  })

  it('is led by another replica in sync when its leader is fenced, in the order of the replicas', () => {
    const image = threeReplicas()
    const { leader, replicas, leaderEpoch } = partitionOf(image)
    const after = partitionOf(fence(image, leader))
    expect(after).toMatchObject({ leader: replicas[1], leaderEpoch: leaderEpoch + 1, isr: replicas.slice(1), elr: [] })
  })

  it('keeps who leaves an ISR below the minimum as eligible, and lets it lead alone (K12, rule 10)', () => {
    const image = threeReplicas()
    const [first, second, third] = partitionOf(image).replicas as [number, number, number]
    const one = fence(image, first, second)
    expect(partitionOf(one)).toMatchObject({ leader: third, isr: [third], elr: [first, second] })
    const none = fence(one, third)
    expect(partitionOf(none)).toMatchObject({ leader: -1, isr: [], elr: [first, second, third], lastKnownLeader: third })
    const back = unfence(none, second)
    expect(partitionOf(back)).toMatchObject({ leader: second, isr: [second], elr: [first, third], lastKnownLeader: -1 })
  })

  it('stays without a leader while nobody who has everything is alive (K15)', () => {
    const image = threeReplicas()
    const [first, second, third] = partitionOf(image).replicas as [number, number, number]
    const shrunk = alter(alter(image, [first, second]).image, [first, second])
    expect(shrunk.result.error).toBeUndefined()
    // The third left while two were in sync: it may lack what they committed since.
    const offline = fence(shrunk.image, first, second)
    expect(partitionOf(offline)).toMatchObject({ leader: -1, isr: [], elr: [first, second] })
    expect(partitionOf(unfence(fence(offline, third), third)).leader).toBe(-1)
    expect(partitionOf(unfence(offline, first)).leader).toBe(first)
  })

  it('is led uncleanly only when asked, by who led last', () => {
    const image = threeReplicas({ 'min.insync.replicas': '1' })
    const [first, second, third] = partitionOf(image).replicas as [number, number, number]
    const offline = fence(alter(fence(image, second, third), [first]).image, first)
    const back = unfence(offline, third)
    expect(partitionOf(back)).toMatchObject({ leader: -1, lastKnownLeader: first })
    const record = changePartition(ordersOf(back), 0, { election: 'unclean' }, nodeStates(back))
    expect(record?.record?.value).toMatchObject({ leader: third, isr: [third], elr: [] })
  })

  it('empties the ELR when enough are in sync again', () => {
    const image = threeReplicas()
    const [first, second, third] = partitionOf(image).replicas as [number, number, number]
    const one = fence(image, second, third)
    const grown = alter(unfence(one, second), [first, second])
    expect(partitionOf(grown.image)).toMatchObject({ isr: [first, second], elr: [] })
  })

  it('moves away from a node that shuts down, which leads to the end what nobody can take over (rule 13)', () => {
    const image = threeReplicas()
    const [first, second] = partitionOf(image).replicas as [number, number]
    const retired = commit(image, { records: retireNode(image, nodeOf(image, first)) })
    expect(partitionOf(retired)).toMatchObject({ leader: second, isr: expect.not.arrayContaining([first]) })
    const alone = fence(image, ...partitionOf(image).replicas.slice(1))
    expect(partitionOf(commit(alone, { records: retireNode(alone, nodeOf(alone, first)) }))).toMatchObject({ leader: first, isr: [first] })
  })
})

describe('changes of the ISR', () => {
  const image = threeReplicas()
  const [first, second, third] = partitionOf(image).replicas as [number, number, number]

  it('are refused in an old leader epoch, an old partition epoch and from who does not lead (K09)', () => {
    const shrunk = alter(image, [first, second]).image
    expect(alter(shrunk, [first], { partitionEpoch: 0 }).result.error?.code).toBe('INVALID_UPDATE_VERSION')
    const moved = fence(shrunk, first)
    expect(alter(unfence(moved, first), [second], { nodeId: first, leaderEpoch: 0 }).result.error?.code).toBe('FENCED_LEADER_EPOCH')
    expect(alter(shrunk, [second, first], { nodeId: second }).result.error?.code).toBe('FENCED_LEADER_EPOCH')
  })

  it('of a newer epoch than this controller knows are for another one', () => {
    expect(alter(image, [first], { leaderEpoch: 9 }).result.error?.code).toBe('NOT_CONTROLLER')
  })

  it('do not let in who is fenced, shuts down or was restarted since (K10, K11)', () => {
    const shrunk = alter(image, [first, second]).image
    expect(alter(fence(shrunk, third), [first, second, third]).result.error?.code).toBe('INELIGIBLE_REPLICA')
    const retired = commit(shrunk, { records: retireNode(shrunk, nodeOf(shrunk, third)) })
    expect(alter(retired, [first, second, third]).result.error?.code).toBe('INELIGIBLE_REPLICA')
    const old = nodeOf(shrunk, third).nodeEpoch
    const again = unfence(restart(shrunk, third), third)
    expect(alter(again, [first, second, third], { nodeEpochs: { [third]: old } }).result.error?.code).toBe('INELIGIBLE_REPLICA')
    expect(alter(again, [first, second, third]).result.error).toBeUndefined()
  })

  it('name replicas of the partition, each once, and the leader', () => {
    for (const isr of [[second], [first, first], [first, 1234], []]) {
      const wanted = isr.map((nodeId) => ({ nodeId, nodeEpoch: 0 }))
      const { leaderEpoch, partitionEpoch } = partitionOf(image)
      const partitions = [{ topicId: ordersOf(image).topicId, partition: 0, leaderEpoch, partitionEpoch, isr: wanted }]
      const request = { clusterId: '', nodeId: first, nodeEpoch: nodeOf(image, first).nodeEpoch, partitions }
      expect(alterPartitions(image, request).response.partitions[0]?.error?.code).toBe('INVALID_REQUEST')
    }
  })
})

describe('a copy that is damaged or incomplete', () => {
  const image = threeReplicas()
  const [first, second, third] = partitionOf(image).replicas as [number, number, number]

  function distrust(before: MetadataImage, replicaId: number, from: { nodeId?: number; leaderEpoch?: number } = {}) {
    const { leaderEpoch } = partitionOf(before)
    const nodeId = from.nodeId ?? replicaId
    const { nodeEpoch } = nodeOf(before, nodeId)
    const replica = { topicId: ordersOf(before).topicId, partition: 0, replicaId, leaderEpoch: from.leaderEpoch ?? leaderEpoch }
    const decision = distrustReplicas(before, { clusterId: '', nodeId, nodeEpoch, replicas: [replica] })
    return { image: commit(before, decision), code: decision.response.replicas[0]?.error?.code }
  }

  it('is counted on by nobody, and another one leads (K31)', () => {
    const leaders = partitionOf(distrust(image, first).image)
    expect(leaders).toMatchObject({ leader: second, isr: [second, third], elr: [] })
    const eligible = fence(image, second, third)
    expect(partitionOf(eligible)).toMatchObject({ leader: first, isr: [first], elr: [second, third] })
    expect(partitionOf(distrust(eligible, second).image)).toMatchObject({ leader: first, isr: [first], elr: [third] })
  })

  it('begins anew in a leader epoch of its own, so that what it said before counts no more (K32)', () => {
    const { leaderEpoch } = partitionOf(image)
    expect(partitionOf(distrust(image, third).image)).toMatchObject({ leader: first, isr: [first, second], leaderEpoch: leaderEpoch + 1 })
  })

  it('stays when nobody else who has everything is alive', () => {
    const alone = fence(image, second, third)
    const { code, image: after } = distrust(alone, first)
    expect(code).toBe('ELIGIBLE_LEADERS_NOT_AVAILABLE')
    expect(after).toBe(alone)
    expect(distrust(unfence(alone, third), first)).toMatchObject({ code: undefined })
  })

  it('is named by its own node, or by the leader of the present epoch (K24)', () => {
    const eligible = fence(image, second, third)
    expect(distrust(eligible, second, { nodeId: first }).code).toBeUndefined()
    expect(distrust(eligible, second, { nodeId: third }).code).toBe('FENCED_LEADER_EPOCH')
    expect(distrust(eligible, second, { nodeId: first, leaderEpoch: 7 }).code).toBe('FENCED_LEADER_EPOCH')
    expect(() => distrustReplicas(image, { clusterId: '', nodeId: first, nodeEpoch: 999, replicas: [] })).toThrow(
      expect.objectContaining({ code: 'FENCED_NODE_EPOCH' }),
    )
  })

  it('that nobody counts on changes nothing', () => {
    const shrunk = alter(image, [first, second]).image
    expect(distrust(shrunk, third)).toMatchObject({ code: undefined, image: shrunk })
  })
})

describe('a node that comes back', () => {
  it('is not taken for its former self with another disk, and loses no records that others have', () => {
    const image = threeReplicas()
    const [first, second, third] = partitionOf(image).replicas as [number, number, number]
    const after = partitionOf(restart(fence(image, second, third), third, { directoryId: idOf(5) }))
    expect(after).toMatchObject({ leader: first, isr: [first], elr: [second] })
    const last = fence(image, second, third)
    const wiped = restart(last, second, { directoryId: idOf(6) })
    expect(() => restart(fence(restart(wiped, third, { directoryId: idOf(7) }), first), first, { directoryId: idOf(8) })).toThrow(
      expect.objectContaining({ code: 'DATA_DIR_INVALID' }),
    )
  })

  it('is not taken for its former self with an older image of its disk, and no records are lost with it (K24)', () => {
    const counted = (image: MetadataImage, nodeId: number, starts: number, run: number, changes: object = {}): MetadataImage =>
      restart(image, nodeId, { starts, incarnationId: idOf(100 * nodeId + run), ...changes })
    const made = threeReplicas()
    const [first, second, third] = partitionOf(made).replicas as [number, number, number]
    // Started for the third time, and again after a crash in the middle of that.
    let image = counted(fence(made, second, third), second, 3, 3)
    expect(nodeOf(image, second).starts).toBe(3)
    expect(() => counted(image, second, 3, 3), 'its answer was lost, it asks again').not.toThrow()
    image = counted(image, second, 4, 4)
    expect(partitionOf(image).elr).toContain(second)
    for (const starts of [1, 3, 4])
      expect(() => counted(image, second, starts, 9)).toThrow(expect.objectContaining({ code: 'DATA_DIR_OUTDATED', retriable: false }))
    expect(() => counted(image, second, 0, 9), 'one that does not count').not.toThrow()
    // It comes again as a disk of its own: in no ISR and no ELR, while its former self is not let in any more either.
    const renewed = counted(image, second, 5, 9, { directoryId: idOf(77), imageOf: nodeOf(image, second).directoryId })
    expect(partitionOf(renewed)).toMatchObject({ leader: first, isr: [first], elr: [third] })
    const former = counted(renewed, second, 5, 10, { directoryId: nodeOf(image, second).directoryId })
    expect(partitionOf(former).elr).toEqual([third])
  })

  it('with an older image of the only copy leaves its partition without a leader until somebody decides (K24)', () => {
    const image = unfence(restart(clusterOf(1), 1, { starts: 4, incarnationId: idOf(4) }), 1)
    const created = commit(image, createTopics(image, createRequest('orders'), createContext()))
    expect(partitionOf(created).leader).toBe(1)
    const { directoryId } = nodeOf(created, 1)
    const renewed = unfence(restart(fence(created, 1), 1, { directoryId: idOf(77), imageOf: directoryId, starts: 3 }), 1)
    expect(partitionOf(renewed)).toMatchObject({ leader: -1, isr: [], elr: [], lastKnownLeader: 1 })
    const record = changePartition(ordersOf(renewed), 0, { election: 'unclean' }, nodeStates(renewed))
    expect(record?.record?.value).toMatchObject({ leader: 1, isr: [1] })
    expect(() => restart(fence(created, 1), 1, { directoryId: idOf(78) })).toThrow(expect.objectContaining({ code: 'DATA_DIR_INVALID' }))
  })

  it('after an unclean stop stays eligible only where nothing was left to the page cache (K14)', () => {
    for (const [durability, elr] of [
      ['fsync', 2],
      ['replicated', 1],
    ] as const) {
      const image = threeReplicas({ durability })
      const [, second, third] = partitionOf(image).replicas as [number, number, number]
      expect(partitionOf(restart(fence(image, second, third), second)).elr).toHaveLength(elr)
      const { nodeEpoch } = nodeOf(image, second)
      expect(partitionOf(restart(fence(image, second, third), second, { cleanShutdownEpoch: nodeEpoch })).elr).toHaveLength(2)
    }
  })

  it('with another disk waits while the old one may be alive', () => {
    const image = clusterOf(1)
    expect(() => registerNode(image, requestOf(1, { directoryId: idOf(5) }), () => true)).toThrow(
      expect.objectContaining({ code: 'DUPLICATE_NODE', retriable: true }),
    )
    expect(() => registerNode(image, requestOf(1), () => true)).not.toThrow()
  })

  it('with a sole replica leads it again once it is let in', () => {
    const image = clusterOf(1)
    const created = commit(image, createTopics(image, createRequest('orders'), createContext()))
    const registered = restart(created, 1)
    expect(partitionOf(registered)).toMatchObject({ leader: -1, isr: [], elr: [1] })
    const { leader, isr, leaderEpoch } = partitionOf(unfence(registered, 1))
    expect({ leader, isr, leaderEpoch }).toEqual({ leader: 1, isr: [1], leaderEpoch: 2 })
  })
})
