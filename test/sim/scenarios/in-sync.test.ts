/** Who counts as in sync, while leader, followers and controller hear of each other late or not at all. */
import { describe, expect, it } from 'vitest'
import { nodeHealth } from '../../../broker/operations/health.ts'
import { streamOf } from '../../../scripts/random.ts'
import type { Hold } from '../network.ts'
import { play, type Scenario, TOPIC } from './scenario.ts'

const ALTER = 'Controller/AlterPartitions'

/** Three replicas, none of them on the active controller. */
async function apart(s: Scenario): Promise<[number, number, number, number]> {
  const [a, b, c, controller] = s.nodesByController as [number, number, number, number]
  await s.place(a, b, c)
  return [a, b, c, controller]
}

/** The third replica was away and has everything again. The leader is about to ask for it to be let in; the question has not left yet. */
async function rejoining(s: Scenario, [a, b, c]: readonly number[]): Promise<Hold> {
  s.node(c as number).kill()
  await s.untilInSync(a as number, b as number)
  await s.send(2)
  const questions = s.holdCalls(a as number, ALTER, 'asked by')
  s.node(c as number).start()
  await s.until('the leader wants it in', () => questions.count > 0)
  return questions
}

describe('a replica', () => {
  it('K07 that was removed and comes back empty is not in sync by what it had, though its leader hears of both at once', () =>
    play({ nodeCount: 4 }, async (s) => {
      const [a, b, c] = await apart(s)
      await s.send(5)
      const metadata = s.holdMetadata(a)
      const { partitionEpoch } = s.replicaOn(s.node(a)).metadata
      await s.cluster.run(s.admin.cluster.reassign(TOPIC, 0, [a, b]))
      await s.until('it is gone', () => s.cluster.partitionOf(s.node(c), TOPIC) === undefined)
      await s.cluster.run(s.admin.cluster.reassign(TOPIC, 0, [a, b, c]))
      await s.until('it is back, and empty', () => s.cluster.partitionOf(s.node(c), TOPIC)?.log.logEndOffset === 0)
      // Of the two changes the leader knows nothing yet; what the replica asks is of an epoch that it does not know.
      await s.advance(200)
      expect(s.replicaOn(s.node(a)).metadata.partitionEpoch).toBe(partitionEpoch)
      const blank = s.replicaOn(s.node(c)).log
      expect(blank.logEndOffset).toBe(0)
      metadata.release()
      let isCountedTooSoon = false
      await s.until('it is in sync', () => {
        const isIn = s.state.isr.includes(c)
        if (isIn && blank.flushedOffset < 5) isCountedTooSoon = true
        return isIn
      })
      expect(isCountedTooSoon).toBe(false)
    }))

  it('K08 that the controller has let in counts, though the answer was lost and the leader dies', () =>
    play({ nodeCount: 4 }, async (s) => {
      const [a, b, c] = await apart(s)
      const questions = await rejoining(s, [a, b, c])
      s.holdCalls(a, ALTER, 'answered to')
      s.holdMetadata(a)
      questions.release()
      await s.untilInSync(a, b, c)
      const leader = s.replicaOn(s.node(a))
      expect(leader.metadata.isr).not.toContain(c)
      // It is let in, and gets nothing any more: what it has not must not count as committed.
      s.cut(c, [a, b])
      const { highWatermark } = leader
      const sent = s.producer().send(TOPIC)
      await s.advance(900)
      expect(leader.log.flushedOffset).toBe(highWatermark + 1)
      expect(s.replicaOn(s.node(b)).log.flushedOffset).toBe(highWatermark + 1)
      expect(leader.highWatermark).toBe(highWatermark)
      s.node(a).kill()
      s.cluster.network.heal()
      await s.until('another leads', () => s.state.leader > 0 && s.state.leader !== a)
      await s.cluster.run(sent)
    }))

  it('K09 that the controller has fenced meanwhile is not let in by a leader that asked before', () =>
    play({ nodeCount: 4 }, async (s) => {
      const [a, b, c, controller] = await apart(s)
      const questions = await rejoining(s, [a, b, c])
      s.cut(b, [a, c, controller])
      await s.until('another one is fenced', () => s.state.isr.join() === `${a}`)
      const { partitionEpoch } = s.state
      questions.release()
      await s.until('the leader has been refused', () =>
        s.said.some(({ event, fields }) => event === 'isr.refused' && fields.code === 'INVALID_UPDATE_VERSION'),
      )
      expect(s.state).toMatchObject({ partitionEpoch, isr: [a] })
      s.cluster.network.heal()
      await s.untilInSync(a, b, c)
      await s.send(2)
    }))

  it.each([
    ['K10 whose node wants to stop', 'stops'],
    ['K11 whose node was started again since it fetched', 'restarts'],
  ])('%s is not let in, and holds nothing up', (_what, happening) =>
    play({ nodeCount: 4 }, async (s) => {
      const [a, b, c] = await apart(s)
      const questions = await rejoining(s, [a, b, c])
      const metadata = s.holdMetadata(a)
      let stopping = Promise.resolve()
      if (happening === 'stops') {
        const epoch = s.cluster.image.nodes.get(c)?.nodeEpoch
        stopping = s.node(c).stop()
        await s.until('it wants to stop', () => s.cluster.image.nodes.get(c)?.shuttingDown === true)
        expect(s.cluster.image.nodes.get(c)?.nodeEpoch).toBe(epoch)
      } else {
        const epoch = s.cluster.image.nodes.get(c)?.nodeEpoch ?? 0
        s.node(c).kill()
        s.node(c).start()
        await s.until('it is registered anew, and alive', () => s.node(c).isUp && (s.cluster.image.nodes.get(c)?.nodeEpoch ?? 0) > epoch)
      }
      questions.release()
      const isRefused = (): boolean =>
        s.said.some(({ nodeId, event, fields }) => nodeId === a && event === 'isr.refused' && fields.code === 'INELIGIBLE_REPLICA')
      await s.until('the leader has been refused', isRefused)
      expect(s.state.isr).not.toContain(c)
      await s.send(3)
      metadata.release()
      await s.cluster.run(stopping)
    }),
  )
})

describe('a leader', () => {
  it('K18 that reaches its followers and not the controller is deposed, and nothing it takes from then on is acknowledged by it', () =>
    play({ nodeCount: 4 }, async (s) => {
      const [a, b, c, controller] = await apart(s)
      s.follow()
      await s.send(3)
      s.cut(a, [controller])
      await s.send(3)
      await s.until('another leads', () => s.state.leader > 0 && s.state.leader !== a)
      const zombie = s.replicaOn(s.node(a))
      expect(zombie.isLeader).toBe(true)
      expect(zombie.metadata.isr).toHaveLength(3)
      await s.until('nobody follows it', () => [b, c].every((id) => s.replicaOn(s.node(id)).leaderEpoch > zombie.leaderEpoch))
      const { highWatermark } = zombie
      const sent = s.producer('p2').send(TOPIC)
      await s.advance(1500)
      expect(zombie.metadata.isr).toHaveLength(3)
      expect(zombie.highWatermark).toBe(highWatermark)
      expect(s.state.isr).not.toContain(a)
      await s.cluster.run(sent)
      expect(zombie.highWatermark).toBe(highWatermark)
      s.cluster.network.heal()
      await s.untilInSync(a, b, c)
    }))

  it('K16 K19 whose followers are cut off acknowledges nothing, and each record is there once when they are back', () =>
    play({ nodeCount: 4 }, async (s) => {
      const [a, b, c] = await apart(s)
      await s.send(3)
      const leader = s.replicaOn(s.node(a))
      s.cutApart(a, b, c)
      const early = s.producer().send(TOPIC)
      await s.until('it is alone', () => leader.metadata.isr.join() === `${a}`)
      expect(s.state.elr).toHaveLength(2)
      const end = leader.log.logEndOffset
      const late = s.producer('p2').send(TOPIC)
      await s.advance(1000)
      expect(leader.highWatermark).toBe(3)
      expect(leader.log.logEndOffset, 'refused before it is written').toBe(end)
      s.cluster.network.heal()
      for (const sent of await s.cluster.run(Promise.all([early, late]))) expect(sent.outcome).toBe('ok')
      await s.untilInSync(a, b, c)
      expect(leader.log.logEndOffset).toBe(5)
    }))

  it('K20 keeps a follower in sync that it loses and finds again and again', () =>
    play({ nodeCount: 4 }, async (s) => {
      const [a, b, c] = await apart(s)
      s.producer().start([TOPIC], 20)
      await s.advance(300)
      const { partitionEpoch } = s.state
      for (let flap = 0; flap < 8; flap++) {
        s.cut(c, [a])
        await s.advance(300)
        s.cluster.network.heal()
        await s.until('it has everything', () => s.replicaOn(s.node(c)).log.flushedOffset >= s.replicaOn(s.node(a)).highWatermark)
        await s.advance(200)
      }
      expect(s.state).toMatchObject({ leader: a, partitionEpoch })
      // Cut off for longer than a replica may be behind: it goes and comes back, once each time.
      for (let flap = 0; flap < 2; flap++) {
        s.cut(c, [a])
        await s.untilInSync(a, b)
        s.cluster.network.heal()
        await s.untilInSync(a, b, c)
      }
      expect(s.state).toMatchObject({ leader: a, partitionEpoch: partitionEpoch + 4 })
    }))
})

describe('health', () => {
  /** What a node says is wrong. */
  const reasonsOf = (s: Scenario, nodeId: number): string[] => {
    const broker = s.node(nodeId).life?.inside?.broker()
    return broker === undefined ? ['gone'] : nodeHealth(broker).reasons.map(({ code }) => code)
  }

  it('J20 is not green while a replica stays behind, though every node is alive and hears of the controller', () =>
    play({ nodeCount: 4 }, async (s) => {
      const [a, b, c, controller] = await apart(s)
      const all = [a, b, c, controller]
      await s.until('all is well', () => all.every((id) => reasonsOf(s, id).length === 0))
      s.producer().start([TOPIC], 20)
      s.cut(c, [a])
      await s.untilInSync(a, b)
      await s.until('the leader says so', () => reasonsOf(s, a).includes('UNDER_REPLICATED'))
      await s.advance(10_000)
      expect(all.map((id) => reasonsOf(s, id))).toEqual([['UNDER_REPLICATED'], [], [], []])
      s.cluster.network.heal()
      await s.untilInSync(a, b, c)
      await s.until('all is well', () => all.every((id) => reasonsOf(s, id).length === 0))
    }))

  it('J20 is not green on a node that the active controller alone cannot reach', () =>
    play({ nodeCount: 4 }, async (s) => {
      const [, , c, controller] = await apart(s)
      s.cut(c, [controller])
      await s.until('it says so itself', () => reasonsOf(s, c).some((code) => code === 'FENCED' || code === 'NO_CONTROLLER'))
    }))

  it('J20 follows three hundred blips of 1 to 200 ms of any link: green means converged, and in the end all of it is', () =>
    play({ nodeCount: 4, seed: 20 }, async (s) => {
      const [a, b, c, controller] = await apart(s)
      const all = [a, b, c, controller]
      const random = streamOf(s.cluster.seed, 'blips')
      const pick = (below: number): number => Math.floor(random() * below)
      s.producer().start([TOPIC], 20)
      s.follow()
      for (let blip = 0; blip < 300; blip++) {
        const one = all[pick(4)] as number
        s.cut(one, [all[(all.indexOf(one) + 1 + pick(3)) % 4] as number])
        await s.advance(1 + pick(200))
        s.cluster.network.heal()
        await s.advance(pick(100))
        const { leader, isr, replicas } = s.state
        // The node that leads by its own knowledge knows who is missing, too.
        const knows = s.cluster.partitionOf(s.node(leader), TOPIC)?.metadata
        if (isr.length < replicas.length && knows?.partitionEpoch === s.state.partitionEpoch)
          expect(reasonsOf(s, leader), `after blip ${blip}`).toContain('UNDER_REPLICATED')
      }
      await s.untilInSync(a, b, c)
      await s.until('all is well', () => all.every((id) => reasonsOf(s, id).length === 0))
    }))
})

describe('a controller', () => {
  it('K28 that dies when it has let a replica in, before the leader hears of it, is followed by one that knows', () =>
    play({ nodeCount: 5 }, async (s) => {
      const [a, b, c] = await apart(s)
      const controller = s.nodesByController.at(-1) as number
      const questions = await rejoining(s, [a, b, c])
      const answers = s.holdCalls(a, ALTER, 'answered to')
      const metadata = s.holdMetadata(a)
      questions.release()
      await s.untilInSync(a, b, c)
      const leader = s.replicaOn(s.node(a))
      const sends = Promise.all(Array.from({ length: 4 }, () => s.producer().send(TOPIC)))
      await s.advance(50)
      expect(leader.metadata.isr).not.toContain(c)
      s.node(controller).kill()
      metadata.release()
      answers.release()
      await s.until('there is another one', () => (s.cluster.activeController?.nodeId ?? controller) !== controller)
      await s.untilInSync(a, b, c)
      for (const sent of await s.cluster.run(sends)) expect(sent.outcome).toBe('ok')
      expect(leader.log.logEndOffset).toBe(6)
    }))

  it('K28 that dies before it has decided what a leader asks is not waited for: the next one is asked', () =>
    play({ nodeCount: 5 }, async (s) => {
      const [a, b, c] = await apart(s)
      const controller = s.nodesByController.at(-1) as number
      const questions = await rejoining(s, [a, b, c])
      s.node(controller).kill()
      questions.release()
      const sends = Promise.all(Array.from({ length: 4 }, () => s.producer().send(TOPIC)))
      await s.untilInSync(a, b, c)
      expect(s.cluster.activeController?.nodeId).not.toBe(controller)
      for (const sent of await s.cluster.run(sends)) expect(sent.outcome).toBe('ok')
      expect(s.replicaOn(s.node(a)).log.logEndOffset).toBe(6)
    }))
})

describe('a partition', () => {
  it('K34 that moves off its leader under load has enough in sync at every moment, and loses nothing', () =>
    play({ nodeCount: 5 }, async (s) => {
      const [a, b, c, d] = s.nodesByController as [number, number, number, number]
      await s.place(a, b, c)
      s.follow()
      s.producer().start([TOPIC], 10)
      await s.advance(200)
      let fewest = 3
      const isDone = (): boolean => {
        fewest = Math.min(fewest, s.state.isr.length)
        return s.state.replicas.join() === `${d},${b},${c}` && s.state.isr.length === 3
      }
      await s.cluster.run(s.admin.cluster.reassign(TOPIC, 0, [d, b, c]))
      await s.until('it has moved', isDone)
      expect(fewest).toBeGreaterThanOrEqual(2)
      expect(s.state.leader).not.toBe(a)
      await s.until('the old replica is gone', () => s.cluster.partitionOf(s.node(a), TOPIC) === undefined)
      await s.advance(300)
    }))

  it('K35 whose min.insync.replicas changes commits by the new number, and not before it is reached', () =>
    play({ nodeCount: 4 }, async (s) => {
      const [a, b, c] = await apart(s)
      const setMin = (value: string): Promise<void> =>
        s.cluster.run(s.admin.alterConfigs(TOPIC, { set: { 'min.insync.replicas': value } }).then(() => {}))
      await s.send(1)
      s.cutApart(a, b, c)
      const first = s.producer().send(TOPIC)
      await s.until('it is alone', () => s.replicaOn(s.node(a)).metadata.isr.join() === `${a}`)
      expect(s.state.elr).toHaveLength(2)
      await s.advance(500)
      expect(first).toBeInstanceOf(Promise)
      expect(s.history.acknowledgedCount).toBe(1)
      await setMin('1')
      expect((await s.cluster.run(first)).outcome).toBe('ok')
      expect(s.state.elr).toEqual([])
      s.cluster.network.heal()
      await s.untilInSync(a, b, c)
      s.cut(c, [a, b])
      await s.send(1)
      await s.untilInSync(a, b)
      await setMin('3')
      const second = s.producer().send(TOPIC)
      await s.advance(700)
      expect(s.history.acknowledgedCount).toBe(3)
      s.cluster.network.heal()
      expect((await s.cluster.run(second)).outcome).toBe('ok')
      expect(s.state.isr).toHaveLength(3)
    }))
})
