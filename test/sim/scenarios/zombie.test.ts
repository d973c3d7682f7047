/** What clients are told by a node that leads no more, and by a log that lost what they had read. */
import { describe, expect, it } from 'vitest'
import { TidemarkError } from '../../../protocol/errors.ts'
import type { FetchResponseMessage, ProduceResponseMessage } from '../../../protocol/log-codec.ts'
import { batchOf } from '../../log/support.ts'
import type { SimClient } from '../cluster.ts'
import { addressOf } from '../node.ts'
import { play, type Scenario, TOPIC } from './scenario.ts'

const WAIT_MS = 2000

interface Answers {
  readonly produce: string
  readonly fetch: string
  readonly fetchedBytes: number
}

/** What a node answers to who says that it leads in `leaderEpoch`: the error, `ok`, or `nothing` for as long as a client may wait. */
async function ask(s: Scenario, { client }: SimClient, nodeId: number, leaderEpoch: number, offset: number): Promise<Answers> {
  const connection = client.connection(addressOf(nodeId))
  let produced: ProduceResponseMessage | undefined
  let fetched: FetchResponseMessage | undefined
  const closed = (): void => {}
  const producing = connection.openProduce({ message: (message) => (produced = message), closed })
  const fetching = connection.openFetch({ message: (message) => (fetched = message), closed })
  const where = { topic: TOPIC, topicId: Buffer.alloc(0), partition: 0, leaderEpochPlusOne: leaderEpoch + 1 }
  producing.send({ correlationId: 1, acks: 0, timeoutMs: 60_000, partitions: [{ ...where, batch: batchOf(['x']) }] })
  const partitions = [{ ...where, lastEpochPlusOne: 0, suspect: false, offset, maxBytes: 0 }]
  fetching.send({ correlationId: 1, maxWaitMs: WAIT_MS / 2, minBytes: 1, maxBytes: 0, partitions })
  await s.advance(WAIT_MS)
  const [result] = fetched?.partitions ?? []
  return {
    produce: produced === undefined ? 'nothing' : (produced.partitions[0]?.error?.code ?? 'ok'),
    fetch: result === undefined ? 'nothing' : (result.error?.code ?? 'ok'),
    fetchedBytes: result?.batches.reduce((sum, batch) => sum + batch.length, 0) ?? 0,
  }
}

describe('a leader of an old epoch that nobody can tell', () => {
  it('K04 commits nothing, hands out nothing that is not committed, and is refused by who knows better, as are those who do not', () =>
    play({ nodeCount: 4 }, async (s) => {
      const [a, b, c, controller] = s.nodesByController as [number, number, number, number]
      await s.place(a, b, c)
      s.follow()
      await s.send(3)
      const old = s.state.leaderEpoch
      s.cut(a, [b, c, controller])
      await s.until('another leads', () => s.state.leader > 0 && s.state.leader !== a)
      await s.send(3)
      const { leader, leaderEpoch } = s.state
      const zombie = s.replicaOn(s.node(a))
      expect(zombie).toMatchObject({ isLeader: true, leaderEpoch: old })
      const { logEndOffset } = zombie.log
      const client = s.cluster.openClient()
      expect(await ask(s, client, a, old, 3)).toEqual({ produce: 'nothing', fetch: 'ok', fetchedBytes: 0 })
      expect(zombie.log.logEndOffset).toBe(logEndOffset + 1)
      // What its successor has committed may lie beyond its end: it must not say that nothing can be there.
      expect(await ask(s, client, a, old, logEndOffset + 9)).toEqual({ produce: 'nothing', fetch: 'OFFSET_NOT_AVAILABLE', fetchedBytes: 0 })
      expect(await ask(s, client, a, leaderEpoch, 3)).toEqual({
        produce: 'UNKNOWN_LEADER_EPOCH',
        fetch: 'UNKNOWN_LEADER_EPOCH',
        fetchedBytes: 0,
      })
      expect(await ask(s, client, leader, old, 3)).toEqual({
        produce: 'FENCED_LEADER_EPOCH',
        fetch: 'FENCED_LEADER_EPOCH',
        fetchedBytes: 0,
      })
      client.process.kill()
      s.cluster.network.heal()
      await s.untilInSync(a, b, c)
      expect(zombie).toMatchObject({ isLeader: false, leaderEpoch })
      expect(zombie.log.logEndOffset).toBe(6)
    }))
})

describe('a log that lost its end to an unclean election and grew again', () => {
  it('K04 is an error to a consumer that had read what is gone, however much is there by now', () =>
    play(
      { nodeCount: 5, controllerCount: 3, replicas: 2, configs: { 'min.insync.replicas': '1' }, config: { replicaLagMaxMs: 500 } },
      async (s) => {
        await s.place(4, 5)
        await s.send(5)
        s.cut(5, [4])
        await s.send(3)
        const { tm } = s.cluster.openClient('reader')
        const read: string[] = []
        let failure: TidemarkError | undefined
        const reading = tm
          .consumer(TOPIC, { start: 'earliest', onOutOfRange: 'earliest' })
          .run(({ value }) => void read.push(String(value)))
        reading.catch((error: unknown) => (failure = TidemarkError.from(error)))
        await s.until('it has read everything', () => read.length === 8)
        s.node(4).kill()
        await s.until('nobody leads', () => s.state.leader === -1)
        s.cluster.network.heal()
        s.acceptLoss()
        await s.cluster.run(s.admin.cluster.electLeaders([{ topic: TOPIC }], { unclean: true }))
        await s.until('the other one leads', () => s.cluster.partitionOf(s.node(5), TOPIC)?.isLeader === true)
        const producer = s.cluster.openClient('p2').tm.producer()
        for (let at = 0; at < 6; at++) await s.cluster.run(producer.send(TOPIC, { value: `other ${at}` }))
        expect(s.replicaOn(s.node(5)).log.logEndOffset).toBe(11)
        await s.until('the consumer has failed', () => failure !== undefined)
        expect(failure).toMatchObject({ code: 'LOG_TRUNCATED', retriable: false })
        expect(read).toHaveLength(8)
      },
    ))
})
