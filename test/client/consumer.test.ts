import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Message, type Tidemark, topic } from '../../client/index.ts'
import { readBaseOffset } from '../../protocol/batch-header.ts'
import { withoutRecords } from '../../protocol/batch-rewrite.ts'
import { ERRORS, TidemarkError } from '../../protocol/errors.ts'
import { FakeBroker } from './fake-broker.ts'
import { batchOf, clientOf, codeOf, failureOf, numbers, until } from './support.ts'

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

type Messages = AsyncIterator<Message<Buffer, Buffer>>

/** Ten batches of ten. */
async function fill(name = 't', partition = 0): Promise<void> {
  for (let at = 0; at < 100; at += 10) broker.append(name, partition, await batchOf(numbers(10, at), 1000 + at))
}

async function next(messages: Messages): Promise<string> {
  const { done, value } = await messages.next()
  if (done === true) throw new Error('the consumer has ended')
  return String(value.value)
}

async function take(messages: Messages, count: number): Promise<string[]> {
  const values: string[] = []
  while (values.length < count) values.push(await next(messages))
  return values
}

async function valuesOf(messages: AsyncIterable<Message<Buffer, Buffer>>): Promise<string[]> {
  return (await Array.fromAsync(messages)).map(({ value }) => String(value))
}

describe('where reading begins and ends', () => {
  it.each([
    ['the earliest', { start: 'earliest' }, 0],
    ['the latest', { start: 'latest' }, 100],
    ['so many before the end', { start: { last: 15 } }, 85],
    ['a time', { start: { at: 1035 } }, 40],
    ['a time after the last', { start: { at: 9999 } }, 100],
    ['an offset inside a batch', { start: { offset: () => 33n } }, 33],
  ] as const)('at %s', async (_, options, first) => {
    await fill()
    expect(await valuesOf(tm.consumer('t', { ...options, end: 'now' }))).toEqual(numbers(100 - first, first))
  })

  it('before an offset inside a batch', async () => {
    await fill()
    expect(await valuesOf(tm.consumer('t', { start: 'earliest', end: { offset: () => 27n } }))).toEqual(numbers(27))
  })

  it('at the end, though the last records of the last batch were compacted away', async () => {
    await fill()
    const batch = await batchOf(numbers(3, 100))
    // The batch says it reaches up to offset 104; of five records three are left.
    broker.append('t', 0, batch)
    const stored = broker.partition('t').batches.at(-1) as Buffer
    stored.writeInt32BE(stored.readInt32BE(23) + 2, 23)
    broker.partition('t').end += 2
    const consumer = tm.consumer('t', { start: 'earliest', end: 'now', checkCrc: false })
    expect(await valuesOf(consumer)).toEqual(numbers(103))
  })
})

describe('where records were compacted away', () => {
  /** What is left of ten batches of ten: of some everything, of some the header. */
  async function fillWithGaps(left: readonly number[], emptied: readonly number[]): Promise<void> {
    await fill()
    const log = broker.partition('t')
    const isOf = (batch: Buffer, firsts: readonly number[]): boolean => firsts.includes(readBaseOffset(batch))
    log.batches = log.batches.flatMap((batch) => (isOf(batch, left) ? [batch] : isOf(batch, emptied) ? [withoutRecords(batch)] : []))
  }

  it('reading goes on at the next record, over batches that have none', async () => {
    await fillWithGaps([20, 60, 90], [0, 70])
    const consumer = tm.consumer('t', { start: { offset: () => 33n }, end: 'now' })
    expect(await valuesOf(consumer)).toEqual([...numbers(10, 60), ...numbers(10, 90)])
    expect(await consumer.positions()).toEqual([{ topic: 't', partition: 0, offset: 100n }])
  })

  it.each([
    ['with something before it', 45n, numbers(10, 20)],
    ['with nothing at all before it', 15n, []],
  ])('reading ends at an end that lies in a gap, %s', async (_, end, expected) => {
    await fillWithGaps([20, 60, 90], [])
    const consumer = tm.consumer('t', { start: 'earliest', end: { offset: () => end } })
    expect(await valuesOf(consumer)).toEqual(expected)
    expect(await consumer.positions()).toEqual([{ topic: 't', partition: 0, offset: end }])
  })

  it('reading ends where only batches without records are left', async () => {
    await fillWithGaps([], [0, 90])
    expect(await valuesOf(tm.consumer('t', { start: 'earliest', end: 'now' }))).toEqual([])
  })
})

describe('positions', () => {
  it('are those of what the application got, not of what was read ahead', async () => {
    await fill()
    const consumer = tm.consumer('t', { start: 'earliest' })
    expect(await consumer.positions()).toEqual([{ topic: 't', partition: 0, offset: 0n }])
    const batches = consumer.batches()
    expect((await batches.next()).value?.messages).toHaveLength(10)
    await until(() => broker.parkedCount === 1)
    expect(await consumer.positions()).toEqual([{ topic: 't', partition: 0, offset: 10n }])
    expect(await consumer.lag()).toEqual([{ topic: 't', partition: 0, position: 10n, highWatermark: 100n, lag: 90n }])
    await consumer.close()
  })
})

describe('seek', () => {
  it('counts at once: in the middle of a batch, and over a question that is under way', async () => {
    await fill()
    const consumer = tm.consumer('t', { start: 'earliest' })
    const messages = consumer[Symbol.asyncIterator]()
    expect(await take(messages, 3)).toEqual(numbers(3))
    await consumer.seek({ topic: 't', partition: 0, offset: 95n })
    expect(await take(messages, 5)).toEqual(numbers(5, 95))
    // Now it waits at the end; what the old question would be answered with is not wanted any more.
    const waiting = next(messages)
    await until(() => broker.parkedCount === 1)
    await consumer.seek({ topic: 't', partition: 0, offset: 20n })
    expect(await waiting).toBe('20')
    broker.append('t', 0, await batchOf(['100']))
    expect(await take(messages, 80)).toEqual([...numbers(79, 21), '100'])
    await consumer.close()
  })

  it('refuses partitions that are not read, and offsets that cannot be', async () => {
    const consumer = tm.consumer('t', { start: 'earliest' })
    expect(await codeOf(consumer.seek({ topic: 't', partition: 3, offset: 0n }))).toBe('UNKNOWN_PARTITION')
    expect(await codeOf(consumer.seek({ topic: 't', partition: 0, offset: -1n }))).toBe('USAGE')
    await consumer.close()
  })

  it('wins over the search for a new position', async () => {
    await fill()
    broker.deleteRecords('t', 0, 50)
    const consumer = tm.consumer('t', { start: { offset: () => 0n }, onOutOfRange: 'earliest' })
    let isAsked = false
    broker.refuseCall = (name) => {
      if (name !== 'listOffsets') return undefined
      isAsked = true
      return new TidemarkError('BUSY')
    }
    const first = next(consumer[Symbol.asyncIterator]())
    await until(() => isAsked)
    await consumer.seek({ topic: 't', partition: 0, offset: 70n })
    broker.refuseCall = undefined
    expect(await first).toBe('70')
    await consumer.close()
  })
})

describe('pause', () => {
  it('holds back what was read ahead and what is under way, and resume gives it', async () => {
    broker.createTopic('two', 2)
    await fill('two', 0)
    const consumer = tm.consumer('two', { start: 'earliest' })
    const messages = consumer[Symbol.asyncIterator]()
    expect(await take(messages, 10)).toEqual(numbers(10))
    await until(() => broker.parkedCount === 1)
    consumer.pause([{ topic: 'two', partition: 0 }])
    broker.append('two', 0, await batchOf(['100']))
    broker.append('two', 1, await batchOf(['other']))
    expect(await next(messages)).toBe('other')
    const rest = next(messages)
    await until(() => broker.parkedCount === 1)
    expect(broker.fetched.filter(({ offset }) => offset === 101)).toEqual([])
    consumer.resume()
    expect(await rest).toBe('10')
    expect(await take(messages, 90)).toEqual(numbers(90, 11))
    await consumer.close()
  })
})

describe('a position that is gone', () => {
  it('is an error, unless it is said where to go on', async () => {
    await fill()
    broker.deleteRecords('t', 0, 50)
    const from = { start: { offset: () => 3n }, end: 'now' } as const
    expect(await codeOf(valuesOf(tm.consumer('t', from)))).toBe('OFFSET_OUT_OF_RANGE')
    expect(await valuesOf(tm.consumer('t', { ...from, onOutOfRange: 'earliest' }))).toEqual(numbers(50, 50))
    const latest = tm.consumer('t', { start: { offset: () => 3n }, onOutOfRange: 'latest' })
    const first = next(latest[Symbol.asyncIterator]())
    await until(() => broker.parkedCount === 1)
    broker.append('t', 0, await batchOf(['100']))
    expect(await first).toBe('100')
    await latest.close()
  })
})

describe('the end', () => {
  it('of a consumer that waits comes with close, with its signal, and with the client', async () => {
    const closed = tm.consumer('t', { start: 'earliest' })
    const first = closed[Symbol.asyncIterator]().next()
    await until(() => broker.parkedCount === 1)
    await closed.close()
    expect(await first).toEqual({ done: true, value: undefined })
    await until(() => broker.parkedCount === 0)

    const abort = new AbortController()
    const second = tm.consumer('t', { start: 'earliest', signal: abort.signal })[Symbol.asyncIterator]().next()
    await until(() => broker.parkedCount === 1)
    abort.abort()
    expect(await codeOf(second)).toBe('CANCELLED')

    const third = tm.consumer('t', { start: 'earliest' })[Symbol.asyncIterator]().next()
    await until(() => broker.fetched.length === 3)
    await tm.close()
    expect(await codeOf(third)).toBe('CLOSED')
  })

  it('of run is its resolution when it was stopped, its rejection when the handler or reading fails', async () => {
    await fill()
    const abort = new AbortController()
    const seen: string[] = []
    await tm.consumer('t', { start: 'earliest' }).run(
      ({ value }) => {
        seen.push(String(value))
        if (seen.length === 5) abort.abort()
      },
      { signal: abort.signal },
    )
    expect(seen).toEqual(numbers(5))
    const failing = tm.consumer('t', { start: 'earliest' }).run(() => Promise.reject(new Error('no')))
    await expect(failing).rejects.toThrow('no')
    broker.refuseFetch = () => new TidemarkError('CORRUPT_LOG', 'a segment is damaged')
    expect(await failureOf(tm.consumer('t', { start: 'earliest' }).run(() => {}))).toMatchObject({ code: 'CORRUPT_LOG' })
  })
})

describe('reading ahead', () => {
  it('stops at prefetchBytes, and goes on as the application takes', async () => {
    const batch = await batchOf(['x'.repeat(1000)])
    for (let n = 0; n < 50; n++) broker.append('t', 0, batch)
    const consumer = tm.consumer('t', { start: 'earliest', end: 'now', prefetchBytes: 5000, fetchBytes: 1500 })
    const messages = consumer[Symbol.asyncIterator]()
    await next(messages)
    await new Promise((resolve) => setTimeout(resolve, 50))
    // What is held: the budget, and the answer that passed it.
    expect(broker.fetched.at(-1)?.offset).toBeLessThanOrEqual(8)
    let count = 1
    while ((await messages.next()).done !== true) count++
    expect(count).toBe(50)
  })

  it('starves no partition beside full ones', async () => {
    broker.createTopic('many', 8)
    const batch = await batchOf(['x'.repeat(1000)])
    for (let partition = 0; partition < 8; partition++) for (let n = 0; n < 10; n++) broker.append('many', partition, batch)
    const seen = new Set<number>()
    let count = 0
    for await (const { partition } of tm.consumer('many', { start: 'earliest', prefetchBytes: 100, fetchBytes: 100 })) {
      seen.add(partition)
      if (++count === 16) break
    }
    expect(seen.size).toBe(8)
  })
})

describe('an error', () => {
  it.each(['BUSY', 'UNAVAILABLE', 'NOT_LEADER', 'OFFSET_NOT_AVAILABLE', 'STORAGE_FAILED'] as const)(
    'that passes (%s) is waited out',
    async (code) => {
      expect(ERRORS[code].retriable).toBe(true)
      await fill()
      let refusedCount = 0
      broker.refuseFetch = () => (++refusedCount > 3 ? undefined : new TidemarkError(code))
      expect(await valuesOf(tm.consumer('t', { start: 'earliest', end: 'now' }))).toEqual(numbers(100))
    },
  )

  it('that does not pass ends reading and names the partition', async () => {
    await fill()
    broker.refuseFetch = () => new TidemarkError('CORRUPT_LOG', 'a segment is damaged')
    const error = await failureOf(valuesOf(tm.consumer('t', { start: 'earliest' })))
    expect(error).toMatchObject({ code: 'CORRUPT_LOG', retriable: false, message: 't-0: a segment is damaged' })
  })

  it('of the bytes is found by the checksum, on the way it is mended by asking once more, and at the node it is an error', async () => {
    await fill()
    let times = 1
    broker.fetchAnswer = (answer) => {
      if (!answer.partitions.some(({ batches }) => batches.length > 0) || times-- <= 0) return answer
      const damage = (batch: Buffer): Buffer => {
        const damaged = Buffer.from(batch)
        damaged.writeUInt8(damaged.readUInt8(damaged.length - 1) ^ 1, damaged.length - 1)
        return damaged
      }
      return { ...answer, partitions: answer.partitions.map((one) => ({ ...one, batches: one.batches.map(damage) })) }
    }
    const whole = await valuesOf(tm.consumer('t', { start: 'earliest', end: 'now' }))
    expect(new Set(whole).size).toBe(whole.length)
    expect(whole.length).toBeGreaterThan(1)
    times = Number.POSITIVE_INFINITY
    expect(await codeOf(valuesOf(tm.consumer('t', { start: 'earliest' })))).toBe('CORRUPT_BATCH')
  })

  it('of a codec names the record', async () => {
    await fill()
    const Picky = topic('t', {
      value: {
        encode: (value: string) => Buffer.from(value),
        decode: (bytes: Buffer) => {
          if (String(bytes) === '42') throw new Error('not that one')
          return String(bytes)
        },
      },
    })
    const error = await failureOf(Array.fromAsync(tm.consumer(Picky, { start: 'earliest' })))
    expect(error).toMatchObject({ code: 'SERIALIZATION_FAILED', message: 'the value of record t-0 at offset 42: not that one' })
  })

  it('is the topic that was created again under its name', async () => {
    await fill()
    const messages = tm.consumer('t', { start: 'earliest' })[Symbol.asyncIterator]()
    await take(messages, 100)
    broker.createTopic('t')
    broker.cut()
    expect(await failureOf(messages.next())).toMatchObject({ code: 'UNKNOWN_TOPIC_ID' })
  })

  it('is the silence of a partition that is behind', async () => {
    await fill()
    const messages = tm.consumer('t', { start: 'earliest', stallTimeout: '5s' })[Symbol.asyncIterator]()
    broker.refuseFetch = () => new TidemarkError('BUSY')
    expect(await failureOf(messages.next())).toMatchObject({ code: 'STALLED' })
  })
})

it('partitions that a topic got later are read from their start', async () => {
  const messages = tm.consumer('t', { start: 'latest' })[Symbol.asyncIterator]()
  const first = next(messages)
  await until(() => broker.parkedCount === 1)
  broker.growTopic('t', 2)
  broker.append('t', 1, await batchOf(['new']))
  expect(await first).toBe('new')
  await messages.return?.()
})
