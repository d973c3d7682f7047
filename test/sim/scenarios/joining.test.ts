/** A node that enters the cluster and is taken out of it again, whatever it had come to by then. */
import { describe, expect, it } from 'vitest'
import { TidemarkError } from '../../../client/index.ts'
import type { SimNode } from '../node.ts'
import { play, type Scenario } from './scenario.ts'

/** Milliseconds after its start, from before it is heard of to after it votes and has replicas. */
const MOMENTS = [0, 20, 60, 150, 300, 500, 600, 700, 800, 900, 1000, 1200, 1500, 2000, 3000, 5000]

const NEWCOMER = 4

function joining(s: Scenario, nodeId: number): SimNode {
  const node = s.cluster.makeNode(nodeId)
  node.join = [1, 2, 3]
  node.start({ roles: ['broker', 'controller'] })
  return node
}

/** What an operator does, again and again until it is done: out of the quorum, nothing on it, forgotten. */
async function takeOut(s: Scenario, nodeId: number): Promise<void> {
  const attempt = async (work: Promise<unknown>): Promise<void> => {
    try {
      await s.cluster.run(work)
    } catch (error) {
      if (!TidemarkError.is(error)) throw error
    }
  }
  const isIn = async (): Promise<boolean> => {
    const { members } = await s.cluster.run(s.admin.cluster.describeQuorum())
    return members.some((member) => member.nodeId === nodeId) || s.cluster.image.nodes.has(nodeId)
  }
  for (let round = 0; round < 100 && (await isIn()); round++) {
    await attempt(s.admin.cluster.removeController(nodeId))
    await attempt(s.admin.cluster.drainNode(nodeId))
    await attempt(s.admin.cluster.removeNode(nodeId))
    await s.advance(200)
  }
  expect(await isIn()).toBe(false)
}

async function votersOf(s: Scenario): Promise<number[]> {
  const { members } = await s.cluster.run(s.admin.cluster.describeQuorum())
  return members.flatMap(({ nodeId, voter }) => (voter ? [nodeId] : [])).sort((a, b) => a - b)
}

describe('a node that joins', () => {
  it.each(MOMENTS)('J27 and dies %i ms later can be taken out, and the membership takes the next one', (momentMs) =>
    play({ seed: momentMs + 1 }, async (s) => {
      await s.send(3)
      const node = joining(s, NEWCOMER)
      s.cluster.isSupervised = (one) => one !== node
      const load = s.producer()
      load.start(['orders'], 20)
      await s.advance(momentMs)
      node.kill()
      await takeOut(s, NEWCOMER)
      expect(await votersOf(s)).toEqual([1, 2, 3])
      const next = joining(s, NEWCOMER + 1)
      await s.until('the next one is up', () => next.isUp)
      for (let round = 0; round < 100 && (await votersOf(s)).length < 4; round++) await s.advance(100)
      expect(await votersOf(s)).toEqual([1, 2, 3, NEWCOMER + 1])
      await takeOutAlive(s, next)
    }),
  )
})

/** Stopped in order first, as an operator would. */
async function takeOutAlive(s: Scenario, node: SimNode): Promise<void> {
  s.cluster.isSupervised = (one) => one !== node
  await s.cluster.run(node.stop())
  await takeOut(s, node.nodeId)
  expect(await votersOf(s)).toEqual([1, 2, 3])
}
