/** What a log may lose, and may not, when leaders change. */
import { describe, expect, it } from 'vitest'
import { play, type Scenario, TOPIC } from './scenario.ts'

describe('a follower that restarts', () => {
  it('K01 before it hears that what it acknowledged is committed keeps it, also as the next leader', () =>
    play({ replicas: 2, configs: { 'min.insync.replicas': '2' } }, async (s) => {
      const [first, second] = s.nodesByController as [number, number]
      await s.place(first, second)
      const [leader, follower] = [s.node(first), s.node(second)]
      const sent = s.producer().send(TOPIC)
      await s.until('it is committed', () => s.replicaOn(leader).highWatermark === 1)
      expect(s.replicaOn(follower).log.flushedOffset).toBe(1)
      expect(s.replicaOn(follower).highWatermark).toBe(0)
      follower.kill()
      follower.start()
      // Not in sync any more, and all that is left once the leader dies.
      await s.until('it has left the ISR', () => s.state.isr.join() === `${first}`)
      expect(s.state.elr).toEqual([second])
      leader.kill()
      await s.until('it leads', () => s.cluster.partitionOf(follower, TOPIC)?.isLeader === true)
      expect(s.replicaOn(follower).log.logEndOffset).toBe(1)
      await s.cluster.run(sent)
      expect(s.countOf('replica.truncated', second)).toBe(0)
    }))
})

describe('a leader that comes back', () => {
  it('K02 after both lost their power, and the other one wrote something else in the place of its last record, gives that record up', () =>
    play({ replicas: 2, configs: { 'min.insync.replicas': '1' } }, async (s) => {
      const [first, second] = s.nodesByController as [number, number]
      await s.place(first, second)
      const [old, backup] = [s.node(first), s.node(second)]
      await s.send(3)
      s.cutApart(first, second)
      await s.leave('lost')
      const lost = await bytesAt(s, first, 3)
      old.losePower()
      await s.until('the backup leads', () => s.state.leader === second)
      backup.losePower()
      s.cluster.network.heal()
      backup.start()
      await s.until('the backup leads again', () => s.cluster.partitionOf(backup, TOPIC)?.isLeader === true)
      await s.send(2, 'p2')
      expect((await bytesAt(s, second, 3)).equals(lost)).toBe(false)
      old.start()
      await s.untilInSync(first, second)
      expect(
        s.said.filter(({ event }) => event === 'replica.truncated').map(({ nodeId, fields }) => [nodeId, fields.from, fields.to]),
      ).toEqual([[first, 4, 3]])
      expect(await bytesAt(s, first, 3)).toEqual(await bytesAt(s, second, 3))
    }))

  it('K03 after leaders changed too fast for anybody to follow finds in several steps where its log is still that of the leader', () =>
    play({ nodeCount: 4, configs: { 'min.insync.replicas': '1' } }, async (s) => {
      const [a, b, c] = s.nodesByController as [number, number, number]
      await s.place(a, b, c)
      await s.send(3)
      // In sync are all, and nobody gets what the others have: each leads in turn and has something of its own.
      s.cutApart(a, b, c)
      const epoch = s.state.leaderEpoch
      for (const [turn, leader] of [a, b, a, b].entries()) {
        if (turn > 0) await s.lead(leader)
        await s.leave(`lost-${turn}`)
      }
      expect(s.state).toMatchObject({ leader: b, leaderEpoch: epoch + 3 })
      expect(new Set(s.state.isr)).toEqual(new Set([a, b, c]))
      const epochsOf = (id: number): number[] => s.replicaOn(s.node(id)).log.leaderEpochs.entries.map((entry) => entry.epoch)
      expect([epochsOf(a), epochsOf(b)]).toEqual([
        [epoch, epoch + 2],
        [epoch, epoch + 1, epoch + 3],
      ])
      s.cluster.network.heal()
      await s.until('their logs are the same', () => epochsOf(a).join() === epochsOf(b).join())
      const cuts = s.said
        .filter(({ nodeId, event }) => nodeId === a && event === 'replica.truncated')
        .map(({ fields }) => [fields.from, fields.to])
      expect(cuts).toEqual([
        [5, 4],
        [4, 3],
      ])
      await s.send(2)
    }))
})

describe('a follower that has deleted more than its leader has', () => {
  it('K23 begins anew where the log of the leader begins, whatever it had itself', () =>
    play({ nodeCount: 5, controllerCount: 3, replicas: 2, configs: { 'min.insync.replicas': '1' } }, async (s) => {
      await s.place(4, 5)
      for (let at = 0; at < 20; at++) await s.send(1)
      await s.cluster.run(s.admin.deleteRecords(TOPIC, 0, 15n))
      await s.until('both have deleted them', () => [4, 5].every((id) => s.replicaOn(s.node(id)).log.logStartOffset === 15))
      // The leader comes back with an empty disk, and the other one dies before it has anything.
      s.node(4).loseDisk()
      await s.until('the other one leads', () => s.state.leader === 5)
      s.cut(4, [5])
      s.node(4).start()
      await s.until('it is back, and empty', () => s.cluster.partitionOf(s.node(4), TOPIC)?.log.logEndOffset === 0)
      s.node(5).kill()
      await s.until('nobody leads', () => s.state.leader === -1)
      s.acceptLoss()
      await s.until('it is let in', () => s.node(4).isUp)
      await s.cluster.run(s.admin.cluster.electLeaders([{ topic: TOPIC }], { unclean: true }))
      await s.until('it leads', () => s.cluster.partitionOf(s.node(4), TOPIC)?.isLeader === true)
      // Not of the history: the offsets are used again.
      const producer = s.cluster.openClient('p2').tm.producer()
      for (const value of ['one', 'other']) await s.cluster.run(producer.send(TOPIC, { value }))
      s.cluster.network.heal()
      s.node(5).start()
      await s.untilInSync(4, 5)
      const { log } = s.replicaOn(s.node(5))
      expect([log.logStartOffset, log.logEndOffset]).toEqual([0, 2])
      expect(s.countOf('replica.begun-anew', 5)).toBe(1)
    }))
})

describe('elections', () => {
  it('K22 of leaders that write nothing, again and again, leave the logs and their epochs as they are', () =>
    play({}, async (s) => {
      const [a, b, c] = s.state.replicas as [number, number, number]
      await s.send(3)
      for (const leader of [b, c, a, b, a, c, b, a]) await s.lead(leader)
      for (const id of [b, c]) {
        s.node(id).kill()
        await s.until('it is fenced', () => !s.state.isr.includes(id))
        s.node(id).start()
        await s.untilInSync(a, b, c)
        await s.lead(id)
      }
      await s.lead(a)
      const epochs = s.cluster.nodes.map((node) => s.replicaOn(node).log.leaderEpochs.entries)
      expect(epochs).toEqual([epochs[0], epochs[0], epochs[0]])
      await s.send(3)
      await s.until('all have them', () => s.cluster.nodes.every((node) => s.replicaOn(node).log.logEndOffset === 6))
      expect(s.countOf('replica.truncated')).toBe(0)
      expect(s.state.leaderEpoch).toBeGreaterThan(10)
    }))
})

describe('records that were acknowledged', () => {
  it('K12 K14 K15 from memory (durability `replicated`) are there when the last one in sync loses them with its power: an eligible one leads', () =>
    play(
      { nodeCount: 5, configs: { durability: 'replicated' }, config: { sessionTimeoutMs: 500, heartbeatIntervalMs: 100 } },
      async (s) => {
        const [first, second, third] = s.nodesByController as [number, number, number]
        await s.place(first, second, third)
        await s.send(5)
        expect(s.replicaOn(s.node(first)).log.flushedOffset).toBe(0)
        const ids = s.cluster.nodes.map(({ nodeId }) => nodeId)
        for (const id of [second, third])
          s.cut(
            id,
            ids.filter((other) => other !== id),
          )
        await s.until('the leader is alone', () => s.state.isr.join() === `${first}`)
        expect(new Set(s.state.elr)).toEqual(new Set([second, third]))
        expect(s.replicaOn(s.node(first)).log.flushedOffset).toBe(0)
        s.node(first).losePower(true)
        s.node(first).start()
        await s.until('it is back, and not counted on', () => s.node(first).isUp && s.state.isr.length === 0)
        expect(s.replicaOn(s.node(first)).log.logEndOffset).toBe(0)
        expect(s.state.elr).not.toContain(first)
        // Alive, and a replica; but it may lack records, so nobody leads.
        await s.advance(2000)
        expect(s.state.leader).toBe(-1)
        s.cluster.network.heal()
        await s.until('another leads', () => s.state.leader > 0)
        expect([second, third]).toContain(s.state.leader)
        expect(s.replicaOn(s.leader).log.logEndOffset).toBe(5)
        await s.untilInSync(first, second, third)
      },
    ))

  it('K13 on disk (durability `fsync`) are there after all nodes lost their power at once', () =>
    play({}, async (s) => {
      for (const [round, name] of ['p1', 'p2'].entries()) {
        s.producer(name).start([TOPIC], 5)
        await s.advance(300)
        for (const node of s.cluster.nodes) node.losePower(round === 0)
        for (const node of s.cluster.nodes) node.start()
        await s.until('somebody leads', () => s.cluster.nodes.some((node) => s.cluster.partitionOf(node, TOPIC)?.isLeader === true))
        await s.advance(200)
      }
      expect(s.history.acknowledgedCount).toBeGreaterThan(20)
    }))

  it('K13 in memory (durability `replicated`) are lost only of the last second when all nodes lose their power, and that is said', () =>
    play({ configs: { durability: 'replicated' } }, async (s) => {
      s.acceptLoss()
      const acknowledgedAtMs: number[] = []
      for (let at = 0; at < 60; at++) {
        await s.send(1)
        acknowledgedAtMs.push(s.cluster.time.nowMs)
        await s.advance(50)
      }
      const cutAtMs = s.cluster.time.nowMs
      for (const node of s.cluster.nodes) node.losePower(true)
      for (const node of s.cluster.nodes) node.start()
      await s.until('somebody leads', () => s.cluster.nodes.some((node) => s.cluster.partitionOf(node, TOPIC)?.isLeader === true))
      const left = s.replicaOn(s.leader).log.logEndOffset
      expect(left).toBeLessThan(60)
      // A sync begins a second after a write at the latest, and takes its time.
      for (const atMs of acknowledgedAtMs.slice(left)) expect(cutAtMs - atMs).toBeLessThan(1100)
      for (const { nodeId } of s.cluster.nodes) expect(s.countOf('partitions.unsure', nodeId)).toBe(1)
    }))
})

async function bytesAt(s: Scenario, nodeId: number, offset: number): Promise<Buffer> {
  const { log } = s.replicaOn(s.node(nodeId))
  return Buffer.concat(await s.cluster.run(log.read(offset, 1, log.logEndOffset)))
}
