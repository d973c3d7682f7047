/** Bits that flip on one disk of several, and files that lose their end. */
import { describe, expect, it } from 'vitest'
import type { SimNode } from '../node.ts'
import { play, type Scenario, TOPIC } from './scenario.ts'

const DIRECTORY = `/data/topics/${TOPIC}-0`
const SEGMENT = `${DIRECTORY}/${'0'.repeat(20)}.log`

/** Nothing is read from memory; nobody looks for damage unless a scenario wants it. */
const COLD = { tailCacheBytes: 0, config: { scrubPeriodMs: 0 } } as const

/** Places in a batch: what changes there is noticed in different ways. */
const VALUE = 70
const LENGTH = 9
const BASE_OFFSET = 7
const LEADER_EPOCH = 15

/** Flips a bit of a batch on one node. */
async function flip(s: Scenario, node: SimNode, offset: number, inBatch = VALUE): Promise<void> {
  let position = 0
  const { log } = s.replicaOn(node)
  for (let next = 0; next < offset; next++) position += (await s.cluster.run(log.read(next, 1, log.logEndOffset)))[0]?.length ?? 0
  await s.cluster.run(node.disk.flip(SEGMENT, position + inBatch))
}

/** Records, each in a batch of its own. */
async function sendOneByOne(s: Scenario, count: number): Promise<void> {
  for (let left = count; left > 0; left--) await s.send(1)
}

/** These nodes may say at level error that something is damaged. */
function expectDamage(s: Scenario, ...nodeIds: number[]): void {
  const events = new Set(['replica.damaged', 'partition.open-failed', 'replica.set-aside', 'replica.postponed'])
  s.cluster.oracles.expectsError = (nodeId, event) => nodeIds.includes(nodeId) && events.has(event)
}

async function placeApart(s: Scenario): Promise<[SimNode, SimNode, SimNode]> {
  const [a, b, c] = s.nodesByController as [number, number, number]
  await s.place(a, b, c)
  return [s.node(a), s.node(b), s.node(c)]
}

/** Once the cluster has noticed that the node was gone. */
async function startAgain(s: Scenario, node: SimNode): Promise<void> {
  await s.until('it is out', () => !s.state.isr.includes(node.nodeId))
  node.start()
  await s.until('all are in sync', () => s.state.isr.length === 3)
}

async function untilMended(s: Scenario, node: SimNode, end: number): Promise<void> {
  await s.until('the damaged copy has been fetched anew', () => {
    const replica = s.cluster.partitionOf(node, TOPIC)
    return s.countOf('replica.set-aside', node.nodeId) === 1 && s.state.isr.length === 3 && replica?.log.flushedOffset === end
  })
}

describe('a bit that flips in the log of a leader', () => {
  it.each([
    ['a value', VALUE],
    ['a length', LENGTH],
    ['an offset', BASE_OFFSET],
    ['a leader epoch', LEADER_EPOCH],
  ])('K31 in %s gets to no follower: another one leads, and the copy is fetched anew', (_what, inBatch) =>
    play({ nodeCount: 4, ...COLD }, async (s) => {
      const [leader, , away] = await placeApart(s)
      await sendOneByOne(s, 3)
      away.kill()
      await s.until('it is out', () => !s.state.isr.includes(away.nodeId))
      await sendOneByOne(s, 6)
      expectDamage(s, leader.nodeId, away.nodeId)
      await flip(s, leader, 5, inBatch)
      away.start()
      await s.until('another leads', () => s.state.leader > 0 && s.state.leader !== leader.nodeId)
      await untilMended(s, leader, 9)
      expect(s.countOf('replica.damaged', leader.nodeId)).toBe(1)
      expect(s.countOf('replica.damaged', away.nodeId)).toBe(0)
      await s.send(2)
    }),
  )

  it('K31 gets to no consumer: it goes on where another one leads', () =>
    play({ nodeCount: 4, ...COLD }, async (s) => {
      const [leader] = await placeApart(s)
      await sendOneByOne(s, 6)
      expectDamage(s, leader.nodeId)
      await flip(s, leader, 3)
      const { leaderEpoch } = s.state
      s.follow()
      await s.until('it has read everything', () => s.history.readCount === 6)
      // It may lead again by now: it is the preferred one.
      expect(s.state.leaderEpoch).toBeGreaterThan(leaderEpoch)
      await untilMended(s, leader, 6)
    }))

  it('K31 stays, and is said, while nobody else is alive who has everything; what is sound is served', () =>
    play({ nodeCount: 5, ...COLD }, async (s) => {
      const [leader, b, c] = await placeApart(s)
      await sendOneByOne(s, 6)
      for (const node of [b, c]) node.kill()
      await s.until('it is alone', () => s.state.isr.join() === `${leader.nodeId}`)
      expectDamage(s, leader.nodeId)
      await flip(s, leader, 3)
      const { tm } = s.cluster.openClient('reader')
      const read: string[] = []
      const reading = tm.consumer(TOPIC, { start: 'earliest' }).run(({ value }) => void read.push(String(value)))
      await expect(s.cluster.run(reading)).rejects.toMatchObject({ code: 'CORRUPT_LOG' })
      expect(read).toHaveLength(3)
      expect(s.state.leader).toBe(leader.nodeId)
      expect(s.countOf('replica.kept', leader.nodeId)).toBe(1)
      for (const node of [b, c]) node.start()
      await untilMended(s, leader, 6)
    }))
})

describe('a bit that flips in the log of a follower', () => {
  it('K32 is found within a scrub period, and the copy is fetched anew', () =>
    play({ nodeCount: 4, ...COLD, config: { scrubPeriodMs: 5000 } }, async (s) => {
      const [leader, follower] = await placeApart(s)
      await sendOneByOne(s, 6)
      await s.advance(6000)
      expect(s.countOf('replica.damaged')).toBe(0)
      expectDamage(s, follower.nodeId)
      const flippedAtMs = s.cluster.time.nowMs
      await flip(s, follower, 2)
      await s.until('it has been found', () => s.countOf('replica.damaged', follower.nodeId) === 1)
      // A pass may just have gone over it: then the next one finds it, after the pause between passes.
      expect(s.cluster.time.nowMs - flippedAtMs).toBeLessThan(2 * 5000)
      await untilMended(s, follower, 6)
      expect(s.state.leader).toBe(leader.nodeId)
      expect(s.countOf('replica.damaged')).toBe(1)
    }))

  it('K32 is no reason to count on fewer than are alive: one that is the last besides the leader stays while the leader does', () =>
    play({ nodeCount: 4, ...COLD, replicas: 2, configs: { 'min.insync.replicas': '2' }, config: { scrubPeriodMs: 2000 } }, async (s) => {
      const [a, b] = s.nodesByController as [number, number]
      await s.place(a, b)
      await sendOneByOne(s, 6)
      expectDamage(s, b)
      await flip(s, s.node(b), 2)
      await s.until('it has been fetched anew', () => s.countOf('replica.set-aside', b) === 1 && s.state.isr.length === 2)
      expect(s.replicaOn(s.node(b)).log.logEndOffset).toBe(6)
      await s.send(2)
    }))
})

describe('files of a node that was killed', () => {
  it('K33 whose indexes are missing or of another time are made again', () =>
    play({ nodeCount: 4, ...COLD, configs: { 'segment.ms': '1s', 'index.interval.bytes': '512B' } }, async (s) => {
      const [, follower] = await placeApart(s)
      for (let round = 0; round < 4; round++) {
        await sendOneByOne(s, 15)
        await s.advance(1100)
      }
      follower.kill()
      const names = (await follower.disk.files.list(DIRECTORY)).filter((name) => name.endsWith('.index')).sort()
      expect(names.length).toBeGreaterThan(2)
      const [first, second] = names as [string, string]
      await follower.disk.files.remove(`${DIRECTORY}/${first}`)
      await follower.disk.files.rename(`${DIRECTORY}/${names[2]}`, `${DIRECTORY}/${second}`)
      await startAgain(s, follower)
      await s.lead(follower.nodeId)
      s.follow()
      await s.until('everything can be read there', () => s.history.readCount === 60)
      expect(s.countOf('replica.damaged')).toBe(0)
    }))

  it('K33 that lost what was durable are not shortened in silence: nobody counts on the copy, and it is fetched anew', () =>
    play({ nodeCount: 4, ...COLD, configs: { 'min.insync.replicas': '3' } }, async (s) => {
      const [leader, follower, other] = await placeApart(s)
      await sendOneByOne(s, 6)
      await s.cluster.run(follower.stop())
      const handle = await follower.disk.files.open(SEGMENT, 'readWrite')
      await handle.truncate(100)
      await handle.datasync()
      await handle.close()
      expectDamage(s, follower.nodeId)
      await s.until('it is eligible', () => s.state.elr.includes(follower.nodeId) || !s.state.isr.includes(follower.nodeId))
      follower.start()
      await untilMended(s, follower, 6)
      expect(s.countOf('partition.open-failed', follower.nodeId) + s.countOf('replica.set-aside', follower.nodeId)).toBeGreaterThan(0)
      expect([leader, other].map((node) => s.replicaOn(node).log.logEndOffset)).toEqual([6, 6])
    }))

  it('K33 that end in the middle of a batch that was never acknowledged are cut there', () =>
    play({ nodeCount: 4, ...COLD }, async (s) => {
      const [, follower] = await placeApart(s)
      await sendOneByOne(s, 6)
      follower.kill()
      const { sizeBytes } = (await follower.disk.files.stat(SEGMENT)) ?? { sizeBytes: 0 }
      const handle = await follower.disk.files.open(SEGMENT, 'readWrite')
      await handle.write([Buffer.alloc(30, 7)], sizeBytes)
      await handle.close()
      await startAgain(s, follower)
      expect(s.replicaOn(follower).log.logEndOffset).toBe(6)
      expect(s.countOf('segment.tail-cut', follower.nodeId)).toBe(1)
    }))
})
