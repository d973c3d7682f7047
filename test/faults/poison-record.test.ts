/** A record that no handler can handle. */
import { expect, it } from 'vitest'
import { startTidemark } from '../../testing/index.ts'
import { committed } from '../client/group/support.ts'
import { usePlace } from './support.ts'

const place = usePlace()

it('E13 a record on which every handler fails holds up its partition only: nothing is skipped, the lag shows, and the rest goes on', async () => {
  const node = await startTidemark({ config: { groups: { offsetsPartitions: 2, heartbeatIntervalMs: 100, sessionTimeoutMinMs: 100 } } })
  place.after(() => node.close())
  const tm = await node.connect()
  await tm.admin.createTopic('orders', { partitions: 2 })
  const records = (partition: number): { value: string; partition: number }[] =>
    Array.from({ length: 20 }, (_, n) => ({ value: partition === 0 && n === 5 ? 'poison' : `${n}`, partition }))
  await tm.producer().send('orders', [...records(0), ...records(1)])

  let isPoisonSkipped = false
  let failures = 0
  const done: string[] = []
  const stop = new AbortController()
  /** Begins again when its handler has failed, as whatever runs a service does. */
  const supervised = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      const member = tm.consumer('orders', { group: 'billing', start: 'earliest', signal: stop.signal })
      await member
        .run(({ value, partition }) => {
          const text = String(value)
          if (text === 'poison' && !isPoisonSkipped) throw new Error('cannot be handled')
          done.push(`${partition}:${text}`)
        })
        .catch((error: Error) => {
          expect(error.message).toBe('cannot be handled')
          failures++
        })
    }
  }
  const members = [supervised(), supervised()]
  await expect.poll(() => committed(tm, 'billing'), { timeout: 30_000 }).toEqual({ 'orders-0': 5, 'orders-1': 20 })
  await expect.poll(() => failures, { timeout: 30_000 }).toBeGreaterThan(4)
  expect(await committed(tm, 'billing')).toEqual({ 'orders-0': 5, 'orders-1': 20 })
  const { partitions } = await tm.admin.groups.describe('billing')
  expect(Object.fromEntries(partitions.map(({ partition, lag }) => [partition, Number(lag)]))).toEqual({ 0: 15, 1: 0 })

  isPoisonSkipped = true
  await expect.poll(() => committed(tm, 'billing'), { timeout: 30_000 }).toEqual({ 'orders-0': 20, 'orders-1': 20 })
  stop.abort()
  await Promise.all(members)
  // What a member had in hand when it failed may come again; the order of what comes first stays.
  const first = [...new Set(done)]
  for (const partition of [0, 1])
    expect(first.filter((one) => one.startsWith(`${partition}:`))).toEqual(records(partition).map(({ value }) => `${partition}:${value}`))
})
