import fc from 'fast-check'
import { expect, it } from 'vitest'
import { HandlerPool } from '../../../client/group/handler-pool.ts'

it('handlers of one lane follow each other in order, those of others run beside them, never more than may', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 80 }),
      fc.integer({ min: 1, max: 7 }),
      fc.scheduler(),
      async (lanes, concurrency, scheduler) => {
        const begun = new Map<number, number[]>()
        const atWork = new Set<number>()
        let most = 0
        let freedCount = 0
        const pool = new HandlerPool(concurrency, () => freedCount++)
        for (const [index, lane] of lanes.entries()) {
          pool.add(`lane ${lane}`, async () => {
            expect(atWork.has(lane)).toBe(false)
            atWork.add(lane)
            most = Math.max(most, atWork.size)
            begun.set(lane, [...(begun.get(lane) ?? []), index])
            await scheduler.schedule(Promise.resolve())
            atWork.delete(lane)
          })
        }
        // Whoever could work does.
        expect(atWork.size).toBe(Math.min(concurrency, new Set(lanes).size))
        const idle = pool.idle()
        await scheduler.waitIdle()
        await idle
        for (const [lane, indices] of begun) expect(indices).toEqual([...lanes.keys()].filter((index) => lanes[index] === lane))
        expect([...begun.values()].flat()).toHaveLength(lanes.length)
        expect(most).toBeLessThanOrEqual(concurrency)
        expect([freedCount, pool.waitingCount, pool.laneCount]).toEqual([lanes.length, 0, 0])
      },
    ),
  )
})

it('what waits can be forgotten; what is at work ends', async () => {
  const ran: string[] = []
  const gate = Promise.withResolvers<void>()
  const pool = new HandlerPool(1, () => {})
  pool.add('a', async () => {
    await gate.promise
    ran.push('first')
  })
  pool.add('a', async () => void ran.push('second'))
  pool.add('b', async () => void ran.push('third'))
  pool.clear()
  gate.resolve()
  await pool.idle()
  expect([ran, pool.laneCount, pool.waitingCount]).toEqual([['first'], 0, 0])
  pool.add('a', async () => void ran.push('fourth'))
  await pool.idle()
  expect(ran).toEqual(['first', 'fourth'])
})
