import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Tidemark } from '../../client/index.ts'
import { BATCH_HEADER_BYTES } from '../../protocol/batch-header.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { createDeferred } from '../../runtime/deferred.ts'
import { FakeBroker } from './fake-broker.ts'
import { clientOf, codeOf, failureOf, numbers, until } from './support.ts'

let broker: FakeBroker
let tm: Tidemark

beforeEach(async () => {
  broker = await FakeBroker.start(2)
  broker.createTopic('t')
  tm = clientOf(broker, { speed: 20 })
})

afterEach(async () => {
  await tm.close()
  await broker[Symbol.asyncDispose]()
})

const records = (values: readonly string[]): { value: string }[] => values.map((value) => ({ value }))
const initCalls = (): number => broker.calls.filter((name) => name === 'initProducer').length

/** Refuses the batch that holds this record of the partition, once. */
function refuseOnce(sequence: number, error: TidemarkError): void {
  broker.refuse = ({ baseSequence, recordCount }) => {
    if (sequence < baseSequence || sequence >= baseSequence + recordCount) return undefined
    broker.refuse = undefined
    return error
  }
}

describe('a batch that is refused', () => {
  it('for good fails alone; the ones behind it take its sequences and keep the producer id', async () => {
    const producer = tm.producer({ batchBytes: 120 })
    await producer.send('t', { value: 'first' })
    refuseOnce(1, new TidemarkError('RECORD_TOO_LARGE'))
    const sends = numbers(30).map((value) => producer.send('t', { value }))
    const told = await Promise.allSettled(sends)
    const failed = numbers(30).filter((_, index) => told[index]?.status === 'rejected')
    expect(failed.length).toBeGreaterThan(0)
    expect(failed).toEqual(numbers(failed.length))
    expect(await failureOf(sends[0] as Promise<unknown>)).toMatchObject({ code: 'RECORD_TOO_LARGE', outcome: 'failed' })
    expect(await broker.values('t')).toEqual(['first', ...numbers(30).slice(failed.length)])
    expect(initCalls()).toBe(1)
  })

  it('for now is sent again with its sequence, after everything in flight was answered', async () => {
    const producer = tm.producer({ batchBytes: 120, maxInFlight: 5 })
    await producer.send('t', { value: 'first' })
    const answered = createDeferred<void>()
    refuseOnce(1, new TidemarkError('BUSY'))
    broker.produceFault = (attempts) => (attempts[0]?.baseSequence === 1 ? undefined : { until: answered.promise })
    const sent = producer.send('t', records(numbers(40)))
    await until(() => broker.produced.length >= 6)
    const beforeAnswers = broker.produced.length
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(broker.produced).toHaveLength(beforeAnswers)
    broker.produceFault = undefined
    answered.resolve()
    await sent
    expect(await broker.values('t')).toEqual(['first', ...numbers(40)])
    expect(initCalls()).toBe(1)
  })

  it('waits as long as the node asks', async () => {
    refuseOnce(0, new TidemarkError('BUSY', undefined, { retryAfterMs: 2000 }))
    const startedMs = performance.now()
    await tm.producer().send('t', { value: 'x' })
    // Time runs 20 times as fast here.
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(2000 / 20 - 5)
  })

  it('by a node that led the partition goes to the one the answer names, without asking for metadata', async () => {
    await tm.producer().send('t', { value: 'a' })
    const asked = broker.calls.length
    broker.moveLeader('t', 0, 1)
    await tm.producer().send('t', { value: 'b' })
    expect(await broker.values('t')).toEqual(['a', 'b'])
    expect(broker.produced.map(({ node }) => node)).toEqual([0, 0, 1])
    expect(broker.calls.slice(asked)).toEqual([])
  })

  it.each(['OUT_OF_ORDER_SEQUENCE', 'INVALID_PRODUCER_EPOCH'] as const)(
    'K38 with %s, because the node lost what it had acknowledged, is told, and not tried again under another id as if nothing had been lost',
    async (code) => {
      const producer = tm.producer()
      await producer.send('t', records(numbers(3)))
      refuseOnce(3, new TidemarkError(code))
      expect(await failureOf(producer.send('t', { value: 'x' }))).toMatchObject({ code, outcome: 'failed' })
      expect(await broker.values('t')).toEqual(numbers(3))
      await producer.send('t', { value: '3' })
      expect(await broker.values('t')).toEqual(numbers(4))
      expect(new Set(broker.produced.map(({ producerId }) => producerId)).size).toBe(2)
    },
  )

  it('K38 with OUT_OF_ORDER_SEQUENCE after an answer was lost is indeterminate: it may be there', async () => {
    const producer = tm.producer()
    await producer.send('t', records(numbers(3)))
    broker.produceFault = () => {
      broker.produceFault = undefined
      return { lie: new TidemarkError('NOT_LEADER') }
    }
    let attempt = 0
    broker.refuse = () => (++attempt > 1 ? new TidemarkError('OUT_OF_ORDER_SEQUENCE') : undefined)
    expect(await failureOf(producer.send('t', { value: '3' }))).toMatchObject({ code: 'OUT_OF_ORDER_SEQUENCE', outcome: 'indeterminate' })
    expect(await broker.values('t')).toEqual(numbers(4))
  })

  it('without saying whether it was written is indeterminate, and its sequences are never used again', async () => {
    const producer = tm.producer()
    await producer.send('t', { value: 'a' })
    broker.produceFault = () => ({ lie: new TidemarkError('INTERNAL', 'after writing') })
    expect(await failureOf(producer.send('t', { value: 'b' }))).toMatchObject({ code: 'INTERNAL', outcome: 'indeterminate' })
    broker.produceFault = undefined
    await producer.send('t', { value: 'c' })
    expect(await broker.values('t')).toEqual(['a', 'b', 'c'])
    const [, lost, next] = broker.produced
    expect(next?.producerId).not.toBe(lost?.producerId)
    expect(next?.baseSequence).toBe(0)
  })

  it.each(['NOT_LEADER', 'LEADER_NOT_AVAILABLE', 'UNKNOWN_TOPIC_ID', 'NOT_ENOUGH_REPLICAS_AFTER_APPEND'] as const)(
    'with %s may be written all the same',
    async (code) => {
      broker.produceFault = () => ({ lie: new TidemarkError(code) })
      const error = await failureOf(tm.producer({ deliveryTimeout: '10s' }).send('t', { value: 'x' }))
      expect(error).toMatchObject({ code: 'DELIVERY_TIMED_OUT', outcome: 'indeterminate' })
      expect(await broker.values('t')).toEqual(['x'])
    },
  )

  it('among several of one send fails the whole: indeterminate when another record of it is written, failed when none is', async () => {
    broker.createTopic('two', 2)
    const producer = tm.producer()
    broker.refuse = ({ partition }) => (partition === 1 ? new TidemarkError('INVALID_RECORD') : undefined)
    const both = [0, 1].map((partition) => ({ value: 'x', partition }))
    expect(await failureOf(producer.send('two', both))).toMatchObject({ code: 'INVALID_RECORD', outcome: 'indeterminate' })
    expect(await broker.values('two', 0)).toEqual(['x'])
    broker.refuse = () => new TidemarkError('INVALID_RECORD')
    expect(await failureOf(producer.send('two', both))).toMatchObject({ code: 'INVALID_RECORD', outcome: 'failed' })
    expect(await broker.values('two', 0)).toEqual(['x'])
  })

  it('keeps the order even when it is the first of its producer id', async () => {
    refuseOnce(0, new TidemarkError('BUSY'))
    await tm.producer({ batchBytes: 120 }).send('t', records(numbers(40)))
    expect(await broker.values('t')).toEqual(numbers(40))
  })
})

describe('a record that is not acknowledged in time', () => {
  it('is indeterminate when a request may have carried it, also while no answer comes at all', async () => {
    broker.produceFault = () => ({ hang: 'after' })
    const error = await failureOf(tm.producer({ deliveryTimeout: '10s' }).send('t', { value: 'x' }))
    expect(error).toMatchObject({ code: 'DELIVERY_TIMED_OUT', outcome: 'indeterminate' })
    expect(await broker.values('t')).toEqual(['x'])
  })

  it('ends at its deadline, not when the request that carries it does', async () => {
    broker.produceFault = () => ({ hang: 'after' })
    const producer = tm.producer({ deliveryTimeout: '10s', requestTimeout: '60s' })
    const startedMs = performance.now()
    expect(await failureOf(producer.send('t', { value: 'x' }))).toMatchObject({ code: 'DELIVERY_TIMED_OUT', outcome: 'indeterminate' })
    const tookMs = (performance.now() - startedMs) * 20
    expect(tookMs).toBeGreaterThanOrEqual(10_000)
    expect(tookMs).toBeLessThan(50_000)
  })

  it('ends at its deadline also when it waits, with a sequence, behind one that hangs', async () => {
    const producer = tm.producer({ deliveryTimeout: '10s', requestTimeout: '60s', batchBytes: 100 })
    await producer.send('t', { value: 'known' })
    broker.produceFault = ([attempt]) => (attempt?.baseSequence === 1 ? { hang: 'before' } : undefined)
    const startedMs = performance.now()
    const hanging = failureOf(producer.send('t', { value: 'a'.repeat(60) }))
    const refused = failureOf(producer.send('t', { value: 'b'.repeat(60) }))
    const unsent = failureOf(producer.send('t', { value: 'c'.repeat(60) }))
    // The second is out of order for the node, which never saw the first.
    expect(await Promise.all([hanging, refused, unsent])).toMatchObject([
      { code: 'DELIVERY_TIMED_OUT', outcome: 'indeterminate' },
      { code: 'DELIVERY_TIMED_OUT', outcome: 'failed' },
      { code: 'DELIVERY_TIMED_OUT', outcome: 'failed' },
    ])
    expect((performance.now() - startedMs) * 20).toBeLessThan(50_000)
    expect(await broker.values('t')).toEqual(['known'])
  })

  it('has failed when it was never sent', async () => {
    broker.produceFault = () => ({ hang: 'after' })
    const producer = tm.producer({ deliveryTimeout: '10s', batchBytes: 100 })
    const sends = numbers(5).map((value) => producer.send('t', { value: value.repeat(50) }))
    const outcomes = await Promise.all(sends.map(async (sent) => (await failureOf(sent)).outcome))
    expect(outcomes).toEqual(['indeterminate', 'failed', 'failed', 'failed', 'failed'])
  })

  it('has failed when the node kept saying that it did not take it, and the error tells why', async () => {
    // So long that it is asked twice, and at the deadline nothing is under way.
    broker.refuse = () => new TidemarkError('NOT_ENOUGH_REPLICAS', 'only one replica is there', { retryAfterMs: 5500 })
    const error = await failureOf(tm.producer({ deliveryTimeout: '10s' }).send('t', { value: 'x' }))
    expect(error).toMatchObject({ code: 'DELIVERY_TIMED_OUT', outcome: 'failed' })
    expect(error.message).toContain('only one replica is there')
  })

  it('leaves the partition usable, under another producer id', async () => {
    broker.produceFault = () => ({ hang: 'after' })
    const producer = tm.producer({ deliveryTimeout: '10s', requestTimeout: '20s' })
    expect(await failureOf(producer.send('t', { value: 'a' }))).toMatchObject({ outcome: 'indeterminate' })
    broker.produceFault = undefined
    await tm.producer({ deliveryTimeout: '2m' }).send('t', { value: 'other' })
    // The request that hangs holds the partition until its own time is over.
    let value = ''
    for (let n = 0, isSent = false; !isSent; n++) {
      value = `b${n}`
      isSent = await producer.send('t', { value }).then(
        () => true,
        () => false,
      )
    }
    const values = await broker.values('t')
    expect(values.slice(0, 2)).toEqual(['a', 'other'])
    expect(values.filter((one) => one === value)).toHaveLength(1)
    const ids = new Set(broker.produced.map(({ producerId }) => producerId))
    expect(broker.produced.at(-1)?.baseSequence).toBe(0)
    expect(ids.size).toBeGreaterThanOrEqual(3)
  })
})

describe('batches', () => {
  it('form while requests are under way; a lone record waits for nobody', async () => {
    const producer = tm.producer()
    await producer.send('t', { value: 'alone' })
    expect(broker.produced).toHaveLength(1)
    const late = createDeferred<void>()
    broker.produceFault = () => ({ until: late.promise })
    const first = producer.send('t', { value: 'under way' })
    await until(() => broker.produced.length === 2)
    const rest = numbers(50).map((value) => producer.send('t', { value }))
    broker.produceFault = undefined
    late.resolve()
    await Promise.all([first, ...rest])
    expect(broker.produced.map(({ recordCount }) => recordCount)).toEqual([1, 1, 50])
  })

  it('linger when asked to', async () => {
    const producer = tm.producer({ linger: '1s' })
    const sends: Promise<unknown>[] = []
    for (const value of numbers(5)) {
      sends.push(producer.send('t', { value }))
      await new Promise((resolve) => setImmediate(resolve))
    }
    await Promise.all(sends)
    expect(broker.produced.map(({ recordCount }) => recordCount)).toEqual([5])
  })

  it('never pass the limit of the topic, also when they do not compress', async () => {
    broker.createTopic('small', 1, { maxMessageBytes: 2000 })
    const noise = Array.from({ length: 40 }, (_, n) =>
      Buffer.from(Array.from({ length: 400 }, (_byte, i) => ((n + 1) * (i + 7) * 2654435761) >>> 24)),
    )
    await tm.producer({ compression: 'gzip', batchBytes: '1MiB' }).send(
      'small',
      noise.map((value) => ({ value })),
    )
    expect(Math.max(...broker.produced.map(({ bytes }) => bytes))).toBeLessThanOrEqual(2000)
    expect(await broker.records('small')).toHaveLength(40)
  })

  it('without a key fill one partition after the other', async () => {
    broker.createTopic('wide', 4)
    await tm.producer({ batchBytes: 200 }).send('wide', records(numbers(200)))
    const filled = broker.produced.filter(({ topic }) => topic === 'wide')
    expect(new Set(filled.map(({ partition }) => partition)).size).toBe(4)
    expect(filled.length).toBeLessThan(60)
    expect((await Promise.all([0, 1, 2, 3].map((one) => broker.values('wide', one)))).flat()).toHaveLength(200)
  })

  it('of many partitions of a node share a request', async () => {
    broker.createTopic('wide', 4)
    const producer = tm.producer()
    await producer.send(
      'wide',
      [0, 1, 2, 3].map((partition) => ({ value: 'x', partition })),
    )
    let requests = 0
    broker.produceFault = () => {
      requests++
      return undefined
    }
    await producer.send(
      'wide',
      [0, 1, 2, 3].map((partition) => ({ value: 'y', partition })),
    )
    expect(requests).toBe(2)
  })
})

describe('what cannot be sent', () => {
  it('is refused before it takes room: too large a record, an unknown partition, a bad time, topic or option', async () => {
    broker.createTopic('small', 1, { maxMessageBytes: 1000 })
    const producer = tm.producer()
    expect(await failureOf(producer.send('small', { value: 'x'.repeat(1000 - BATCH_HEADER_BYTES) }))).toMatchObject({
      code: 'RECORD_TOO_LARGE',
      outcome: 'failed',
    })
    expect(await codeOf(producer.send('t', { value: 'x', partition: 7 }))).toBe('UNKNOWN_PARTITION')
    expect(await codeOf(producer.send('t', { value: 'x', timestamp: -1 }))).toBe('INVALID_TIMESTAMP')
    expect(await codeOf(producer.send('nowhere', { value: 'x' }))).toBe('UNKNOWN_TOPIC')
    expect(() => tm.producer({ maxInFlight: 17 })).toThrow(/maxInFlight is 17/)
    expect(() => tm.producer({ acks: 'leader', idempotent: true })).toThrow(/acks all/)
    expect(() => tm.producer({ lingr: '5ms' } as object)).toThrow(/a producer has no option "lingr"; did you mean linger\?/)
    expect(producer.bufferedBytes).toBe(0)
    expect(broker.produced).toEqual([])
  })

  it('keeps the records beside it from being sent', async () => {
    expect(await codeOf(tm.producer().send('t', [{ value: 'good' }, { value: 'bad', partition: 9 }]))).toBe('UNKNOWN_PARTITION')
    await tm.producer().send('t', { value: 'later' })
    expect(await broker.values('t')).toEqual(['later'])
  })
})

it('receipts name the place and the time, the node’s when the topic says so', async () => {
  broker.createTopic('stamped', 1, { appendTimeMs: 5_000 })
  const producer = tm.producer()
  expect(await producer.send('t', { value: 'x', timestamp: 77 })).toEqual({ topic: 't', partition: 0, offset: 0n, timestamp: 77 })
  expect(await producer.send('stamped', { value: 'x', timestamp: 77 })).toMatchObject({ timestamp: 5_000 })
  expect(await tm.producer({ acks: 'none' }).send('t', { value: 'x' })).toMatchObject({ offset: -1n })
  expect(await producer.send('t', [])).toEqual([])
})
