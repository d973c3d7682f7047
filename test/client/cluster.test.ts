/** One client, several nodes: leaders move, nodes go and come back. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { connect, type Message, type Tidemark } from '../../client/index.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { createDeferred } from '../../runtime/deferred.ts'
import { FakeBroker } from './fake-broker.ts'
import { clientOf, failureOf, numbers, until } from './support.ts'

const SPEED = 20

let broker: FakeBroker
let tm: Tidemark

beforeEach(async () => {
  broker = await FakeBroker.start(3)
  broker.createTopic('t')
  tm = clientOf(broker, { speed: SPEED })
})

afterEach(async () => {
  broker.hung.clear()
  await tm.close()
  await broker[Symbol.asyncDispose]()
})

const records = (values: readonly string[]): { value: string }[] => values.map((value) => ({ value }))
const describes = (): number => broker.calls.filter((name) => name === 'describeTopics').length
const producerIds = (): Set<number> => new Set(broker.produced.map(({ producerId }) => producerId))
const valueOf = (message: Message<Buffer, Buffer> | undefined): string => String(message?.value)

async function nextOf(iterator: AsyncIterator<Message<Buffer, Buffer>>): Promise<string> {
  const { done, value } = await iterator.next()
  if (done === true) throw new Error('the consumer has ended')
  return valueOf(value)
}

describe('a producer', () => {
  it('follows a leader that moves in the middle of a pipelined send, with the same id and sequences', async () => {
    const producer = tm.producer({ batchBytes: 120 })
    await producer.send('t', { value: 'first' })
    let requestCount = 0
    broker.produceFault = () => {
      if (++requestCount === 3) broker.moveLeader('t', 0, 1)
      if (requestCount === 9) broker.moveLeader('t', 0, 2)
      return undefined
    }
    await producer.send('t', records(numbers(100)))
    expect(await broker.values('t')).toEqual(['first', ...numbers(100)])
    expect(broker.produced.at(-1)?.node).toBe(2)
    expect(producerIds().size).toBe(1)
  })

  it('asks once for all partitions whose leaders are in doubt, and any node that answers', async () => {
    for (const name of ['a', 'b', 'c']) broker.createTopic(name, 3)
    const producer = tm.producer()
    const spread = ['a', 'b', 'c'].flatMap((name) => [0, 1, 2].map((partition) => ({ name, partition })))
    const sendAll = (value: string): Promise<unknown> =>
      Promise.all(spread.map(({ name, partition }) => producer.send(name, { value, partition })))
    await sendAll('x')
    broker.setDown(0, true)
    for (const { name, partition } of spread) if (broker.partition(name, partition).leader === 0) broker.moveLeader(name, partition, 1)
    const before = describes()
    await sendAll('y')
    expect(describes() - before).toBeLessThanOrEqual(3)
    for (const { name, partition } of spread) expect(await broker.values(name, partition)).toEqual(['x', 'y'])
  })

  it.each(['NOT_ENOUGH_REPLICAS_AFTER_APPEND', 'REQUEST_TIMED_OUT', 'NOT_LEADER', 'LEADER_NOT_AVAILABLE'] as const)(
    'that is told %s after the record was written sends it again, and one copy stays',
    async (code) => {
      let lieCount = 0
      broker.produceFault = () => (++lieCount > 3 ? undefined : { lie: new TidemarkError(code) })
      await tm.producer().send('t', { value: 'x' })
      expect(broker.produced.length).toBe(4)
      expect(await broker.values('t')).toEqual(['x'])
    },
  )

  it.each(['NOT_ENOUGH_REPLICAS', 'FENCED_LEADER_EPOCH', 'UNKNOWN_LEADER_EPOCH', 'UNKNOWN_TOPIC_ID'] as const)(
    'that is refused with %s asks for metadata and tries again',
    async (code) => {
      const producer = tm.producer()
      await producer.send('t', { value: 'a' })
      const before = describes()
      broker.refuse = () => {
        broker.refuse = undefined
        return new TidemarkError(code)
      }
      await producer.send('t', { value: 'b' })
      expect(await broker.values('t')).toEqual(['a', 'b'])
      expect(describes()).toBeGreaterThan(before)
    },
  )

  it('waits for a partition that has no leader until it has one', async () => {
    const producer = tm.producer()
    await producer.send('t', { value: 'a' })
    broker.moveLeader('t', 0, -1)
    const sent = producer.send('t', { value: 'b' })
    const before = describes()
    await until(() => describes() >= before + 3)
    broker.moveLeader('t', 0, 2)
    await sent
    expect(await broker.values('t')).toEqual(['a', 'b'])
  })

  it('takes a topic that a node describes without a partition for one that is not available', async () => {
    broker.createTopic('empty', 0)
    const refused = await failureOf(tm.producer().send('empty', { key: 'k', value: 'v' }))
    expect(refused).toMatchObject({ code: 'UNAVAILABLE', retriable: true })
  })

  it('goes on when all nodes were gone and are back', async () => {
    const producer = tm.producer({ batchBytes: 120 })
    await producer.send('t', { value: 'first' })
    for (const node of [0, 1, 2]) broker.setDown(node, true)
    const sent = producer.send('t', records(numbers(40)))
    // Three seconds of the client's.
    await new Promise((resolve) => setTimeout(resolve, 3000 / SPEED))
    for (const node of [2, 1, 0]) broker.setDown(node, false)
    await sent
    expect(await broker.values('t')).toEqual(['first', ...numbers(40)])
    expect(producerIds().size).toBe(1)
  })

  it('leaves a node that hangs as soon as another one leads, long before the request times out', async () => {
    const producer = tm.producer({ requestTimeout: '10m', deliveryTimeout: '15m' })
    await producer.send('t', { value: 'a' })
    broker.hung.add(0)
    const startedMs = performance.now()
    const sent = producer.send('t', records(numbers(5)))
    await until(() => broker.produced.length === 2)
    broker.moveLeader('t', 0, 1)
    await sent
    expect((performance.now() - startedMs) * SPEED).toBeLessThan(60_000)
    expect(await broker.values('t')).toEqual(['a', ...numbers(5)])
    expect(producerIds().size).toBe(1)
  })

  it('stays with a slow node while it leads', async () => {
    const producer = tm.producer({ requestTimeout: '10m', deliveryTimeout: '15m' })
    await producer.send('t', { value: 'a' })
    const answer = createDeferred<void>()
    broker.produceFault = () => ({ until: answer.promise })
    const sent = producer.send('t', { value: 'b' })
    const before = describes()
    await until(() => describes() >= before + 2)
    answer.resolve()
    await sent
    expect(broker.produced).toHaveLength(2)
  })
})

describe('a consumer', () => {
  it('follows its leader, says which epoch it believes in, and neither loses nor repeats a record', async () => {
    const producer = tm.producer()
    const iterator = tm.consumer('t', { start: 'earliest' })[Symbol.asyncIterator]()
    const seen: string[] = []
    for (let round = 0; round < 6; round++) {
      await producer.send('t', records(numbers(10, round * 10)))
      for (let n = 0; n < 10; n++) seen.push(await nextOf(iterator))
      broker.moveLeader('t', 0, (round + 1) % 3)
      if (round % 2 === 0) broker.cut()
    }
    await iterator.return?.()
    expect(seen).toEqual(numbers(60))
    expect(new Set(broker.fetched.map(({ leaderEpoch }) => leaderEpoch))).toEqual(new Set([1, 2, 3, 4, 5, 6]))
    const offsets = broker.fetched.map(({ offset }) => offset)
    expect(offsets).toEqual(offsets.toSorted((a, b) => a - b))
  })

  it('leaves a node that hangs for the one that leads now', async () => {
    const iterator = tm.consumer('t', { start: 'earliest', maxWait: '1h' })[Symbol.asyncIterator]()
    await tm.producer().send('t', { value: 'a' })
    expect(await nextOf(iterator)).toBe('a')
    broker.hung.add(0)
    broker.moveLeader('t', 0, 1)
    await tm.producer({}).send('t', { value: 'b' })
    expect(await nextOf(iterator)).toBe('b')
    await iterator.return?.()
  })

  it('does not go back when the log ends before what it has read', async () => {
    await tm.producer().send('t', records(numbers(10)))
    const consumer = tm.consumer('t', { start: 'earliest', onOutOfRange: 'latest' })
    const iterator = consumer[Symbol.asyncIterator]()
    for (const value of numbers(10)) expect(await nextOf(iterator)).toBe(value)
    const log = broker.partition('t')
    log.batches = []
    log.end = 4
    broker.cut()
    expect(await failureOf(iterator.next())).toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' })
  })
})

describe('a client', () => {
  it('gets in through any address that answers, past dead and hanging ones', async () => {
    broker.setDown(0, true)
    broker.hung.add(1)
    await using other = await connect(broker.addresses, { connectTimeout: '3s' })
    expect((await other.admin.describeCluster()).nodes).toHaveLength(3)
  })

  it('knows the other nodes when the one it was given is gone', async () => {
    await using other = await connect([broker.addresses[2] as string])
    broker.setDown(2, true)
    await other.producer().send('t', { value: 'x' })
    expect(await broker.values('t')).toEqual(['x'])
  })

  it('asks the controller that an answer names', async () => {
    const asked: number[] = []
    const [host = '', port = ''] = (broker.addresses[2] as string).split(':')
    broker.refuseCall = (name, node) => {
      if (name === 'initProducer') asked.push(node)
      if (name !== 'initProducer' || node === 2) return undefined
      return new TidemarkError('NOT_CONTROLLER', undefined, { leader: { nodeId: 2, leaderEpoch: 0, host, port: Number(port) } })
    }
    await tm.producer().send('t', { value: 'x' })
    // Which node is asked first is whoever answered first.
    expect([[0, 2], [1, 2], [2]]).toContainEqual(asked)
  })

  it('says in one sentence that nobody is there', async () => {
    const [address = ''] = broker.addresses
    await broker[Symbol.asyncDispose]()
    const error = await failureOf(connect(address, { connectTimeout: '1s' }))
    expect(error.code).toBe('UNAVAILABLE')
    expect(error.message).toBe(`no node answered at ${address}: ECONNREFUSED`)
    const refused = await failureOf(tm.admin.describeCluster({ timeoutMs: 20_000 }))
    // What to do about it stands in the help of the code, once.
    expect(refused.message).toMatch(/^127\.0\.0\.1:\d+ cannot be reached \(ECONNREFUSED\)$/)
  })

  it('says that a name is not known, and not that nothing came', async () => {
    const error = await failureOf(connect('nowhere.invalid:9092', { connectTimeout: '1s' }))
    expect(error.message).toBe('no node answered at nowhere.invalid:9092: its name is not known')
  })
})
