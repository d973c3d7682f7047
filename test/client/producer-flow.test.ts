import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Tidemark, topic } from '../../client/index.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { createDeferred } from '../../runtime/deferred.ts'
import { FakeBroker } from './fake-broker.ts'
import { clientOf, codeOf, failureOf, numbers, until } from './support.ts'

let broker: FakeBroker
let tm: Tidemark

beforeEach(async () => {
  broker = await FakeBroker.start()
  broker.createTopic('t')
  tm = clientOf(broker, { speed: 20 })
})

afterEach(async () => {
  await tm.close()
  await broker[Symbol.asyncDispose]()
})

/** Lets no answer out until it is resolved. */
function holdAnswers(): { release(): void } {
  const held = createDeferred<void>()
  broker.produceFault = () => ({ until: held.promise })
  return {
    release() {
      broker.produceFault = undefined
      held.resolve()
    },
  }
}

describe('enqueue', () => {
  it('takes records without waiting, and ready waits for what is missing: the topic, then room', async () => {
    const producer = tm.producer({ bufferBytes: 1000 })
    expect(producer.enqueue('t', { value: 'too early' })).toBe(false)
    await producer.ready()
    const answers = holdAnswers()
    const taken = numbers(100).filter((value) => producer.enqueue('t', { value }))
    expect(taken.length).toBeGreaterThan(5)
    expect(taken.length).toBeLessThan(40)
    let isReady = false
    const ready = producer.ready().then(() => (isReady = true))
    await until(() => broker.produced.length > 0)
    expect(isReady).toBe(false)
    answers.release()
    await ready
    expect(producer.enqueue('t', { value: 'next' })).toBe(true)
    await producer.flush()
    expect(await broker.values('t')).toEqual([...taken, 'next'])
  })

  it('goes on while the leader is being looked for', async () => {
    const producer = tm.producer()
    await producer.send('t', { value: 'a' })
    let isRefused = false
    broker.refuse = () => {
      if (isRefused) return undefined
      isRefused = true
      return new TidemarkError('LEADER_NOT_AVAILABLE')
    }
    const sent = producer.send('t', { value: 'b' })
    await until(() => isRefused)
    await new Promise((resolve) => setImmediate(resolve))
    expect(producer.enqueue('t', { value: 'c' })).toBe(true)
    await sent
    await producer.flush()
    expect(await broker.values('t')).toEqual(['a', 'b', 'c'])
  })

  it('of an unknown topic makes ready fail instead of going round for ever', async () => {
    const producer = tm.producer()
    expect(producer.enqueue('nowhere', { value: 'x' })).toBe(false)
    expect(await codeOf(producer.ready())).toBe('UNKNOWN_TOPIC')
  })

  it('tells onFailure and the next flush what was lost, once', async () => {
    const lost: unknown[] = []
    const producer = tm.producer({ onFailure: (error, what) => lost.push([error.code, what]) })
    await producer.ready({ topic: 't' })
    broker.refuse = () => new TidemarkError('INVALID_RECORD')
    producer.enqueue('t', { value: 'x' })
    producer.enqueue('t', { value: 'y' })
    expect(await codeOf(producer.flush())).toBe('INVALID_RECORD')
    expect(lost).toEqual([['INVALID_RECORD', { topic: 't', partition: 0, recordCount: 2 }]])
    await producer.flush()
  })

  it('refuses codecs that take their time', async () => {
    const Slow = topic('t', { value: { encode: async (value: string) => Buffer.from(value), decode: (bytes: Buffer) => bytes.toString() } })
    const producer = tm.producer()
    await producer.ready({ topic: Slow })
    expect(() => producer.enqueue(Slow, { value: 'x' })).toThrow(/synchronously/)
  })
})

describe('a full buffer', () => {
  it('makes send wait, in order, and is never passed', async () => {
    const producer = tm.producer({ bufferBytes: 500, batchBytes: 150 })
    let mostBytes = 0
    broker.produceFault = () => {
      mostBytes = Math.max(mostBytes, producer.bufferedBytes)
      return undefined
    }
    await Promise.all(numbers(100).map((value) => producer.send('t', { value })))
    expect(mostBytes).toBeLessThanOrEqual(500)
    expect(await broker.values('t')).toEqual(numbers(100))
  })

  it('fails sends after maxBlock, and lets those behind in that fit', async () => {
    const producer = tm.producer({ bufferBytes: 400, maxBlock: '1s' })
    await producer.send('t', { value: 'warm' })
    const answers = holdAnswers()
    const first = producer.send('t', { value: 'x'.repeat(300) })
    expect(await failureOf(producer.send('t', { value: 'y'.repeat(300) }))).toMatchObject({ code: 'BUFFER_FULL', outcome: 'failed' })
    const third = producer.send('t', { value: 'small' })
    answers.release()
    await Promise.all([first, third])
    expect(await broker.values('t')).toEqual(['warm', 'x'.repeat(300), 'small'])
  })

  it('takes one record larger than itself when it is empty', async () => {
    expect(await tm.producer({ bufferBytes: 100 }).send('t', { value: 'x'.repeat(1000) })).toMatchObject({ offset: 0n })
  })
})

describe('order', () => {
  it('is that of the calls, whatever each waits for: the topic, a codec, room', async () => {
    const delays = new Map([
      ['0', 3],
      ['1', 0],
      ['2', 1],
    ])
    const Slow = topic('t', {
      value: {
        encode: async (value: string) => {
          for (let turn = 0; turn < (delays.get(value) ?? 0); turn++) await new Promise((resolve) => setImmediate(resolve))
          return Buffer.from(value)
        },
        decode: (bytes: Buffer) => bytes.toString(),
      },
    })
    const producer = tm.producer({ bufferBytes: 120 })
    await Promise.all(
      numbers(20).map((value) => (Number(value) % 3 === 2 ? producer.send('t', { value }) : producer.send(Slow, { value }))),
    )
    expect(await broker.values('t')).toEqual(numbers(20))
  })
})

describe('signals', () => {
  it('end the wait for the topic, for room and for the acknowledgement, and say what may have been written', async () => {
    const producer = tm.producer({ bufferBytes: 200 })
    const abort = new AbortController()
    broker.refuseCall = (name) => (name === 'describeTopics' ? new TidemarkError('BUSY') : undefined)
    const early = producer.send('t', { value: 'a' }, { signal: abort.signal })
    abort.abort()
    expect(await failureOf(early)).toMatchObject({ code: 'CANCELLED', outcome: 'failed' })
    broker.refuseCall = undefined
    await producer.send('t', { value: 'b' })

    const answers = holdAnswers()
    const [sending, waiting, flushing, getting] = [
      new AbortController(),
      new AbortController(),
      new AbortController(),
      new AbortController(),
    ]
    const sent = failureOf(producer.send('t', { value: 'c'.repeat(120) }, { signal: sending.signal }))
    const blocked = failureOf(producer.send('t', { value: 'd'.repeat(120) }, { signal: waiting.signal }))
    await until(() => broker.produced.length === 2)
    sending.abort()
    expect(await sent).toMatchObject({ code: 'CANCELLED', outcome: 'indeterminate' })
    waiting.abort()
    expect(await blocked).toMatchObject({ code: 'CANCELLED', outcome: 'failed' })
    const flushed = codeOf(producer.flush({ signal: flushing.signal }))
    flushing.abort()
    expect(await flushed).toBe('CANCELLED')
    expect(producer.enqueue('t', { value: 'e'.repeat(120) })).toBe(false)
    const ready = codeOf(producer.ready({ signal: getting.signal }))
    getting.abort()
    expect(await ready).toBe('CANCELLED')
    answers.release()
    await producer.flush()
    expect(await broker.values('t')).toEqual(['b', 'c'.repeat(120)])
    expect(await codeOf(producer.send('t', { value: 'x' }, { signal: abort.signal }))).toBe('CANCELLED')
  })
})

describe('batches in flight', () => {
  it.each([
    ['as many as the node remembers while they are small', 100, 16],
    ['five when these alone are large', 600_000, 5],
  ])('%s', async (_, valueBytes, expected) => {
    broker.createTopic('large', 1, { maxMessageBytes: 1_000_000 })
    const producer = tm.producer({ batchBytes: valueBytes })
    await producer.send('large', { value: 'known' })
    const answers = holdAnswers()
    const sends = numbers(20).map(() => producer.send('large', { value: 'x'.repeat(valueBytes) }))
    await until(() => broker.produced.length === 1 + expected)
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
    expect(broker.produced).toHaveLength(1 + expected)
    answers.release()
    await Promise.all(sends)
    expect(broker.produced).toHaveLength(21)
  })
})

describe('requests', () => {
  it('hold batches of many partitions, and no more bytes than a node takes at once', async () => {
    broker.createTopic('wide', 12, { maxMessageBytes: 2_000_000 })
    const producer = tm.producer({ bufferBytes: '32MiB' })
    const requests: number[] = []
    broker.produceFault = (attempts) => {
      requests.push(attempts.reduce((sum, { bytes }) => sum + bytes, 0))
      return undefined
    }
    await producer.send(
      'wide',
      numbers(12).map((value, partition) => ({ value, partition })),
    )
    expect(requests).toHaveLength(1)
    const value = Buffer.alloc(1_000_000)
    await producer.send(
      'wide',
      numbers(12).map((_, partition) => ({ value, partition })),
    )
    expect(requests.slice(1).map((bytes) => Math.round(bytes / value.length))).toEqual([4, 4, 4])
  })
})

describe('a buffer that the application uses again at once', () => {
  it.each([
    ['by the name of the topic', 't'],
    ['of a typed topic', topic('t', { key: 'bytes', value: 'bytes' })],
  ])('has been taken as it was, also by a send that has to wait for room, %s', async (_, where) => {
    const producer = tm.producer({ bufferBytes: 300 })
    await producer.send(where, { value: Buffer.from('first') })
    const answers = holdAnswers()
    const bytes = Buffer.alloc(100)
    const sends = numbers(9).map((digit) => {
      bytes.fill(digit)
      return producer.send(where, { key: bytes, value: bytes, headers: { copy: bytes } })
    })
    bytes.fill('x')
    answers.release()
    await Promise.all(sends)
    expect(await broker.values('t')).toEqual(['first', ...numbers(9).map((digit) => digit.repeat(100))])
  })
})

describe('flush', () => {
  it('waits for a batch that was put back behind ones still in flight', async () => {
    const producer = tm.producer({ linger: '1h' })
    await producer.ready({ topic: 't' })
    producer.enqueue('t', { value: 'known' })
    await producer.flush()
    const [early, late] = [createDeferred<void>(), createDeferred<void>()]
    broker.produceFault = ([attempt]) => ({ until: attempt?.baseSequence === 1 ? early.promise : late.promise })
    broker.refuse = ({ baseSequence }) => (baseSequence === 1 ? new TidemarkError('BUSY') : undefined)
    producer.enqueue('t', { value: 'refused' })
    let isFlushed = false
    const flushed = producer.flush().then(() => (isFlushed = true))
    await until(() => broker.produced.length === 2)
    producer.enqueue('t', { value: 'behind' })
    const second = producer.flush()
    await until(() => broker.produced.length === 3)
    early.resolve()
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
    expect(isFlushed).toBe(false)
    broker.refuse = undefined
    broker.produceFault = undefined
    late.resolve()
    await Promise.all([flushed, second])
    expect(await broker.values('t')).toEqual(['known', 'refused', 'behind'])
  })

  it('waits for what was sent before it, not for what comes after', async () => {
    const producer = tm.producer({ linger: '1h' })
    await producer.ready({ topic: 't' })
    producer.enqueue('t', { value: 'before' })
    const flushed = producer.flush()
    await until(() => broker.produced.length === 1)
    producer.enqueue('t', { value: 'after' })
    await flushed
    expect(await broker.values('t')).toEqual(['before'])
  })
})

describe('close', () => {
  it('waits for a send that is still looking up its topic', async () => {
    let isAsked = false
    broker.refuseCall = (name) => {
      if (name !== 'describeTopics') return undefined
      isAsked = true
      return new TidemarkError('BUSY')
    }
    const producer = tm.producer()
    const sent = producer.send('t', { value: 'x' })
    await until(() => isAsked)
    const closed = producer.close()
    broker.refuseCall = undefined
    await closed
    expect((await sent).offset).toBe(0n)
    expect(await broker.values('t')).toEqual(['x'])
  })

  it('sends away, after ten seconds, who still looks up a topic', async () => {
    broker.refuseCall = (name) => (name === 'describeTopics' ? new TidemarkError('BUSY') : undefined)
    const producer = tm.producer()
    const sent = failureOf(producer.send('t', { value: 'x' }))
    await producer.close()
    expect(await sent).toMatchObject({ code: 'CLOSED', outcome: 'failed' })
    broker.refuseCall = undefined
    await tm.producer({}).send('t', { value: 'y' })
    expect(await broker.values('t')).toEqual(['y'])
  })

  it('delivers what send and enqueue were given, also what was not in a batch yet', async () => {
    const producer = tm.producer({ linger: '1h' })
    const sent = producer.send(
      't',
      numbers(10).map((value) => ({ value })),
    )
    await producer.close()
    expect(await sent).toHaveLength(10)
    expect(await broker.values('t')).toEqual(numbers(10))
    expect(await failureOf(producer.send('t', { value: 'x' }))).toMatchObject({ code: 'CLOSED', outcome: 'failed' })
    expect(() => producer.enqueue('t', { value: 'x' })).toThrow(/closed/)
  })

  it('gives up after ten seconds, and says of every record what is known', async () => {
    const producer = tm.producer({ bufferBytes: 300 })
    await producer.send('t', { value: 'warm' })
    broker.produceFault = () => ({ hang: 'after' })
    const sent = failureOf(producer.send('t', { value: 'x'.repeat(200) }))
    const blocked = failureOf(producer.send('t', { value: 'y'.repeat(200) }))
    await until(() => broker.produced.length === 2)
    await producer.close()
    expect(await sent).toMatchObject({ code: 'CLOSED', outcome: 'indeterminate' })
    expect(await blocked).toMatchObject({ code: 'CLOSED', outcome: 'failed' })
  })

  it('of the client closes its producers', async () => {
    const sent = tm.producer().send('t', { value: 'x' })
    await tm.close()
    expect((await sent).offset).toBe(0n)
    expect(await codeOf(tm.admin.describeCluster())).toBe('CLOSED')
  })
})
