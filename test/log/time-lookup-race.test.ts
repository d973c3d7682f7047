/** Look-ups by time while the log they look into is shortened at its beginning. */
import { expect, it } from 'vitest'
import type { PartitionLog } from '../../log/partition-log.ts'
import { chanceOf } from '../../scripts/random.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'
import { batchOf, configOf, createWorld, NOW, openDir, openOrders } from './support.ts'

const RECORDS = 240
/** Between the timestamps of two records. */
const STEP_MS = 10
const SEEDS = 20

/** Calls to the disk overlap, and each takes a turn of the event loop. */
const openSlow = async (): Promise<PartitionLog> => {
  const files = new MemoryFiles({ pause: () => new Promise((resolve) => setImmediate(resolve)) })
  const log = await openOrders(await openDir(createWorld(files)), configOf({ fileDeleteDelayMs: 0 }))
  for (let n = 0; n < RECORDS; n++) {
    log.append(batchOf([`${n}`.padEnd(300, 'x')], { timestampMs: NOW + n * STEP_MS }), { leaderEpoch: 0 })
    await log.flush()
  }
  return log
}

it.each(Array.from({ length: SEEDS }, (_, seed) => seed))(
  'J27 a look-up by time while retention runs answers with a record that is there, the first as young, and never with none: seed %i',
  async (seed) => {
    const log = await openSlow()
    const chance = chanceOf(seed + 1)
    const pick = (below: number): number => Math.floor(chance() * below)
    const over = new AbortController()
    const shortening = (async () => {
      for (let start = 0; start < RECORDS - 40; start += 1 + pick(12)) await log.deleteRecordsBefore(start)
      over.abort()
    })()
    const lookUp = async (): Promise<void> => {
      while (!over.signal.aborted) {
        const wanted = pick(RECORDS)
        const startBefore = log.logStartOffset
        const found = await log.offsetForTimestamp(NOW + wanted * STEP_MS, RECORDS)
        const startAfter = log.logStartOffset
        const what = `the first from ${wanted} on, log start ${startBefore} to ${startAfter}`
        expect(found, what).toEqual({ offset: Math.max(wanted, found?.offset ?? -1), timestampMs: NOW + (found?.offset ?? -1) * STEP_MS })
        expect(found?.offset, what).toBeGreaterThanOrEqual(startAfter)
        expect(found?.offset, what).toBeLessThanOrEqual(Math.max(wanted, startAfter))
      }
    }
    await Promise.all([shortening, lookUp(), lookUp(), lookUp()])
  },
)
