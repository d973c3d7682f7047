/** Leaders that are deposed without knowing it, and leaders that go in order. */
import { describe, expect, it } from 'vitest'
import { SIM_CONFIG } from '../cluster.ts'
import type { SimNode } from '../node.ts'
import { watchEnds } from '../workload.ts'
import { play, type Scenario, TOPIC } from './scenario.ts'

/** Three replicas, none of them on the active controller. */
async function apart(s: Scenario): Promise<[number, number, number]> {
  const [a, b, c] = s.nodesByController as [number, number, number]
  await s.place(a, b, c)
  return [a, b, c]
}

describe('a leader that was deposed', () => {
  it('K17 while it was paused acknowledges nothing when it goes on, and gives up what only it has', () =>
    play({ nodeCount: 4 }, async (s) => {
      const [a, b, c] = await apart(s)
      s.follow()
      await s.send(3)
      const old = s.replicaOn(s.node(a))
      s.cut(a, [b, c])
      await s.leave('lost')
      s.node(a).life?.process.pause()
      // What was on its way to the followers never arrives.
      s.cluster.network.resetSome(1)
      s.cluster.network.heal()
      await s.until('another leads', () => s.state.leader > 0 && s.state.leader !== a)
      await s.send(3, 'p2')
      s.node(a).life?.process.resume()
      let highest = 0
      await s.until('it follows', () => {
        if (old.isLeader) highest = Math.max(highest, old.highWatermark)
        return !old.isLeader && s.state.isr.includes(a)
      })
      expect(highest).toBeLessThanOrEqual(3)
      const cuts = s.said.filter(({ nodeId, event }) => nodeId === a && event === 'replica.truncated')
      expect(cuts.map(({ fields }) => [fields.from, fields.to])).toEqual([[4, 3]])
      expect(s.history.sends.find(({ producer }) => producer === 'lost')?.outcome).toBe('indeterminate')
    }))

  it('K27 and hears of it ten seconds late can neither commit nor change who is in sync meanwhile', () =>
    play({ nodeCount: 4 }, async (s) => {
      const [a, b] = await apart(s)
      s.follow()
      await s.send(3)
      const metadata = s.holdMetadata(a)
      const old = s.replicaOn(s.node(a))
      await s.lead(b)
      const { leaderEpoch } = old
      const stale = s.producer().send(TOPIC)
      await s.send(3, 'p2')
      await s.advance(10_000)
      // Nobody fetches from it any more, and it thinks that they have fallen behind.
      expect(old).toMatchObject({ isLeader: true, leaderEpoch, highWatermark: 3 })
      expect(
        s.said.some(({ nodeId, event, fields }) => nodeId === a && event === 'isr.refused' && fields.code === 'FENCED_LEADER_EPOCH'),
      ).toBe(true)
      expect(new Set(s.state.isr).has(a)).toBe(false)
      metadata.release()
      await s.until('it is in sync again', () => s.state.isr.length === 3)
      expect((await s.cluster.run(stale)).outcome).toBe('ok')
    }))
})

describe('consumers', () => {
  it('K21 see the end of a partition and their own place in it never go back, whoever leads', () =>
    play({}, async (s) => {
      s.follow('r1')
      s.follow('r2')
      watchEnds(s.cluster, [TOPIC], 10)
      s.producer().start([TOPIC], 10)
      for (let turn = 0; turn < 4; turn++) {
        await s.advance(400)
        const old = s.leader
        if (turn % 2 === 0) old.kill()
        else old.losePower()
        await s.until('another leads', () => s.state.leader > 0 && s.state.leader !== old.nodeId)
        await s.advance(300)
        old.start()
        await s.untilInSync(1, 2, 3)
      }
      expect(s.history.readCount).toBeGreaterThan(100)
    }))
})

/** Stops a node as SIGTERM does, and starts it again when it has ended. */
async function restart(s: Scenario, node: SimNode): Promise<void> {
  await s.cluster.run(node.stop())
  node.start()
  await s.until('everybody is in sync again', () => s.cluster.isWhole && s.state.isr.length === 3)
}

describe('a node that is stopped in order under load', () => {
  it('K36 gives its leadership away first, and no send fails', () =>
    play({}, async (s) => {
      s.follow()
      for (const name of ['p1', 'p2']) s.producer(name).start([TOPIC], 15)
      await s.advance(300)
      const { leader } = s
      const stopping = leader.stop()
      await s.until('another leads', () => s.state.leader > 0 && s.state.leader !== leader.nodeId)
      expect(leader.life?.process.isAlive).toBe(true)
      expect(s.state.isr).not.toContain(leader.nodeId)
      await s.cluster.run(stopping)
      await s.advance(300)
      leader.start()
      await s.untilInSync(1, 2, 3)
      for (const name of ['p1', 'p2']) s.producer(name).stop()
      await s.until('all sends have ended', () => s.history.isSettled)
      expect(s.history.sends.filter(({ outcome }) => outcome !== 'ok')).toEqual([])
      expect(s.history.sends.length).toBeGreaterThan(50)
    }))

  it('K37 and so all of them, twice, loses nothing, doubles nothing, and holds no send up for as long as an election takes', () =>
    play({}, async (s) => {
      s.follow()
      let worstMs = 0
      const stop = new AbortController()
      const client = s.producer()
      const sending = (async () => {
        while (!stop.signal.aborted) {
          const sentAtMs = s.cluster.time.nowMs
          await client.send(TOPIC)
          worstMs = Math.max(worstMs, s.cluster.time.nowMs - sentAtMs)
          await new Promise<void>((resolve) => void s.cluster.time.after(20, resolve))
        }
      })()
      for (let round = 0; round < 2; round++) for (const node of s.cluster.nodes) await restart(s, node)
      stop.abort()
      await s.cluster.run(sending)
      expect(s.history.sends.filter(({ outcome }) => outcome !== 'ok')).toEqual([])
      expect(s.history.sends.length).toBeGreaterThan(200)
      expect(worstMs).toBeLessThan(SIM_CONFIG.electionTimeoutMs)
    }))
})
