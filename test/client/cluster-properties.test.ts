/**
 * Random leader moves, cuts, lost answers and nodes that go and hang, against the real producer and consumer over real sockets. None of
 * these faults lasts, so in the end:
 *
 * - every record is acknowledged, and is in the log exactly once, under one producer id, in the order of the sends;
 * - a consumer that reads meanwhile gets each of them once, in order, and never asks for an offset below one it asked for before.
 */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { Tidemark } from '../../client/index.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { FakeBroker, type ProduceFault } from './fake-broker.ts'
import { clientOf, numbers } from './support.ts'

const NODES = 3
const PARTITIONS = 2
const SPEED = 40

type Step =
  | { readonly what: 'fine' | 'cut' | 'drop before' | 'drop after' | 'too few' | 'too few after' | 'deposed' | 'late' }
  | { readonly what: 'move' | 'no leader' | 'down' | 'hang'; readonly node: number }

const node = fc.integer({ min: 0, max: NODES - 1 })
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    what: fc.constantFrom(
      'fine' as const,
      'cut' as const,
      'drop before' as const,
      'drop after' as const,
      'too few' as const,
      'too few after' as const,
      'deposed' as const,
      'late' as const,
    ),
  }),
  fc.record({ what: fc.constantFrom('move' as const, 'no leader' as const, 'down' as const, 'hang' as const), node }),
)

/** Plays a step with each produce request; what it breaks is whole again a little later. */
function play(broker: FakeBroker, steps: readonly Step[]): { mend(): void } {
  let at = 0
  const mends = new Set<() => void>()
  const later = (mend: () => void): void => {
    const timer = setTimeout(() => {
      mends.delete(run)
      mend()
    }, 10)
    const run = (): void => {
      clearTimeout(timer)
      mend()
    }
    mends.add(run)
  }
  const moveAll = (to: number): void => {
    for (let partition = 0; partition < PARTITIONS; partition++) broker.moveLeader('t', partition, to)
  }
  const start = (current: Step, asked: number): ProduceFault | undefined => {
    switch (current.what) {
      case 'cut':
        setImmediate(() => broker.cut())
        return undefined
      case 'drop before':
        return { drop: 'before' }
      case 'drop after':
        return { drop: 'after' }
      case 'too few after':
        return { lie: new TidemarkError('NOT_ENOUGH_REPLICAS_AFTER_APPEND') }
      case 'too few':
        broker.refuse = () => new TidemarkError('NOT_ENOUGH_REPLICAS')
        return undefined
      case 'deposed':
        setImmediate(() => moveAll((asked + 1) % NODES))
        return { lie: new TidemarkError('NOT_LEADER') }
      case 'late':
        return { until: new Promise((resolve) => setTimeout(resolve, 3)) }
      case 'move':
        moveAll(current.node)
        return undefined
      case 'no leader':
        moveAll(-1)
        later(() => moveAll(current.node))
        return undefined
      case 'down':
        broker.setDown(current.node, true)
        later(() => broker.setDown(current.node, false))
        return undefined
      case 'hang':
        // As a process that is stopped: others take over, and when it goes on it has lost its connections.
        broker.hung.add(current.node)
        later(() => {
          moveAll((current.node + 1) % NODES)
          broker.hung.delete(current.node)
          broker.cut(current.node)
        })
        return undefined
      default:
        return undefined
    }
  }
  broker.produceFault = ([attempt]) => {
    broker.refuse = undefined
    const current = steps[at++]
    return current === undefined ? undefined : start(current, attempt?.node ?? 0)
  }
  return {
    mend() {
      for (const mend of mends) mend()
    },
  }
}

/** Sends all, in bursts, while a consumer reads all. */
async function sendAndRead(tm: Tidemark, count: number): Promise<Map<number, string[]>> {
  const producer = tm.producer({ batchBytes: 150, deliveryTimeout: '1h', requestTimeout: '5m' })
  const read = new Map<number, string[]>(Array.from({ length: PARTITIONS }, (_, partition) => [partition, []]))
  const sends: Promise<unknown>[] = []
  const reading = (async () => {
    let left = count
    for await (const { partition, value } of tm.consumer('t', { start: 'earliest', stallTimeout: false })) {
      read.get(partition)?.push(String(value))
      if (--left === 0) return
    }
  })()
  for (const value of numbers(count)) {
    sends.push(producer.send('t', { value, partition: Number(value) % PARTITIONS }))
    if (Number(value) % 7 === 6) await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all([reading, ...sends])
  return read
}

it('keeps every record, once and in order, whatever leaders and nodes do', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 10, max: 60 }), fc.array(step, { maxLength: 12 }), async (count, steps) => {
      await using broker = await FakeBroker.start(NODES)
      broker.createTopic('t', PARTITIONS)
      const faults = play(broker, steps)
      await using tm = clientOf(broker, { speed: SPEED, requestTimeoutMs: 600_000 })
      const read = await sendAndRead(tm, count)
      faults.mend()
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const sent = numbers(count).filter((value) => Number(value) % PARTITIONS === partition)
        expect(await broker.values('t', partition)).toEqual(sent)
        expect(read.get(partition)).toEqual(sent)
        const asked = broker.fetched.filter((one) => one.partition === partition).map(({ offset }) => offset)
        expect(asked).toEqual(asked.toSorted((a, b) => a - b))
      }
      expect(new Set(broker.produced.map(({ producerId }) => producerId)).size).toBe(1)
    }),
    { numRuns: 25 },
  )
}, 120_000)
