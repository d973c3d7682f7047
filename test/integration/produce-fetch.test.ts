import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { json, type Message, type Tidemark, TidemarkError, topic } from '../../client/index.ts'
import { startTidemark, type TestTidemark } from '../../testing/index.ts'

let node: TestTidemark
let tm: Tidemark

beforeEach(async () => {
  node = await startTidemark()
  tm = await node.connect()
})

afterEach(() => node.close())

async function readAll(topicName: string): Promise<Message<Buffer, Buffer>[]> {
  return Array.fromAsync(tm.consumer(topicName, { start: 'earliest', end: 'now' }))
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (caught: unknown) => caught,
  )
  return TidemarkError.is(error) ? error.code : `no tidemark error but ${String(error)}`
}

describe('producing and consuming', () => {
  it('gives back every record once, in the order of its key, with key, value, headers and timestamp', async () => {
    await tm.admin.createTopic('t', { partitions: 3 })
    const sent = Array.from({ length: 500 }, (_, n) => ({
      key: `k${n % 7}`,
      value: `v${n}`,
      headers: { n: String(n) },
      timestamp: 1_700_000_000_000 + n,
    }))
    await tm.producer().send('t', sent)
    const read = await readAll('t')
    expect(read).toHaveLength(500)
    const byKey = Map.groupBy(read, (message) => String(message.key))
    for (const [key, messages] of byKey) {
      expect(new Set(messages.map((message) => message.partition)).size).toBe(1)
      const values = sent.filter((record) => record.key === key).map((record) => record.value)
      expect(messages.map((message) => String(message.value))).toEqual(values)
    }
    const first = read.find((message) => String(message.value) === 'v0')
    expect(first?.timestamp).toBe(1_700_000_000_000)
    expect(String(first?.headers.get('n'))).toBe('0')
  })

  it('keeps offsets without gaps, from 0', async () => {
    await tm.admin.createTopic('t', { partitions: 1 })
    for (let n = 0; n < 20; n++) await tm.producer().send('t', { value: `${n}` })
    expect((await readAll('t')).map((message) => message.offset)).toEqual(Array.from({ length: 20 }, (_, n) => BigInt(n)))
  })

  it.each(['gzip', 'zstd', 'snappy', 'lz4'] as const)('carries batches compressed with %s', async (compression) => {
    await tm.admin.createTopic('t', { partitions: 1 })
    const value = 'the same words again and again '.repeat(50)
    await tm.producer({ compression }).send(
      't',
      Array.from({ length: 100 }, () => ({ value })),
    )
    const [offsets] = await tm.admin.offsets('t')
    expect(offsets?.sizeBytes).toBeLessThan(value.length * 100 * 0.5)
    const read = await readAll('t')
    expect(read.map((message) => String(message.value))).toEqual(Array.from({ length: 100 }, () => value))
  })

  it('types keys and values by the topic', async () => {
    const Orders = topic<string, { id: number }>('orders', { key: 'string', value: json<{ id: number }>() })
    await tm.admin.createTopic(Orders, { partitions: 2 })
    await tm.producer().send(Orders, { key: 'a', value: { id: 7 } })
    const [message] = await Array.fromAsync(tm.consumer(Orders, { start: 'earliest', end: 'now' }))
    expect(message?.value?.id).toBe(7)
  })

  it('wakes a parked consumer when a record comes', async () => {
    await tm.admin.createTopic('t', { partitions: 1 })
    await using consumer = tm.consumer('t', { start: 'latest', maxWait: '5m' })
    const iterator = consumer[Symbol.asyncIterator]()
    const next = iterator.next()
    await consumer.positions()
    await tm.producer().send('t', { value: 'ping' })
    const { value } = await next
    expect(String(value?.value)).toBe('ping')
  })

  it('starts at a time, at the last n, at an offset', async () => {
    await tm.admin.createTopic('t', { partitions: 1 })
    await tm.producer().send(
      't',
      Array.from({ length: 10 }, (_, n) => ({ value: `${n}`, timestamp: 1000 + n * 10 })),
    )
    const values = async (start: Parameters<typeof tm.consumer>[1]['start']): Promise<string[]> =>
      (await Array.fromAsync(tm.consumer('t', { start, end: 'now' }))).map((message) => String(message.value))
    expect(await values({ at: 1055 })).toEqual(['6', '7', '8', '9'])
    expect(await values({ last: 2 })).toEqual(['8', '9'])
    expect(await values({ offset: () => 7n })).toEqual(['7', '8', '9'])
    expect(await values('latest')).toEqual([])
  })

  it('stamps append times when the topic asks for it', async () => {
    await tm.admin.createTopic('t', { partitions: 1, configs: { 'message.timestamp.type': 'append' } })
    await tm.producer().send('t', { value: 'x', timestamp: 5 })
    const [message] = await readAll('t')
    expect(message?.timestamp).toBeGreaterThan(1_600_000_000_000)
  })
})

describe('what survives', () => {
  it('keeps topics, records and the producer window across a restart', async () => {
    await tm.admin.createTopic('t', { partitions: 2, retention: '1h' })
    await tm.producer().send('t', [
      { key: 'a', value: '1' },
      { key: 'b', value: '2' },
    ])
    await tm.close()
    await node.restart()
    tm = await node.connect()
    expect((await readAll('t')).map((message) => String(message.value)).sort()).toEqual(['1', '2'])
    expect((await tm.admin.describeTopic('t')).configs).toEqual({ 'retention.ms': '1h' })
  })
})

describe('topics', () => {
  it('are created, listed, grown, changed and deleted', async () => {
    await tm.admin.createTopic('a.b', { partitions: 2, durability: 'replicated' })
    await tm.admin.growTopic('a.b', 5)
    await tm.admin.alterConfigs('a.b', { set: { 'retention.ms': '2d' }, reset: ['durability'] })
    const [described] = await tm.admin.listTopics()
    expect(described).toMatchObject({ name: 'a.b', configs: { 'retention.ms': '2d' } })
    expect(described?.partitions).toHaveLength(5)
    await tm.producer().send('a.b', { value: 'x', partition: 4 })
    await tm.admin.deleteTopic('a.b')
    expect(await tm.admin.listTopics()).toEqual([])
    expect(await codeOf(tm.admin.offsets('a.b'))).toBe('UNKNOWN_TOPIC')
  })

  it('that are created again under their name are empty', async () => {
    await tm.admin.createTopic('t', { partitions: 1 })
    await tm.producer().send('t', { value: 'old' })
    await tm.admin.deleteTopic('t')
    await tm.admin.createTopic('t', { partitions: 1 })
    await tm.producer().send('t', { value: 'new' })
    expect((await readAll('t')).map((message) => String(message.value))).toEqual(['new'])
  })

  it('lose the records that are deleted', async () => {
    await tm.admin.createTopic('t', { partitions: 1 })
    await tm.producer().send(
      't',
      Array.from({ length: 10 }, (_, n) => ({ value: `${n}` })),
    )
    expect(await tm.admin.deleteRecords('t', 0, 4n)).toBe(4n)
    expect((await readAll('t'))[0]?.offset).toBe(4n)
    expect(await codeOf(Array.fromAsync(tm.consumer('t', { start: { offset: () => 1n }, end: 'now' })))).toBe('OFFSET_OUT_OF_RANGE')
  })

  it.each([
    ['../x', {}, 'INVALID_TOPIC_NAME'],
    ['', {}, 'INVALID_TOPIC_NAME'],
    ['x'.repeat(250), {}, 'INVALID_TOPIC_NAME'],
    ['t', { partitions: 10_001 }, 'INVALID_PARTITIONS'],
    ['t', { replicas: 2 }, 'INVALID_REPLICATION_FACTOR'],
    ['t', { configs: { 'retention.msx': '1' } }, 'INVALID_CONFIG'],
    ['t', { configs: { durability: 'maybe' } }, 'INVALID_CONFIG'],
  ])('refuse %j with %j', async (name, options, code) => {
    expect(await codeOf(tm.admin.createTopic(name, options))).toBe(code)
    expect(await tm.admin.listTopics()).toEqual([])
  })

  it('refuse a second of the same name, or of one that differs only in dots', async () => {
    await tm.admin.createTopic('a.b')
    expect(await codeOf(tm.admin.createTopic('a.b'))).toBe('TOPIC_ALREADY_EXISTS')
    expect(await codeOf(tm.admin.createTopic('a_b'))).toBe('INVALID_TOPIC_NAME')
  })
})

describe('requests that make no sense', () => {
  it('say which topic or partition is unknown', async () => {
    expect(await codeOf(tm.producer().send('nope', { value: 'x' }))).toBe('UNKNOWN_TOPIC')
    await tm.admin.createTopic('t')
    expect(await codeOf(tm.producer().send('t', { value: 'x', partition: 3 }))).toBe('UNKNOWN_PARTITION')
    expect(await codeOf(Array.fromAsync(tm.consumer('t', { start: 'earliest', end: 'now', partitions: [9] })))).toBe('UNKNOWN_PARTITION')
  })

  it('refuse a record that is too large and accept the next one', async () => {
    await tm.admin.createTopic('t', { configs: { 'max.message.bytes': '2KiB' } })
    expect(await codeOf(tm.producer().send('t', { value: Buffer.alloc(3000) }))).toBe('RECORD_TOO_LARGE')
    await tm.producer().send('t', { value: 'small' })
    expect(await readAll('t')).toHaveLength(1)
  })
})
