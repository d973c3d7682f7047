/** One record at a time, and a fixed rate of them. */
import type { Tidemark } from '../../client/index.ts'
import { roundTripMs, syncMs, withRoundTrip, withSync } from './baselines.ts'
import { type Case, type Result, ratioResult, withNode } from './harness.ts'
import { asFigures, Latencies, latenciesOf, type Percentiles } from './latencies.ts'
import { paced } from './pacer.ts'

const COUNT = 1000
const RATE = 1000
const BYTES = 1024

/** A durable send awaited before the next: one stream round trip and one sync. */
export const unpipelined: Case = {
  name: 'durable send, one at a time',
  run: () =>
    withNode(async (tm) => {
      await tm.admin.createTopic('t')
      const send = (): Promise<unknown> => tm.producer().send('t', { value: Buffer.alloc(BYTES) })
      for (let round = 0; round < COUNT; round++) await send()
      const baseline = (await syncMs(BYTES, COUNT)) + (await roundTripMs(COUNT))
      const ours = await latenciesOf(COUNT, send)
      return [
        ratioResult({
          name: 'durable send of 1 KiB, p50',
          ours: ours.p50,
          baseline,
          unit: 'ms',
          against: 'fdatasync p50 + stream round trip p50',
          budget: '≤ 2',
          atMost: 2,
          figures: asFigures(ours),
        }),
      ]
    }),
}

/** A thousand records a second, from the time each was due to the time it was received. */
export const endToEnd: Case = {
  name: 'end to end at 1,000 records/s',
  run: () =>
    withNode(async (tm): Promise<Result[]> => {
      await tm.admin.createTopic('t')
      await atRate(tm, RATE, 2 * RATE)
      const bare = await bareAtRate(RATE, 10 * RATE)
      const ours = await atRate(tm, RATE, 10 * RATE)
      const against = 'p50 of write, fdatasync and stream round trip at the same rate'
      const note = `p99 of these alone: ${bare.p99.toFixed(2)} ms`
      const shared = { baseline: bare.p50, unit: 'ms', against, figures: asFigures(ours) }
      return [
        ratioResult({ name: 'end to end, p50', ours: ours.p50, ...shared, budget: '≤ 2', atMost: 2 }),
        ratioResult({ name: 'end to end, p99', ours: ours.p99, ...shared, budget: '≤ 5', atMost: 5, note }),
      ]
    }),
}

async function atRate(tm: Tidemark, perSecond: number, total: number): Promise<Percentiles> {
  const latencies = new Latencies()
  await using consumer = tm.consumer('t', { start: 'latest' })
  await consumer.positions()
  const received = (async () => {
    let count = 0
    for await (const { messages } of consumer.batches()) {
      for (const message of messages) latencies.note((message.raw as Buffer).readDoubleBE(0))
      count += messages.length
      if (count >= total) return
    }
  })()
  await paced(perSecond, total, (dueMs) => {
    const value = Buffer.alloc(BYTES)
    value.writeDoubleBE(dueMs)
    tm.producer()
      .send('t', { value })
      .catch(() => {})
  })
  await received
  return latencies.percentiles
}

/** What a durable record takes at least: written, synced, and there and back through grpc-js, one after the other. */
function bareAtRate(perSecond: number, total: number): Promise<Percentiles> {
  return withSync(BYTES, (sync) =>
    withRoundTrip(async (roundTrip) => {
      const latencies = new Latencies()
      let last: Promise<void> = Promise.resolve()
      await paced(perSecond, total, (dueMs) => {
        last = last
          .then(sync)
          .then(roundTrip)
          .then(() => latencies.note(dueMs))
      })
      await last
      return latencies.percentiles
    }),
  )
}
