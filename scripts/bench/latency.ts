/** One record at a time, and a fixed rate of them. */
import { build } from 'hdr-histogram-js'
import type { Tidemark } from '../../client/index.ts'
import { roundTripMs, syncMs } from './baselines.ts'
import { type Case, median, type Result, ratioResult, timed, withNode } from './harness.ts'

const COUNT = 1000

/** A durable send awaited before the next: one stream round trip and one sync. */
export const unpipelined: Case = {
  name: 'durable send, one at a time',
  run: () =>
    withNode(async (tm) => {
      await tm.admin.createTopic('t')
      const send = (): Promise<unknown> => tm.producer().send('t', { value: Buffer.alloc(1024) })
      for (let round = 0; round < COUNT; round++) await send()
      const baseline = (await syncMs(1024, COUNT)) + (await roundTripMs(COUNT))
      const times: number[] = []
      for (let round = 0; round < COUNT; round++) times.push(await timed(send))
      return [
        ratioResult({
          name: 'durable send of 1 KiB, p50',
          ours: median(times),
          baseline,
          unit: 'ms',
          against: 'fdatasync p50 + stream round trip p50',
          budget: '≤ 2',
          atMost: 2,
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
      await atRate(tm, 1000, 2000)
      const baseline = (await syncMs(1024, COUNT)) + (await roundTripMs(COUNT))
      const { p50, p99 } = await atRate(tm, 1000, 10_000)
      const against = 'fdatasync p50 + stream round trip p50'
      return [
        ratioResult({ name: 'end to end, p50', ours: p50, baseline, unit: 'ms', against, budget: '≤ 2', atMost: 2 }),
        ratioResult({ name: 'end to end, p99', ours: p99, baseline, unit: 'ms', against, budget: '≤ 5', atMost: 5 }),
      ]
    }),
}

/** Exact to a few microseconds: a timer alone may be a millisecond late, which would count as latency of the node. */
async function until(dueMs: number): Promise<void> {
  const earlyMs = dueMs - performance.now()
  if (earlyMs > 2) await new Promise((resolve) => setTimeout(resolve, earlyMs - 2))
  while (performance.now() < dueMs) await new Promise((resolve) => setImmediate(resolve))
}

async function atRate(tm: Tidemark, perSecond: number, total: number): Promise<{ p50: number; p99: number }> {
  const histogram = build({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3 })
  await using consumer = tm.consumer('t', { start: 'latest' })
  await consumer.positions()
  const received = (async () => {
    let count = 0
    for await (const { messages } of consumer.batches()) {
      for (const message of messages)
        histogram.recordValue(Math.max(1, Math.round((performance.now() - (message.raw as Buffer).readDoubleBE(0)) * 1000)))
      count += messages.length
      if (count >= total) return
    }
  })()
  const startedMs = performance.now()
  for (let count = 0; count < total; count++) {
    const dueMs = startedMs + (count / perSecond) * 1000
    await until(dueMs)
    const value = Buffer.alloc(1024)
    // The time it was due: a sender that falls behind shows in the numbers.
    value.writeDoubleBE(dueMs)
    tm.producer()
      .send('t', { value })
      .catch(() => {})
  }
  await received
  return { p50: histogram.getValueAtPercentile(50) / 1000, p99: histogram.getValueAtPercentile(99) / 1000 }
}
