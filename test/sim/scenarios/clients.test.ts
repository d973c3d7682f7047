/** What producers and consumers get while leaders die and topics come and go. */
import { describe, expect, it } from 'vitest'
import { TidemarkError } from '../../../protocol/errors.ts'
import { DUPLICATE_WINDOW } from '../../../protocol/ids.ts'
import { splitBatches } from '../../../protocol/batch-reader.ts'
import type { CallMessage } from '../network.ts'
import { play, TOPIC } from './scenario.ts'

/** One record that is acknowledged, and three more than may be under way. */
const ALL = 1 + DUPLICATE_WINDOW + 3

describe('a producer whose leader dies', () => {
  it('K38 with all it has under way committed and nothing acknowledged sends it again, and it is there once and in order', () =>
    play({ nodeCount: 4 }, async (s) => {
      const [a, b, c] = s.nodesByController as [number, number, number]
      await s.place(a, b, c)
      // Batches of one record each, as many under way as there may be.
      const options = { batchBytes: 80, maxInFlight: DUPLICATE_WINDOW }
      const producer = s.producer('p1', options)
      await s.cluster.run(producer.send(TOPIC, 'k'))
      const answers = s.cluster.network.hold(({ from, path, isAnswer }) => from === `n${a}` && isAnswer && path.includes('Log/Produce'))
      const sends = Promise.all(Array.from({ length: DUPLICATE_WINDOW + 3 }, () => producer.send(TOPIC, 'k')))
      await s.until('as many of them are committed', () => s.replicaOn(s.node(a)).highWatermark === 1 + DUPLICATE_WINDOW)
      await s.advance(100)
      expect(answers.count).toBe(DUPLICATE_WINDOW)
      expect(s.history.acknowledgedCount).toBe(1)
      s.node(a).kill()
      for (const { outcome } of await s.cluster.run(sends)) expect(outcome).toBe('ok')
      const { log } = s.replicaOn(s.leader)
      expect(log.logEndOffset).toBe(ALL)
      const batches = (await s.cluster.run(log.read(0, 1 << 20, ALL))).flatMap(splitBatches)
      expect(batches).toHaveLength(ALL)
      expect(s.history.sends.map(({ offset }) => offset)).toEqual(Array.from({ length: ALL }, (_, offset) => offset))
    }))

  it('K38 with nothing of it committed sends it to the next one, and it is there once and in order', () =>
    play({ nodeCount: 4 }, async (s) => {
      const [a, b, c] = s.nodesByController as [number, number, number]
      await s.place(a, b, c)
      const producer = s.producer('p1', { batchBytes: 80, maxInFlight: DUPLICATE_WINDOW })
      await s.cluster.run(producer.send(TOPIC, 'k'))
      s.cut(a, [b, c])
      const sends = Promise.all(Array.from({ length: DUPLICATE_WINDOW + 3 }, () => producer.send(TOPIC, 'k')))
      await s.until('the leader has as many of them', () => s.replicaOn(s.node(a)).log.flushedOffset === 1 + DUPLICATE_WINDOW)
      s.node(a).losePower()
      s.cluster.network.heal()
      for (const { outcome } of await s.cluster.run(sends)) expect(outcome).toBe('ok')
      expect(s.history.sends.map(({ offset }) => offset)).toEqual(Array.from({ length: ALL }, (_, offset) => offset))
      expect(s.replicaOn(s.leader).log.logEndOffset).toBe(ALL)
    }))
})

describe('a topic that is deleted and created again under its name', () => {
  it('K29 has nothing of the old one: what was written and read of it goes nowhere else', () =>
    play({}, async (s) => {
      const writer = s.cluster.openClient('w1').tm.producer({ deliveryTimeout: '20s' })
      const outcomes: { readonly value: string; readonly topicId: string; readonly offset: number }[] = []
      const failed: string[] = []
      let count = 0
      const send = (): void => {
        const value = `v${count++}`
        writer.send(TOPIC, { key: 'k', value }).then(
          ({ offset }) => outcomes.push({ value, topicId: s.cluster.image.topics.get(TOPIC)?.topicId ?? '', offset: Number(offset) }),
          (error: unknown) => failed.push(`${value} ${TidemarkError.from(error).code}`),
        )
      }
      const stop = s.cluster.time.every(10, send)
      const read: string[] = []
      let readFailure: TidemarkError | undefined
      const reading = s.cluster
        .openClient('old')
        .tm.consumer(TOPIC, { start: 'earliest' })
        .run(({ value }) => void read.push(String(value)))
      reading.catch((error: unknown) => (readFailure = TidemarkError.from(error)))
      await s.advance(500)
      const oldId = s.cluster.image.topics.get(TOPIC)?.topicId
      await s.cluster.run(s.admin.deleteTopic(TOPIC))
      await s.cluster.run(s.admin.createTopic(TOPIC, { partitions: 1, replicas: 3 }))
      await s.until('it is led', () => s.cluster.partitionOf(s.leader, TOPIC)?.isLeader === true)
      const newId = s.cluster.image.topics.get(TOPIC)?.topicId
      expect(newId).not.toBe(oldId)
      await s.until('the reader of the old one has ended', () => readFailure !== undefined)
      expect(readFailure?.code).toMatch(/^UNKNOWN_TOPIC(_ID)?$/)
      await s.advance(1000)
      stop.cancel()
      await s.until('all sends have ended', () => outcomes.length + failed.length === count)
      // What is in the new topic begins at 0, and is what was acknowledged after it was made.
      const now: string[] = []
      await s.cluster.run(
        s.cluster
          .openClient('new')
          .tm.consumer(TOPIC, { start: 'earliest', end: 'now' })
          .run(({ value, offset }) => void (now[Number(offset)] = String(value))),
      )
      const acknowledged = outcomes.filter(({ topicId }) => topicId === newId)
      expect(acknowledged.length).toBeGreaterThan(50)
      for (const { value, offset } of acknowledged) expect(now[offset]).toBe(value)
      expect(new Set(now).size).toBe(now.length)
      expect(now.filter((value) => read.includes(value))).toEqual([])
      // Followers of the old topic had data of the new one's numbers: they are the same all the same.
      for (const node of s.cluster.nodes) expect(s.replicaOn(node).topicId).toBe(newId)
      s.writtenElsewhere(now)
    }))

  it('K29 takes nothing that was on its way to the old one when that was deleted', () =>
    play({}, async (s) => {
      const { network } = s.cluster
      const { tm } = s.cluster.openClient('old')
      const producer = tm.producer()
      for (let at = 0; at < 3; at++) await s.cluster.run(producer.send(TOPIC, { value: `old ${at}` }))
      const isAsked = ({ from, path, isAnswer }: CallMessage, call: string): boolean => from === 'old' && path.includes(call) && !isAnswer
      const read: string[] = []
      let readFailure: TidemarkError | undefined
      const reading = tm.consumer(TOPIC, { start: 'earliest' }).run(({ value }) => void read.push(String(value)))
      // All but the opening of the call, and the first question.
      let askedCount = 0
      const fetches = network.hold((message) => isAsked(message, 'Log/Fetch') && askedCount++ > 1)
      reading.catch((error: unknown) => (readFailure = TidemarkError.from(error)))
      await s.until('it has read everything and asks for more', () => fetches.count > 0 && read.length === 3)
      const sends = network.hold((message) => isAsked(message, 'Log/Produce'))
      const late = producer.send(TOPIC, { value: 'late' })
      await s.until('it is on its way', () => sends.count > 0)
      await s.cluster.run(s.admin.deleteTopic(TOPIC))
      await s.cluster.run(s.admin.createTopic(TOPIC, { partitions: 1, replicas: 3 }))
      await s.until('it is led', () => s.cluster.partitionOf(s.leader, TOPIC)?.isLeader === true)
      await s.send(6)
      fetches.release()
      sends.release()
      await s.until('the reader has ended', () => readFailure !== undefined)
      expect(readFailure?.code).toBe('UNKNOWN_TOPIC_ID')
      expect(read).toEqual(['old 0', 'old 1', 'old 2'])
      // Who sends by the name sends again, to what has it now.
      expect(Number((await s.cluster.run(late)).offset)).toBe(6)
      s.writtenElsewhere(['late'])
    }))
})
