/** A compacted topic on a real node, through the client: what is left is the newest record of each key. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Message, Tidemark } from '../../client/index.ts'
import { type Log, startTidemark, type TestTidemark } from '../../testing/index.ts'

const SETTINGS = {
  'cleanup.policy': 'compact',
  'segment.bytes': '64KiB',
  'segment.ms': '1s',
  'min.cleanable.dirty.ratio': '0.1',
  'file.delete.delay.ms': '0ms',
}

/** What the node says. */
class Events implements Log {
  readonly errors: string[] = []
  /** Up to where the log is compacted, as the last event said. */
  cleanOffset = 0
  #changed = Promise.withResolvers<void>()

  info(event: string, fields: Readonly<Record<string, unknown>> = {}): void {
    if (event !== 'log.compacted') return
    this.cleanOffset = Number(fields.cleanOffset)
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }

  error(event: string, fields?: Readonly<Record<string, unknown>>): void {
    this.errors.push(`${event} ${JSON.stringify(fields)}`)
  }

  debug(): void {}

  warn(): void {}

  async compactedUpTo(offset: number): Promise<void> {
    while (this.cleanOffset < offset) await this.#changed.promise
  }
}

type Bytes = Message<Buffer, Buffer>

/** What the keys are worth. */
class State {
  readonly values = new Map<string, string>()
  readonly offsets: bigint[] = []

  apply({ key, value, offset }: Pick<Bytes, 'key' | 'value' | 'offset'>): void {
    if (value === null) this.values.delete(String(key))
    else this.values.set(String(key), String(value))
    this.offsets.push(offset)
  }
}

let node: TestTidemark
let tm: Tidemark
let log: Events

async function begin(storage: 'memory' | 'disk'): Promise<void> {
  log = new Events()
  node = await startTidemark({ storage, config: { retentionCheckMs: 100, compactionCheckMs: 100 }, log })
  tm = await node.connect()
  await tm.admin.createTopic('prices', { partitions: 1, configs: SETTINGS })
}

afterEach(() => node.close())

async function readAll(client: Tidemark): Promise<State> {
  const state = new State()
  for await (const message of client.consumer('prices', { start: 'earliest', end: 'now' })) state.apply(message)
  return state
}

describe.each(['memory', 'disk'] as const)('a compacted topic (%s)', (storage) => {
  beforeEach(() => begin(storage))

  it('is left with the newest record of each key, also while it is written and read, and after a restart', async () => {
    const expected = new State()
    const tail = new State()
    const consumer = tm.consumer('prices', { start: 'earliest' })
    const caughtUp = Promise.withResolvers<void>()
    const reading = consumer.run((message) => {
      tail.apply(message)
      if (message.offset === 3999n) caughtUp.resolve()
    })
    let sent = 0
    for (const compression of ['none', 'gzip', 'zstd', 'lz4', 'snappy'] as const) {
      const producer = tm.producer({ compression })
      for (let round = 0; round < 8; round++) {
        const records = Array.from({ length: 100 }, (_, n) => {
          const value = n % 25 === 24 ? null : `${sent++} ${'price '.repeat(40)}`
          return { key: `k${(n * 7 + round) % 60}`, value }
        })
        records.forEach(({ key, value }, n) =>
          expected.apply({ key: Buffer.from(key), value: value === null ? null : Buffer.from(value), offset: BigInt(n) }),
        )
        await producer.send('prices', records)
      }
      await producer.close()
    }
    await caughtUp.promise
    await consumer.close()
    await reading
    expect(tail.values).toEqual(expected.values)
    await log.compactedUpTo(4000)
    const state = await readAll(tm)
    expect(state.values).toEqual(expected.values)
    expect(state.offsets.length).toBeLessThanOrEqual(60)
    expect(state.offsets).toEqual(state.offsets.toSorted((a, b) => Number(a - b)))
    expect(await tm.admin.offsets('prices')).toMatchObject([{ earliest: 0n, highWatermark: 4000n }])
    const metrics = await (await fetch(`http://${node.address}/metrics`)).text()
    expect(Number(/^tidemark_compaction_removed_records_total (\d+)$/m.exec(metrics)?.[1])).toBe(4000 - state.offsets.length)
    await node.restart()
    const again = await readAll(await node.connect())
    expect([again.values, again.offsets]).toEqual([state.values, state.offsets])
    expect(log.errors).toEqual([])
  })

  it('takes no record without a key', async () => {
    await expect(tm.producer().send('prices', { value: '1' })).rejects.toMatchObject({ code: 'INVALID_RECORD', outcome: 'failed' })
    await tm.producer({ compression: 'gzip' }).send('prices', { key: 'a', value: '1' })
    await expect(tm.producer({ compression: 'gzip' }).send('prices', { value: '1' })).rejects.toMatchObject({ code: 'INVALID_RECORD' })
    expect((await readAll(tm)).values).toEqual(new Map([['a', '1']]))
  })
})
