import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { defaultNodeConfig } from '../../broker/config.ts'
import { memoryQuorum, type RunningNode, startNode } from '../../broker/server.ts'
import { connect, type Receipt, type Tidemark, type TopicDescription } from '../../client/index.ts'
import { freePort } from '../../scripts/node-process.ts'
import { nodeRuntime } from '../../runtime/node.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'
import { TcpProxy } from './tcp-proxy.ts'

/** A node in memory that tells its clients to come through a proxy. */
class ProxiedNode {
  readonly #files = new MemoryFiles()
  readonly #metadata = memoryQuorum()
  readonly #limits: Record<string, number>
  readonly proxy: TcpProxy
  #node: RunningNode | undefined

  private constructor(proxy: TcpProxy, limits: Record<string, number>) {
    this.proxy = proxy
    this.#limits = limits
  }

  static async start(limits: Record<string, number> = {}): Promise<ProxiedNode> {
    const one = new ProxiedNode(await TcpProxy.start(await freePort()), limits)
    await one.startNode()
    return one
  }

  async startNode(): Promise<void> {
    const config = defaultNodeConfig({
      dataDir: '/data',
      listen: { host: '127.0.0.1', port: 0 },
      advertise: [{ host: '127.0.0.1', port: this.proxy.port }],
      limits: { diskMinFreeBytes: 0, ...this.#limits },
    })
    this.#node = await startNode(config, { ...nodeRuntime(), files: this.#files }, { quorumStore: this.#metadata })
    this.proxy.targetPort = this.#node.port
  }

  /** Past the proxy. */
  get directAddress(): string {
    return `127.0.0.1:${this.#node?.port}`
  }

  async stopNode(): Promise<void> {
    await this.#node?.close()
  }

  async close(): Promise<void> {
    await this.stopNode()
    await this.proxy.close()
  }
}

let node: ProxiedNode
let tm: Tidemark

async function begin(limits?: Record<string, number>): Promise<void> {
  node = await ProxiedNode.start(limits)
  tm = await connect(node.proxy.address)
  await tm.admin.createTopic('t', { partitions: 3 })
}

afterEach(async () => {
  await tm.close()
  await node.close()
})

/** Every value once, those of a key in the order they were sent, offsets without gaps. */
async function expectExactlyOnce(
  sent: readonly { readonly key: string; readonly value: string }[],
  receipts: readonly Receipt[],
): Promise<void> {
  const read = await Array.fromAsync(tm.consumer('t', { start: 'earliest', end: 'now' }))
  expect(read).toHaveLength(sent.length)
  for (const [key, messages] of Map.groupBy(read, (message) => String(message.key))) {
    expect(messages.map((message) => String(message.value))).toEqual(
      sent.filter((record) => record.key === key).map((record) => record.value),
    )
  }
  const valueAt = new Map(read.map((message) => [`${message.partition}/${message.offset}`, String(message.value)]))
  expect(receipts.map(({ partition, offset }) => valueAt.get(`${partition}/${offset}`))).toEqual(sent.map(({ value }) => value))
}

function records(count: number): { key: string; value: string }[] {
  return Array.from({ length: count }, (_, n) => ({ key: `k${n % 11}`, value: `v${n} ${'x'.repeat(n % 200)}` }))
}

describe('a producer whose connection is cut', () => {
  beforeEach(() => begin())

  it('after every so many bytes still writes each record once and in order', async () => {
    const sent = records(3000)
    const producer = tm.producer({ batchBytes: '4KiB' })
    const receipts: Receipt[] = []
    for (let at = 0; at < sent.length; at += 300) {
      node.proxy.cutAfter(500 + at * 7)
      receipts.push(...(await producer.send('t', sent.slice(at, at + 300))))
    }
    await expectExactlyOnce(sent, receipts)
  })

  it('while answers are on their way still writes each record once', async () => {
    const sent = records(2000)
    const producer = tm.producer({ batchBytes: '2KiB' })
    const sends = producer.send('t', sent)
    for (let round = 0; round < 5; round++) {
      await new Promise((resolve) => setImmediate(resolve))
      node.proxy.cut()
    }
    await expectExactlyOnce(sent, await sends)
  })

  it('and whose node restarts goes on where it was', async () => {
    const sent = records(1500)
    const producer = tm.producer({ batchBytes: '4KiB' })
    const first = await producer.send('t', sent.slice(0, 500))
    const middle = producer.send('t', sent.slice(500, 1000))
    await node.stopNode()
    await node.startNode()
    const receipts = [...first, ...(await middle), ...(await producer.send('t', sent.slice(1000)))]
    await expectExactlyOnce(sent, receipts)
  })
})

describe('E06 a producer that is faster than the node allows', () => {
  it('is told to wait, and loses and doubles nothing', async () => {
    await begin({ produceInflightBytesMax: 16 * 1024, produceInflightBytesPerPartitionMax: 8 * 1024 })
    const sent = records(4000)
    await expectExactlyOnce(sent, await tm.producer({ batchBytes: '4KiB' }).send('t', sent))
  })

  it('waits for room in its own buffer, in the order of its sends', async () => {
    await begin()
    const sent = records(2000)
    const producer = tm.producer({ bufferBytes: '8KiB', batchBytes: '2KiB' })
    const receipts = await Promise.all(sent.map((record) => producer.send('t', record)))
    expect(producer.bufferedBytes).toBe(0)
    await expectExactlyOnce(sent, receipts)
  })
})

describe('a producer whose records are refused', () => {
  it('fails those, with the outcome, and delivers the ones around them', async () => {
    await begin()
    await tm.admin.createTopic('small', { configs: { 'max.message.bytes': '1KiB' } })
    // Compressed, so that only the node can tell that it is too large.
    const producer = tm.producer({ compression: 'gzip' })
    const random = Buffer.from(Array.from({ length: 4000 }, (_, n) => (n * 7919 * (n % 13)) & 255))
    const before = producer.send('small', { value: 'before' })
    const refused = producer.send('small', { value: random }).catch((error: unknown) => error)
    const after = producer.send('small', { value: 'after' })
    await before
    expect(await refused).toMatchObject({ code: 'RECORD_TOO_LARGE', outcome: 'failed' })
    await after
    const read = await Array.fromAsync(tm.consumer('small', { start: 'earliest', end: 'now' }))
    expect(read.map((message) => String(message.value))).toEqual(['before', 'after'])
  })

  it('gives up after the delivery time-out when no node answers, and says that nobody knows', async () => {
    await begin()
    const producer = tm.producer({ deliveryTimeout: '1s' })
    await producer.send('t', { value: 'x' })
    await node.stopNode()
    await expect(producer.send('t', { value: 'y' })).rejects.toMatchObject({ code: 'DELIVERY_TIMED_OUT' })
    await node.startNode()
  })
})

describe('a consumer whose connection is cut', () => {
  it('reads on without a gap and without repeating', async () => {
    await begin()
    const sent = records(3000)
    await tm.producer().send('t', sent)
    const read: string[] = []
    let count = 0
    for await (const message of tm.consumer('t', { start: 'earliest', end: 'now', fetchBytes: '8KiB', prefetchBytes: '32KiB' })) {
      read.push(`${message.partition}/${message.offset}`)
      if (++count % 400 === 0) node.proxy.cut()
    }
    expect(read).toHaveLength(3000)
    expect(new Set(read).size).toBe(3000)
  })
})

describe('waiting', () => {
  beforeEach(() => begin())

  it('ends when the signal says so', async () => {
    const abort = new AbortController()
    const consumer = tm.consumer('t', { start: 'latest', signal: abort.signal })
    const next = consumer[Symbol.asyncIterator]().next()
    await consumer.positions()
    abort.abort()
    await expect(next).rejects.toMatchObject({ code: 'CANCELLED' })
    await expect(tm.producer().send('t', { value: 'x' }, { signal: abort.signal })).rejects.toMatchObject({ code: 'CANCELLED' })
  })

  it('ends when the client closes', async () => {
    const consumer = tm.consumer('t', { start: 'latest' })
    const next = consumer[Symbol.asyncIterator]().next()
    await consumer.positions()
    await tm.close()
    await expect(next).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(tm.producer().send('t', { value: 'x' })).rejects.toMatchObject({ code: 'CLOSED' })
  })
})

describe('reading', () => {
  beforeEach(() => begin())

  it('seeks, pauses and resumes', async () => {
    await tm.producer().send(
      't',
      Array.from({ length: 100 }, (_, n) => ({ value: `${n}`, partition: n % 2 })),
    )
    await using consumer = tm.consumer('t', { start: 'earliest', partitions: [0, 1] })
    await consumer.positions()
    consumer.pause([{ topic: 't', partition: 1 }])
    await consumer.seek({ topic: 't', partition: 0, offset: 45n })
    const iterator = consumer[Symbol.asyncIterator]()
    const next = async (): Promise<string> => String((await iterator.next()).value?.value)
    expect([await next(), await next(), await next(), await next(), await next()]).toEqual(['90', '92', '94', '96', '98'])
    consumer.resume()
    expect(await next()).toBe('1')
    const lag = await consumer.lag()
    expect(lag.find((one) => one.partition === 0)?.lag).toBe(0n)
  })

  it('as a handler ends with its rejection, and as a stream gives the same messages', async () => {
    await tm.producer().send('t', [
      { value: 'a', partition: 0 },
      { value: 'b', partition: 0 },
    ])
    await expect(
      tm.consumer('t', { start: 'earliest', end: 'now' }).run((message) => {
        if (String(message.value) === 'b') throw new Error('no b')
      }),
    ).rejects.toThrow('no b')
    const values = (await Array.fromAsync(tm.consumer('t', { start: 'earliest', end: 'now' }).readable())).map((message) =>
      String(message.value),
    )
    expect(values).toEqual(['a', 'b'])
  })

  it('needs to be told where to start', () => {
    expect(() => tm.consumer('t', {} as { start: 'earliest' })).toThrow(expect.objectContaining({ code: 'USAGE' }))
  })
})

describe('a change of topics whose answer is lost', () => {
  /** Begins `change`, waits until the node has done it, and cuts the connection before the client hears of that. */
  async function withoutAnswer<T>(change: () => Promise<T>, isDone: (topics: readonly TopicDescription[]) => boolean): Promise<T> {
    await using direct = await connect(node.directAddress)
    node.proxy.swallowAnswers()
    const changed = change()
    await expect.poll(async () => isDone(await direct.admin.listTopics())).toBe(true)
    node.proxy.cut()
    return await changed
  }
  const partitionsOf = (topics: readonly TopicDescription[], name: string): number | undefined =>
    topics.find((topic) => topic.name === name)?.partitions.length

  it('is done once, and what the next attempt finds is no failure', async () => {
    await begin()
    const made = await withoutAnswer(
      () => tm.admin.createTopic('again', { partitions: 2, retention: '3h' }),
      (topics) => partitionsOf(topics, 'again') === 2,
    )
    expect(await tm.admin.describeTopic('again')).toMatchObject({ topicId: made.topicId, partitions: [{}, {}] })
    await withoutAnswer(
      () => tm.admin.growTopic('again', 5),
      (topics) => partitionsOf(topics, 'again') === 5,
    )
    await withoutAnswer(
      () => tm.admin.deleteTopic('again'),
      (topics) => partitionsOf(topics, 'again') === undefined,
    )
    expect((await tm.admin.listTopics()).map(({ name }) => name)).toEqual(['t'])
  })

  it('that was the first attempt fails as it should, and so does one that asked for something else', async () => {
    await begin()
    await expect(tm.admin.createTopic('t')).rejects.toMatchObject({ code: 'TOPIC_ALREADY_EXISTS' })
    await expect(tm.admin.growTopic('t', 3)).rejects.toMatchObject({ code: 'INVALID_PARTITIONS' })
    await expect(tm.admin.deleteTopic('u')).rejects.toMatchObject({ code: 'UNKNOWN_TOPIC' })
    for (const asked of [{ partitions: 7 }, { configs: { 'retention.ms': '5000' } }]) {
      const other = withoutAnswer(
        () => tm.admin.createTopic('t', asked),
        () => true,
      )
      await expect(other).rejects.toMatchObject({ code: 'TOPIC_ALREADY_EXISTS' })
    }
  })
})
