/** What operators ask for: other leaders, other nodes for replicas, nodes to be emptied. */
import { describe, expect, it } from 'vitest'
import { alterConfigs } from '../../controller/metadata/configs.ts'
import type { MetadataImage, NodeMetadata, PartitionMetadata } from '../../controller/metadata/image.ts'
import { alterNodes } from '../../controller/metadata/alter-nodes.ts'
import { alterPartitions } from '../../controller/metadata/alter-partitions.ts'
import { electLeaders } from '../../controller/metadata/elections.ts'
import { fenceNodes, retireNode, unfenceNode } from '../../controller/metadata/node-states.ts'
import { listReassignments, reassign } from '../../controller/metadata/reassign.ts'
import { createTopics, growTopics } from '../../controller/metadata/topics.ts'
import { ConfigScope, ElectionType, NodeAction } from '../../protocol/gen/tidemark/v1/cluster.ts'
import { clusterOf, commit, createContext, enter } from './fixtures.ts'

/** Nodes 1 to `nodes`; `orders` has its one partition on the first of them, in this order. */
function orders(nodes: number, configs: Record<string, string> = {}, replicas = 3): MetadataImage {
  const few = clusterOf(replicas)
  const topic = { name: 'orders', partitions: 1, replicas, configs }
  let image = commit(few, createTopics(few, { topics: [topic], validateOnly: false }, createContext()))
  const ids = Array.from({ length: replicas }, (_, index) => index + 1)
  image = move(image, ids)
  image = commit(image, electLeaders(image, { type: ElectionType.PREFERRED, topics: [] }))
  for (let nodeId = replicas + 1; nodeId <= nodes; nodeId++) image = enter(image, nodeId)
  return image
}

function partitionOf(image: MetadataImage): PartitionMetadata {
  return image.topics.get('orders')?.partitions[0] as PartitionMetadata
}

function fence(image: MetadataImage, ...nodeIds: number[]): MetadataImage {
  return commit(image, { records: fenceNodes(image, nodeIds) })
}

function unfence(image: MetadataImage, nodeId: number): MetadataImage {
  return commit(image, { records: unfenceNode(image, image.nodes.get(nodeId) as NodeMetadata) })
}

function move(image: MetadataImage, replicas: number[]): MetadataImage {
  const decision = reassign(image, { partitions: [{ topic: 'orders', partition: 0, replicas }] })
  expect(decision.response.partitions[0]?.error).toBeUndefined()
  return commit(image, decision)
}

function refusalOf(image: MetadataImage, replicas: number[]): string | undefined {
  const { records, response } = reassign(image, { partitions: [{ topic: 'orders', partition: 0, replicas }] })
  expect(records).toEqual([])
  return response.partitions[0]?.error?.code
}

/** The leader says who is in sync. */
function inSync(image: MetadataImage, isr: number[]): MetadataImage {
  const { leader, leaderEpoch, partitionEpoch } = partitionOf(image)
  const decision = alterPartitions(image, {
    clusterId: '',
    nodeId: leader,
    nodeEpoch: image.nodes.get(leader)?.nodeEpoch ?? 0,
    partitions: [
      {
        topicId: image.topics.get('orders')?.topicId as string,
        partition: 0,
        leaderEpoch,
        partitionEpoch,
        isr: isr.map((nodeId) => ({ nodeId, nodeEpoch: image.nodes.get(nodeId)?.nodeEpoch ?? 0 })),
      },
    ],
  })
  expect(decision.response.partitions[0]?.error).toBeUndefined()
  return commit(image, decision)
}

function elect(image: MetadataImage, type: ElectionType, topics = [{ topic: 'orders', partitions: [0] }]) {
  const decision = electLeaders(image, { type, topics })
  return { image: commit(image, decision), partitions: decision.response.partitions }
}

describe('a preferred election', () => {
  it('gives leadership back to the first replica, once it is in sync (rule 13)', () => {
    const away = fence(orders(3), 1)
    expect(elect(away, ElectionType.PREFERRED).partitions[0]?.error?.code).toBe('ELIGIBLE_LEADERS_NOT_AVAILABLE')
    const back = unfence(away, 1)
    expect(elect(back, ElectionType.PREFERRED).partitions[0]).toMatchObject({
      error: { code: 'ELIGIBLE_LEADERS_NOT_AVAILABLE' },
      leader: 2,
    })
    const elected = elect(inSync(back, [2, 3, 1]), ElectionType.PREFERRED)
    expect(elected.partitions).toEqual([{ topic: 'orders', partition: 0, error: undefined, leader: 1 }])
    expect(partitionOf(elected.image)).toMatchObject({ leader: 1, leaderEpoch: partitionOf(back).leaderEpoch + 1, isr: [2, 3, 1] })
  })

  it('says what it does not do of what was named, and nothing of what was not', () => {
    const image = orders(3)
    expect(elect(image, ElectionType.PREFERRED).partitions[0]?.error?.code).toBe('ELECTION_NOT_NEEDED')
    expect(elect(image, ElectionType.PREFERRED, []).partitions).toEqual([])
    const named = [
      { topic: 'orders', partitions: [7] },
      { topic: 'no-such', partitions: [] },
      { topic: 'orders', partitions: [0, 0] },
    ]
    const codes = elect(image, ElectionType.PREFERRED, named).partitions.map(({ error }) => error?.code)
    expect(codes).toEqual(['UNKNOWN_PARTITION', 'UNKNOWN_TOPIC', 'INVALID_REQUEST', 'INVALID_REQUEST'])
  })

  it('does not choose a node that is about to stop', () => {
    const back = inSync(unfence(fence(orders(3), 1), 1), [2, 3, 1])
    const retired = commit(back, { records: retireNode(back, back.nodes.get(1) as NodeMetadata) })
    expect(elect(retired, ElectionType.PREFERRED).partitions[0]?.error?.code).toBe('ELIGIBLE_LEADERS_NOT_AVAILABLE')
  })
})

describe('an unclean election', () => {
  it('is held only where nobody leads, and takes who is alive', () => {
    const image = orders(3, { 'min.insync.replicas': '1' })
    expect(elect(image, ElectionType.UNCLEAN).partitions[0]?.error?.code).toBe('ELECTION_NOT_NEEDED')
    const offline = fence(image, 3, 2, 1)
    const alone = fence(fence(fence(image, 3), 2), 1)
    expect(partitionOf(offline).leader).toBe(-1)
    expect(elect(alone, ElectionType.UNCLEAN).partitions[0]?.error?.code).toBe('ELIGIBLE_LEADERS_NOT_AVAILABLE')
    const back = unfence(alone, 3)
    expect(partitionOf(back)).toMatchObject({ leader: -1, lastKnownLeader: 1 })
    const elected = elect(back, ElectionType.UNCLEAN, [])
    expect(elected.partitions).toEqual([{ topic: 'orders', partition: 0, error: undefined, leader: 3 }])
    expect(partitionOf(elected.image)).toMatchObject({ leader: 3, isr: [3], elr: [] })
  })
})

describe('a change of min.insync.replicas', () => {
  const set = (image: MetadataImage, value: string): MetadataImage =>
    commit(
      image,
      alterConfigs(image, {
        resources: [{ resource: { scope: ConfigScope.TOPIC, name: 'orders' }, set: { 'min.insync.replicas': value }, reset: [] }],
        validateOnly: false,
      }),
    )

  it('empties the ELR when as many are in sync, and not before: nothing was committed since its members left (K35, rule 10)', () => {
    const image = fence(orders(3, { 'min.insync.replicas': '3' }), 3)
    expect(partitionOf(image)).toMatchObject({ isr: [1, 2], elr: [3] })
    for (const value of ['1', '2']) expect(partitionOf(set(image, value))).toMatchObject({ isr: [1, 2], elr: [] })
    const alone = fence(image, 2)
    expect(partitionOf(set(alone, '1'))).toMatchObject({ isr: [1], elr: [] })
    expect(partitionOf(set(alone, '2'))).toMatchObject({ isr: [1], elr: [2, 3] })
    const raised = set(fence(set(image, '2'), 2), '3')
    expect(partitionOf(raised), 'who left while two were enough is not known to have everything').toMatchObject({ isr: [1], elr: [2] })
    expect(partitionOf(set(image, '3'))).toBe(partitionOf(image))
  })

  it('keeps the ELR when it is all that is known of who has everything', () => {
    const image = fence(orders(3), 1, 2, 3)
    const lowered = set(image, '1')
    expect(partitionOf(lowered)).toMatchObject({ leader: -1, isr: [], elr: [1, 2, 3] })
    expect(partitionOf(unfence(lowered, 2))).toMatchObject({ leader: 2, isr: [2], elr: [] })
  })

  it('ends a move that waited for it', () => {
    const image = move(fence(orders(4, { 'min.insync.replicas': '3' }), 3), [4, 2, 3])
    const waiting = inSync(image, [1, 2, 4])
    expect(listReassignments(waiting).partitions).toHaveLength(1)
    expect(partitionOf(set(waiting, '2'))).toMatchObject({ replicas: [4, 2, 3], isr: [2, 4], elr: [], leader: 4 })
  })
})

describe('a reassignment', () => {
  it('grows, and shrinks in the change that brings what is new into sync (rule 14)', () => {
    const image = orders(4)
    const grown = move(image, [4, 2, 3])
    expect(partitionOf(grown)).toMatchObject({ replicas: [4, 2, 3, 1], addingReplicas: [4], removingReplicas: [1], leader: 1 })
    expect(partitionOf(grown).isr).toEqual(partitionOf(image).isr)
    expect(listReassignments(grown).partitions).toMatchObject([{ topic: 'orders', partition: 0, adding: [4], removing: [1] }])
    const done = partitionOf(inSync(grown, [1, 2, 3, 4]))
    expect(done).toMatchObject({ replicas: [4, 2, 3], isr: [2, 3, 4], addingReplicas: [], removingReplicas: [], leader: 4 })
    expect(done.leaderEpoch).toBe(partitionOf(grown).leaderEpoch + 1)
  })

  it('starts a new leader epoch when a replica goes, also if the leader stays (K34)', () => {
    const grown = move(orders(4), [1, 2, 4])
    const done = partitionOf(inSync(grown, [1, 2, 3, 4]))
    expect(done).toMatchObject({ leader: 1, leaderEpoch: partitionOf(grown).leaderEpoch + 1, replicas: [1, 2, 4] })
  })

  it('does not end below the minimum in sync (K34)', () => {
    const grown = move(fence(orders(5), 3), [4, 5, 3])
    const half = inSync(grown, [1, 2, 4])
    expect(partitionOf(half).replicas).toEqual([4, 5, 3, 1, 2])
    const done = inSync(half, [1, 2, 4, 5])
    expect(partitionOf(done)).toMatchObject({ replicas: [4, 5, 3], isr: [4, 5], addingReplicas: [], leader: 4 })
    const raised = move(fence(orders(4, { 'min.insync.replicas': '3' }), 3), [4, 2, 3])
    expect(partitionOf(inSync(raised, [1, 2, 4])).replicas, 'only two of three would be in sync').toContain(1)
  })

  it('to fewer replicas, or in another order, is done at once', () => {
    const fewer = partitionOf(move(orders(3), [2, 3]))
    expect(fewer).toMatchObject({ replicas: [2, 3], isr: [2, 3], leader: 2 })
    const turned = partitionOf(move(orders(3), [3, 2, 1]))
    expect(turned).toMatchObject({ replicas: [3, 2, 1], leader: 1, leaderEpoch: partitionOf(orders(3)).leaderEpoch })
  })

  it('is given up: what is new goes at once if it is not in sync, and not before it may if it is', () => {
    const image = orders(5)
    const grown = move(image, [4, 5, 3])
    expect(partitionOf(move(grown, []))).toMatchObject({ replicas: [3, 1, 2], addingReplicas: [], removingReplicas: [], leader: 1 })
    const half = inSync(grown, [1, 2, 3, 4])
    expect(partitionOf(move(half, []))).toMatchObject({ replicas: [3, 1, 2], isr: [1, 2, 3], leader: 1 })
    const few = fence(half, 2, 3)
    expect(partitionOf(few)).toMatchObject({ isr: [1, 4] })
    const waiting = move(few, [])
    expect(partitionOf(waiting)).toMatchObject({ replicas: [3, 1, 2, 4], isr: [1, 4], addingReplicas: [4], removingReplicas: [4] })
    expect(partitionOf(inSync(unfence(waiting, 2), [1, 4, 2]))).toMatchObject({ replicas: [3, 1, 2], isr: [1, 2], removingReplicas: [] })
    // Given up twice is given up once.
    expect(partitionOf(move(waiting, [])).replicas).toEqual([3, 1, 2, 4])
  })

  it('can be sent elsewhere on its way', () => {
    const other = move(move(orders(5), [4, 2, 3]), [5, 2, 3])
    expect(partitionOf(other)).toMatchObject({ replicas: [5, 2, 3, 1], addingReplicas: [5], removingReplicas: [1] })
    expect(partitionOf(inSync(other, [1, 2, 3, 5]))).toMatchObject({ replicas: [5, 2, 3], leader: 5 })
  })

  it('survives the failure of the leader, and of who comes', () => {
    const grown = move(orders(4), [4, 2, 3])
    const moved = fence(grown, 1)
    expect(partitionOf(moved)).toMatchObject({ leader: 2, isr: [2, 3], addingReplicas: [4] })
    expect(partitionOf(fence(moved, 4))).toEqual(partitionOf(moved))
    expect(partitionOf(inSync(moved, [2, 3, 4]))).toMatchObject({ replicas: [4, 2, 3], removingReplicas: [] })
  })

  it('is refused for nodes that cannot hold the replicas', () => {
    const image = orders(4)
    expect(refusalOf(image, [1, 1])).toBe('INVALID_REPLICA_ASSIGNMENT')
    expect(refusalOf(image, [1, 9])).toBe('INVALID_REPLICA_ASSIGNMENT')
    expect(refusalOf(image, [])).toBe('NO_REASSIGNMENT_IN_PROGRESS')
    const draining = commit(image, alterNodes(image, { nodes: [{ nodeId: 4, action: NodeAction.DRAIN }] }))
    expect(refusalOf(draining, [1, 2, 4])).toBe('INVALID_REPLICA_ASSIGNMENT')
    const twice = { topic: 'orders', partition: 0, replicas: [1, 2, 4] }
    const codes = reassign(image, { partitions: [twice, twice] }).response.partitions.map(({ error }) => error?.code)
    expect(codes).toEqual(['INVALID_REQUEST', 'INVALID_REQUEST'])
  })

  it('does not change how many replicas the topic has for those who add partitions', () => {
    const grown = move(orders(5), [4, 5, 3])
    const more = commit(grown, growTopics(grown, { topics: [{ name: 'orders', partitions: 2 }], validateOnly: false }))
    expect(more.topics.get('orders')?.partitions[1]?.replicas).toHaveLength(3)
  })
})

describe('nodes', () => {
  const act = (image: MetadataImage, ...nodes: [number, NodeAction][]) => {
    const decision = alterNodes(image, { nodes: nodes.map(([nodeId, action]) => ({ nodeId, action })) })
    return { image: commit(image, decision), codes: decision.response.nodes.map(({ error }) => error?.code) }
  }

  it('are drained where there is a place for what they hold', () => {
    expect(act(orders(3), [1, NodeAction.DRAIN]).codes).toEqual(['NODE_IN_USE'])
    const { image, codes } = act(orders(4), [1, NodeAction.DRAIN])
    expect(codes).toEqual([undefined])
    expect(image.nodes.get(1)).toMatchObject({ draining: true, fenced: false, shuttingDown: false })
    expect(act(image, [2, NodeAction.DRAIN]).codes).toEqual(['NODE_IN_USE'])
    expect(act(orders(4), [1, NodeAction.DRAIN], [2, NodeAction.DRAIN]).codes[1]).toBe('NODE_IN_USE')
    expect(act(image, [1, NodeAction.DRAIN]).image).toBe(image)
    expect(act(image, [1, NodeAction.UNDRAIN]).image.nodes.get(1)?.draining).toBe(false)
  })

  it('are removed when they are stopped and empty', () => {
    const image = orders(4)
    expect(act(image, [4, NodeAction.REMOVE]).codes).toEqual(['NODE_IN_USE'])
    expect(act(fence(image, 1), [1, NodeAction.REMOVE]).codes).toEqual(['NODE_IN_USE'])
    expect(act(fence(image, 4), [4, NodeAction.REMOVE]).image.nodes.has(4)).toBe(false)
    expect(act(image, [9, NodeAction.REMOVE], [1, NodeAction.UNSPECIFIED]).codes).toEqual(['UNKNOWN_NODE', 'INVALID_REQUEST'])
  })
})
