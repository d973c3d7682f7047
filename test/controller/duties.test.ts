/** What the active controller does unasked: leaders go back, drained nodes are emptied, new ones filled. */
import { describe, expect, it } from 'vitest'
import { alterNodes } from '../../controller/metadata/alter-nodes.ts'
import { alterPartitions } from '../../controller/metadata/alter-partitions.ts'
import { drainReplicas, ELECTIONS_MAX, fillNodes, MOVES_MAX, preferLeaders } from '../../controller/metadata/duties.ts'
import type { MetadataImage, NodeMetadata, TopicMetadata } from '../../controller/metadata/image.ts'
import { fenceNodes, unfenceNode } from '../../controller/metadata/node-states.ts'
import { raiseInternal } from '../../controller/metadata/raise-internal.ts'
import { listReassignments } from '../../controller/metadata/reassign.ts'
import { createTopics } from '../../controller/metadata/topics.ts'
import { NodeAction } from '../../protocol/gen/tidemark/v1/cluster.ts'
import type { MetadataRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { CONSUMER_OFFSETS_TOPIC } from '../../protocol/internal-topics.ts'
import { clusterOf, commit, createContext, enter } from './fixtures.ts'

function withTopic(image: MetadataImage, partitions: number, replicas: number, name = 'orders'): MetadataImage {
  const topics = [{ name, partitions, replicas, configs: {} }]
  return commit(
    image,
    createTopics(image, { topics, validateOnly: false }, createContext({ partitions: 1, replicas: 1 }, image.version * 10_000)),
  )
}

function record(image: MetadataImage, records: MetadataRecord[]): MetadataImage {
  return commit(image, { records })
}

function fence(image: MetadataImage, ...nodeIds: number[]): MetadataImage {
  return record(image, fenceNodes(image, nodeIds))
}

function unfence(image: MetadataImage, nodeId: number): MetadataImage {
  return record(image, unfenceNode(image, image.nodes.get(nodeId) as NodeMetadata))
}

/** Every replica of a live node is in sync: the leaders say so. */
function catchUp(image: MetadataImage): MetadataImage {
  let after = image
  for (const topic of image.topics.values()) {
    for (const [partition, { leader, leaderEpoch, partitionEpoch, replicas, isr }] of topic.partitions.entries()) {
      const alive = replicas.filter((id) => image.nodes.get(id)?.fenced === false)
      if (leader < 0 || alive.every((id) => isr.includes(id))) continue
      const states = alive.map((nodeId) => ({ nodeId, nodeEpoch: image.nodes.get(nodeId)?.nodeEpoch ?? 0 }))
      const wanted = { topicId: topic.topicId, partition, leaderEpoch, partitionEpoch, isr: states }
      const nodeEpoch = image.nodes.get(leader)?.nodeEpoch ?? 0
      const decision = alterPartitions(after, { clusterId: '', nodeId: leader, nodeEpoch, partitions: [wanted] })
      expect(decision.response.partitions[0]?.error).toBeUndefined()
      after = commit(after, decision)
    }
  }
  return after
}

function act(image: MetadataImage, nodeId: number, action: NodeAction): MetadataImage {
  const decision = alterNodes(image, { nodes: [{ nodeId, action }] })
  expect(decision.response.nodes[0]?.error).toBeUndefined()
  return commit(image, decision)
}

function counts(image: MetadataImage, pick: 'replicas' | 'leads'): Record<number, number> {
  const ids = [...image.topics.values()].flatMap(({ partitions }) =>
    partitions.flatMap(({ replicas, leader }) => (pick === 'replicas' ? replicas : [leader])),
  )
  return Object.fromEntries([...image.nodes.keys()].map((nodeId) => [nodeId, ids.filter((id) => id === nodeId).length]))
}

/** Rounds of all duties, with replicas catching up in between, until nothing changes. */
function settle(start: MetadataImage, filling: number[] = []): { image: MetadataImage; rounds: number } {
  let image = start
  const toFill = new Set(filling)
  for (let rounds = 0; ; rounds++) {
    expect(rounds, 'the duties come to an end').toBeLessThan(200)
    const { version } = image
    image = record(image, preferLeaders(image))
    image = record(image, drainReplicas(image))
    const raised = toFill.size > 0 ? raiseInternal(image) : []
    image = record(image, raised)
    if (raised.length === 0) {
      const { records, filled } = fillNodes(image, toFill)
      image = record(image, records)
      for (const nodeId of filled) toFill.delete(nodeId)
    }
    expect(listReassignments(image).partitions.length).toBeLessThanOrEqual(MOVES_MAX)
    image = catchUp(image)
    if (image.version === version && toFill.size === 0) return { image, rounds }
  }
}

describe('preferLeaders', () => {
  it('gives leadership back to a node that came back, once it is in sync, so many at a time', () => {
    const image = withTopic(clusterOf(3), 3 * ELECTIONS_MAX + 30, 3)
    const { 1: led } = counts(image, 'leads')
    const back = unfence(fence(image, 1), 1)
    expect(preferLeaders(back)).toEqual([])
    const caughtUp = catchUp(back)
    const first = preferLeaders(caughtUp)
    expect(first).toHaveLength(ELECTIONS_MAX)
    const after = record(record(caughtUp, first), preferLeaders(record(caughtUp, first)))
    expect(counts(after, 'leads')[1]).toBe(led)
    expect(preferLeaders(after)).toEqual([])
  })
})

describe('drainReplicas', () => {
  it('empties a node, a few partitions at a time, onto those that have the least', () => {
    const image = withTopic(clusterOf(4), 40, 3)
    const draining = act(image, 2, NodeAction.DRAIN)
    expect(drainReplicas(draining)).toHaveLength(MOVES_MAX)
    const { image: after } = settle(draining)
    expect(counts(after, 'replicas')).toEqual({ 1: 40, 2: 0, 3: 40, 4: 40 })
    const leads = counts(after, 'leads')
    expect(leads[2]).toBe(0)
    expect(Math.max(...[1, 3, 4].map((id) => leads[id] as number))).toBeLessThanOrEqual(16)
    expect(act(fence(after, 2), 2, NodeAction.REMOVE).nodes.has(2)).toBe(false)
  })

  it('looks for another place when the one it chose is gone, and waits for nobody', () => {
    const draining = act(withTopic(clusterOf(4), 2, 1), 1, NodeAction.DRAIN)
    const begun = record(draining, drainReplicas(draining))
    const [move] = listReassignments(begun).partitions
    const place = move?.adding[0] as number
    const lost = fence(begun, place)
    const again = listReassignments(record(lost, drainReplicas(lost))).partitions.find(({ partition }) => partition === move?.partition)
    expect(again?.adding).toHaveLength(1)
    expect(again?.adding).not.toContain(place)
  })

  it('moves replicas of a node that is dead', () => {
    const image = act(fence(withTopic(clusterOf(4), 8, 3), 4), 4, NodeAction.DRAIN)
    const { image: after } = settle(image)
    expect(counts(after, 'replicas')[4]).toBe(0)
    expect([...(after.topics.get('orders')?.partitions ?? [])].every(({ isr }) => isr.length === 3)).toBe(true)
  })

  it('leaves what has no other place, and goes on with the rest', () => {
    const three = act(withTopic(withTopic(clusterOf(4), 4, 3, 'wide'), 4, 1, 'narrow'), 1, NodeAction.DRAIN)
    const { image } = settle(fence(three, 2))
    const held = [...image.topics.values()].filter(({ partitions }) => partitions.some(({ replicas }) => replicas.includes(1)))
    expect(held.map(({ name }) => name)).toEqual(['wide'])
    expect(counts(settle(unfence(image, 2)).image, 'replicas')[1]).toBe(0)
  })
})

describe('fillNodes', () => {
  it.each([
    [3, 12, 3],
    [3, 100, 2],
    [2, 60, 1],
    [1, 9, 1],
  ])(
    'gives a node that joins %i others its share of %i partitions with %i replicas, and of their leaders',
    (nodes, partitions, replicas) => {
      const joined = enter(withTopic(clusterOf(nodes), partitions, replicas), nodes + 1)
      const { image } = settle(joined, [nodes + 1])
      for (const pick of ['replicas', 'leads'] as const) {
        const numbers = Object.values(counts(image, pick))
        expect(Math.max(...numbers) - Math.min(...numbers), `${pick}: ${numbers.join(', ')}`).toBeLessThanOrEqual(2)
      }
      expect(listReassignments(image).partitions).toEqual([])
    },
  )

  it('fills two that join together, and one whose drain was called off', () => {
    const joined = enter(enter(withTopic(clusterOf(3), 30, 3), 4), 5)
    const { image } = settle(joined, [4, 5])
    expect(Object.values(counts(image, 'replicas')).filter((count) => Math.abs(count - 18) > 1)).toEqual([])
    const emptied = settle(act(image, 1, NodeAction.DRAIN)).image
    expect(counts(emptied, 'replicas')[1]).toBe(0)
    expect(counts(settle(act(emptied, 1, NodeAction.UNDRAIN), [1]).image, 'replicas')[1]).toBeGreaterThanOrEqual(17)
  })

  it('does not put two replicas on one rack that were on two', () => {
    const racks = ['a', 'b', 'c']
    let image = clusterOf(0)
    for (const [index, rack] of racks.entries()) image = enter(image, index + 1, { rack })
    image = enter(withTopic(image, 12, 3), 4, { rack: 'a' })
    const after = settle(image, [4]).image
    for (const { replicas } of after.topics.get('orders')?.partitions ?? []) {
      expect(new Set(replicas.map((id) => after.nodes.get(id)?.rack)).size).toBe(3)
    }
    expect(counts(after, 'replicas')[4]).toBeGreaterThan(0)
  })

  it('leaves everything as it is where nodes have their share', () => {
    const image = withTopic(clusterOf(3), 7, 2)
    expect(fillNodes(image, [1, 2, 3])).toEqual({ records: [], filled: [1, 2, 3] })
  })
})

describe('raiseInternal', () => {
  const made = (partitions: number): MetadataImage => withTopic(withTopic(clusterOf(1), partitions, 1, CONSUMER_OFFSETS_TOPIC), 3, 1)
  const topicOf = (image: MetadataImage, name: string) => image.topics.get(name) as TopicMetadata

  it('gives an internal topic that was made on one node three replicas when two more come, so many at a time, and no other topic', () => {
    const grown = enter(enter(made(MOVES_MAX + 4), 2), 3)
    expect(raiseInternal(grown)).toHaveLength(MOVES_MAX)
    const { image } = settle(grown, [2, 3])
    const { partitions, configs } = topicOf(image, CONSUMER_OFFSETS_TOPIC)
    expect(new Set(partitions.map(({ replicas }) => replicas.toSorted((a, b) => a - b).join()))).toEqual(new Set(['1,2,3']))
    expect(partitions.every(({ isr }) => isr.length === 3)).toBe(true)
    expect(configs['min.insync.replicas']).toBe('2')
    expect(topicOf(image, 'orders').partitions.map(({ replicas }) => replicas.length)).toEqual([1, 1, 1])
    expect(topicOf(image, 'orders').configs).toEqual({})
    expect(Object.values(counts(image, 'leads')).every((leads) => leads >= Math.floor((MOVES_MAX + 7) / 3))).toBe(true)
    expect(raiseInternal(image)).toEqual([])
  })

  it('asks for two in sync only once there are three of each partition', () => {
    const grown = enter(enter(made(2), 2), 3)
    const moving = record(grown, raiseInternal(grown))
    expect(raiseInternal(moving)).toEqual([])
    expect(topicOf(moving, CONSUMER_OFFSETS_TOPIC).configs['min.insync.replicas']).toBeUndefined()
    const whole = catchUp(moving)
    expect(topicOf(record(whole, raiseInternal(whole)), CONSUMER_OFFSETS_TOPIC).configs['min.insync.replicas']).toBe('2')
  })

  it('does nothing with two nodes, nor for a node that is drained', () => {
    const two = enter(made(2), 2)
    expect(raiseInternal(two)).toEqual([])
    expect(raiseInternal(act(enter(two, 3), 3, NodeAction.DRAIN))).toEqual([])
  })
})
