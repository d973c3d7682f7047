/** Replicas of a compacted topic, each of which compacts for itself: whoever leads, a key has the value it was last given, or none. */
import { describe, expect, it } from 'vitest'
import type { Partition } from '../../../broker/partition.ts'
import { readLastOffset } from '../../../protocol/batch-header.ts'
import { batchesOf, type LeftRecord, recordsOf } from '../../log/compaction-support.ts'
import { ReplicaCluster } from './replica-cluster.ts'

type Node = ReplicaCluster['nodes'][number]

const TOMBSTONES_MS = 3000
const SETTINGS = {
  'cleanup.policy': 'compact',
  'segment.ms': '1s',
  'delete.retention.ms': `${TOMBSTONES_MS}`,
  'min.cleanable.dirty.ratio': '0',
  'min.insync.replicas': '2',
}

async function clusterOf(seed: number): Promise<ReplicaCluster> {
  const cluster = new ReplicaCluster(seed)
  cluster.compactionCheckMs = 120
  await cluster.begin(SETTINGS)
  return cluster
}

function partitionOf(node: Node | undefined): Partition {
  const partition = node?.partition
  if (partition === undefined) throw new Error('the node has no open replica')
  return partition
}

function leaderOf(cluster: ReplicaCluster): Node {
  return cluster.nodes[cluster.state.leader - 1] as Node
}

function followersOf(cluster: ReplicaCluster): [Node, Node] {
  return cluster.nodes.filter(({ nodeId }) => nodeId !== cluster.state.leader) as [Node, Node]
}

/** Key and value; a key alone is deleted. */
async function produce(cluster: ReplicaCluster, ...texts: readonly string[]): Promise<void> {
  for (const text of texts) {
    const [key = '', value] = text.split('=')
    cluster.produceKeyed(leaderOf(cluster), key, value === undefined)
    await cluster.time.advance(20)
  }
}

/** Time for segments to be closed and compacted, and for what is in them to be read again. */
async function settle(cluster: ReplicaCluster, ms = 1500): Promise<void> {
  for (let passed = 0; passed < ms; passed += 100) {
    await cluster.time.advance(100)
    cluster.deliverAll()
  }
}

async function offsetsOf(node: Node): Promise<number[]> {
  return (await recordsOf(partitionOf(node).log)).map(({ offset }) => offset)
}

/** What the keys are worth. */
function stateOf(records: readonly LeftRecord[]): Map<string, string> {
  const state = new Map<string, string>()
  for (const { key, value } of records) {
    if (value === null) state.delete(key as string)
    else state.set(key as string, value)
  }
  return state
}

/** All nodes are up and hear each other: all are the same again, and nothing acknowledged is lost or comes back. */
async function checkConverged(cluster: ReplicaCluster): Promise<void> {
  cluster.lossiness = 0
  cluster.network.heal()
  for (const node of cluster.nodes) {
    if (node.running === undefined) await cluster.start(node)
    cluster.unfence(node)
  }
  const isConverged = (): boolean => {
    const leader = leaderOf(cluster)?.partition
    const isSame = ({ partition }: Node): boolean => partition?.highWatermark === leader?.log.logEndOffset
    return leader !== undefined && cluster.state.isr.length === 3 && cluster.nodes.every(isSame)
  }
  for (let round = 0; round < 300 && !isConverged(); round++) await settle(cluster, 100)
  expect(new Set(cluster.state.isr)).toEqual(new Set([1, 2, 3]))
  const end = partitionOf(leaderOf(cluster)).log.logEndOffset
  const truth = await truthOf(cluster)
  for (const node of cluster.nodes) {
    const { log } = partitionOf(node)
    expect([log.logStartOffset, log.logEndOffset]).toEqual([0, end])
    // Whoever reads on from any offset comes to the end.
    if (end > 0) expect(readLastOffset((await batchesOf(log)).at(-1) as Buffer)).toBe(end - 1)
    expect(log.leaderEpochs.entries, `node ${node.nodeId}`).toEqual(partitionOf(leaderOf(cluster)).log.leaderEpochs.entries)
    const records = await recordsOf(log)
    for (const { offset, key, value } of records) expect([key, value]).toEqual(truth.get(offset))
    const state = stateOf(records)
    expect(state, `node ${node.nodeId}`).toEqual(expectedState(cluster, truth, state))
  }
  expect(cluster.errors).toEqual([])
}

/** What is at each offset, as far as any node still has it; an acknowledged record is there for certain. */
async function truthOf(cluster: ReplicaCluster): Promise<Map<number, [string, string | null]>> {
  const truth = new Map<number, [string, string | null]>()
  for (const { offset, key, value, isAcknowledged } of cluster.keyed) if (isAcknowledged) truth.set(offset, [key, value])
  for (const node of cluster.nodes) {
    for (const { offset, key, value } of await recordsOf(partitionOf(node).log)) {
      const known = truth.get(offset)
      if (known !== undefined) expect([key, value], `offset ${offset} of node ${node.nodeId}`).toEqual(known)
      truth.set(offset, [key as string, value])
    }
  }
  return truth
}

/** `found`: on some node. */
function expectedState(
  cluster: ReplicaCluster,
  truth: ReadonlyMap<number, readonly [string, string | null]>,
  found: ReadonlyMap<string, string>,
): Map<string, string> {
  const state = new Map<string, string>()
  const newest = new Map<string, number>()
  for (const [offset, [key, value]] of [...truth].sort(([a], [b]) => a - b)) {
    newest.set(key, offset)
    if (value === null) state.delete(key)
    else state.set(key, value)
  }
  // A deletion that nobody was told of may be done and over, gone from every replica with what it deleted; or it never was.
  for (const { key, value, offset, isAcknowledged } of cluster.keyed)
    if (value === null && !isAcknowledged && offset > (newest.get(key) ?? -1) && !found.has(key)) state.delete(key)
  return state
}

describe('three replicas of a compacted topic', () => {
  it('compact each for itself, and all are left with the same', async () => {
    const cluster = await clusterOf(1)
    await produce(cluster, 'a=1', 'b=1', 'a=2', 'c=1', 'a=3', 'b=2')
    await settle(cluster)
    await produce(cluster, 'a=4')
    for (const node of cluster.nodes) expect(await offsetsOf(node)).toEqual([3, 4, 5, 6])
    await checkConverged(cluster)
  })

  it('one that was away goes on at the next batch when what it would need was compacted away', async () => {
    const cluster = await clusterOf(2)
    await produce(cluster, 'a=1', 'b=1')
    await settle(cluster, 300)
    const [away] = followersOf(cluster)
    cluster.crash(away)
    cluster.fence(away)
    cluster.deliverAll()
    await produce(cluster, ...Array.from({ length: 30 }, (_, n) => `a=${n}`), 'c=1')
    await settle(cluster, 2500)
    await produce(cluster, 'd=1')
    expect(await offsetsOf(leaderOf(cluster))).toEqual([1, 31, 32, 33])
    await cluster.start(away)
    await settle(cluster, 300)
    expect(partitionOf(away).log.logEndOffset).toBe(34)
    expect((await offsetsOf(away)).filter((offset) => offset > 1)).toEqual([31, 32, 33])
    await checkConverged(cluster)
  })

  it('one that was away for longer than tombstones live still hears of every deletion', async () => {
    const cluster = await clusterOf(3)
    await produce(cluster, 'a=1', 'b=1', 'c=1')
    await settle(cluster)
    const [away] = followersOf(cluster)
    cluster.crash(away)
    cluster.fence(away)
    cluster.deliverAll()
    await produce(cluster, 'a', 'b=2')
    await settle(cluster, 2 * TOMBSTONES_MS)
    expect(await offsetsOf(leaderOf(cluster))).toContain(3)
    await checkConverged(cluster)
    // Now that all have it, it goes everywhere.
    await produce(cluster, 'c=2')
    await settle(cluster, 70_000)
    for (const node of cluster.nodes) expect(await offsetsOf(node)).not.toContain(3)
    await checkConverged(cluster)
  })

  it('one that begins anew is given what is left, with the beginnings of all epochs', async () => {
    const cluster = await clusterOf(4)
    for (let round = 0; round < 4; round++) {
      await produce(cluster, 'a=1', 'b=1', 'a=2')
      await settle(cluster, 200)
      const leader = leaderOf(cluster)
      cluster.fence(leader)
      cluster.deliverAll()
      await settle(cluster, 300)
      cluster.unfence(leader)
      await settle(cluster, 600)
    }
    await settle(cluster, 2000)
    const [fresh] = followersOf(cluster)
    cluster.crash(fresh)
    await fresh.files.removeTree('/data')
    cluster.fence(fresh)
    cluster.deliverAll()
    await checkConverged(cluster)
    expect(partitionOf(fresh).log.leaderEpochs.entries.length).toBeGreaterThan(2)
  })
})

const SEED_COUNT = Number(process.env.TIDEMARK_TEST_RUNS ?? 25)

async function disturb(cluster: ReplicaCluster): Promise<void> {
  const { chance, nodes, network } = cluster
  const node = nodes[Math.floor(chance() * nodes.length)] as Node
  const other = nodes[Math.floor(chance() * nodes.length)] as Node
  const kind = chance()
  if (kind < 0.5) {
    for (let i = chance() * 6; i > 0; i--) {
      const to = chance() < 0.9 && cluster.state.leader > 0 ? leaderOf(cluster) : node
      cluster.produceKeyed(to, `k${Math.floor(chance() * 5)}`, chance() < 0.25)
    }
  } else if (kind < 0.72) cluster.deliver(node, 1 + Math.floor(chance() * 3))
  else if (kind < 0.75) network.cut(node.nodeId, other.nodeId)
  else if (kind < 0.8) network.heal()
  else if (kind < 0.83) cluster.fence(node)
  else if (kind < 0.92) cluster.unfence(node)
  else if (kind < 0.94) cluster.crash(node)
  else if (node.running === undefined) await cluster.start(node)
  await cluster.time.advance(chance() < 0.15 ? 1500 * chance() : 30 * chance())
}

describe('three replicas of a compacted topic under random crashes, cuts, changes of the leader and lost answers', () => {
  it.each(Array.from({ length: SEED_COUNT }, (_, at) => 2000 + at))('agree on the value of every key (seed %i)', async (seed) => {
    const cluster = await clusterOf(seed)
    cluster.lossiness = seed % 3 === 0 ? 0.3 : 0.05
    for (let step = 0; step < 200; step++) {
      await disturb(cluster)
      cluster.check()
    }
    await checkConverged(cluster)
    await settle(cluster, 2 * TOMBSTONES_MS)
    await checkConverged(cluster)
  })
})
