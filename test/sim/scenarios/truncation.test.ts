/** What a log may lose, and may not, when leaders change. */
import { describe, expect, it } from 'vitest'
import { play, type Scenario, TOPIC } from './scenario.ts'

/** From here on nothing that one of these nodes has reaches another of them. */
function cutApart({ cluster }: Scenario, ...nodeIds: number[]): void {
  for (const id of nodeIds)
    cluster.split(
      [`n${id}`],
      nodeIds.filter((other) => other !== id).map((other) => `n${other}`),
    )
}

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
      cutApart(s, first, second)
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
      expect(s.said.filter(({ event }) => event === 'replica.truncated').map(({ nodeId, fields }) => [nodeId, fields.from, fields.to])).toEqual([
        [first, 4, 3],
      ])
      expect(await bytesAt(s, first, 3)).toEqual(await bytesAt(s, second, 3))
    }))

  it('K03 after leaders changed too fast for anybody to follow finds in several steps where its log is still that of the leader', () =>
    play({ nodeCount: 4, configs: { 'min.insync.replicas': '1' } }, async (s) => {
      const [a, b, c] = s.nodesByController as [number, number, number]
      await s.place(a, b, c)
      await s.send(3)
      // In sync are all, and nobody gets what the others have: each leads in turn and has something of its own.
      cutApart(s, a, b, c)
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
      const cuts = s.said.filter(({ nodeId, event }) => nodeId === a && event === 'replica.truncated').map(({ fields }) => [fields.from, fields.to])
      expect(cuts).toEqual([
        [5, 4],
        [4, 3],
      ])
      await s.send(2)
    }))
})

async function bytesAt(s: Scenario, nodeId: number, offset: number): Promise<Buffer> {
  const { log } = s.replicaOn(s.node(nodeId))
  return Buffer.concat(await s.cluster.run(log.read(offset, 1, log.logEndOffset)))
}
