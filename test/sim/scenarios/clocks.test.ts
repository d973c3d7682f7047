/** Clocks that are wrong, and processes that stand still: what counts time counts its own. */
import { describe, expect, it } from 'vitest'
import { play } from './scenario.ts'

const HOUR_MS = 3_600_000

describe('a wall clock', () => {
  it.each([
    ['an hour ahead', HOUR_MS],
    ['an hour back', -HOUR_MS],
  ])('E11 that jumps %s on each node in turn fences nobody, moves no leader, deletes nothing and refuses nothing', (_how, jumpMs) =>
    play({}, async (s) => {
      await s.send(5)
      s.follow()
      const { leaderEpoch } = s.state
      const { nodes } = s.cluster.image
      const controller = s.cluster.activeController?.nodeId
      for (const node of s.cluster.nodes) {
        const { process } = node.life ?? {}
        if (process !== undefined) process.wallOffsetMs = jumpMs
        await s.send(5)
        // Longer than a session, an election, and a replica may be behind.
        await s.advance(5000)
        await s.send(5)
      }
      expect(s.state).toMatchObject({ leaderEpoch, isr: expect.toSatisfy((isr: number[]) => isr.length === 3) })
      expect(s.cluster.activeController?.nodeId).toBe(controller)
      expect(s.cluster.image.nodes).toEqual(nodes)
      expect(s.replicaOn(s.leader).log.logStartOffset).toBe(0)
      expect(s.replicaOn(s.leader).highWatermark).toBe(35)
    }),
  )
})

describe('a node that stands still', () => {
  it('E10 for five seconds while it leads is followed by another one, acknowledges nothing when it goes on, and comes back', () =>
    play({ nodeCount: 4 }, async (s) => {
      const [a, b, c] = s.nodesByController as [number, number, number]
      await s.place(a, b, c)
      s.follow()
      s.producer().start(['orders'], 20)
      await s.advance(500)
      const old = s.replicaOn(s.node(a))
      const before = old.highWatermark
      s.node(a).life?.process.pause()
      await s.until('another leads', () => s.state.leader > 0 && s.state.leader !== a)
      await s.advance(5000)
      expect(old.highWatermark).toBe(before)
      s.node(a).life?.process.resume()
      await s.untilInSync(a, b, c)
      expect(s.replicaOn(s.node(a)).isLeader).toBe(false)
    }))
})
