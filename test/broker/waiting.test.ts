import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ByteBudget } from '../../broker/backpressure.ts'
import { Deadlines } from '../../broker/deadlines.ts'
import { OffsetWaiters } from '../../broker/offset-waiters.ts'
import { type ParkingPlace, Purgatory } from '../../broker/purgatory.ts'
import { ResponseMemory } from '../../broker/response-memory.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { Clock, Timer, Timers } from '../../runtime/runtime.ts'

/** Time that passes when told to. */
class VirtualTime implements Clock, Timers {
  nowMs = 0
  #pending: { atMs: number; run: () => void }[] = []

  now(): number {
    return this.nowMs
  }

  monotonic(): number {
    return this.nowMs
  }

  get pendingCount(): number {
    return this.#pending.length
  }

  after(delayMs: number, run: () => void): Timer {
    const entry = { atMs: this.nowMs + delayMs, run }
    this.#pending.push(entry)
    return {
      cancel: () => {
        this.#pending = this.#pending.filter((one) => one !== entry)
      },
    }
  }

  every(): Timer {
    return { cancel() {} }
  }

  nextTurn(run: () => void): void {
    this.after(0, run)
  }

  advanceTo(atMs: number): void {
    for (;;) {
      const next = this.#pending.filter((one) => one.atMs <= atMs).sort((a, b) => a.atMs - b.atMs)[0]
      if (next === undefined) break
      this.#pending = this.#pending.filter((one) => one !== next)
      this.nowMs = Math.max(this.nowMs, next.atMs)
      next.run()
    }
    this.nowMs = atMs
  }
}

describe('deadlines', () => {
  it('expire in order of time, never early, and not when removed', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('add' as const), inMs: fc.nat(100) }),
      fc.record({ kind: fc.constant('remove' as const), which: fc.nat() }),
      fc.record({ kind: fc.constant('advance' as const), byMs: fc.nat(30) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const time = new VirtualTime()
        const deadlines = new Deadlines(time, time)
        const live = new Set<{ atMs: number; expired: () => void }>()
        const expired: number[] = []
        for (const one of steps) {
          if (one.kind === 'add') {
            const deadline = {
              atMs: time.nowMs + one.inMs,
              expired: () => {
                live.delete(deadline)
                expired.push(deadline.atMs)
                expect(time.nowMs).toBeGreaterThanOrEqual(deadline.atMs)
              },
            }
            live.add(deadline)
            deadlines.add(deadline)
          } else if (one.kind === 'remove') {
            const victim = [...live][one.which % Math.max(1, live.size)]
            if (victim !== undefined) {
              live.delete(victim)
              deadlines.remove(victim)
            }
          } else {
            time.advanceTo(time.nowMs + one.byMs)
            for (const deadline of live) expect(deadline.atMs).toBeGreaterThan(time.nowMs)
          }
          expect(deadlines.size).toBe(live.size)
          expect(time.pendingCount).toBeLessThanOrEqual(1)
        }
        expect(expired).toEqual([...expired].sort((a, b) => a - b))
      }),
    )
  })
})

describe('acknowledgements that wait for an offset', () => {
  it('are given in order, up to the offset reached', () => {
    const waiters = new OffsetWaiters()
    const told: number[] = []
    for (const offset of [3, 5, 5, 9]) waiters.add(offset, 100, (error) => told.push(error === undefined ? offset : -offset))
    waiters.release(5)
    expect(told).toEqual([3, 5, 5])
    waiters.rejectFrom(5, new TidemarkError('DISK_FULL'))
    expect(told).toEqual([3, 5, 5, -9])
    expect(waiters.size).toBe(0)
  })

  it('expire one by one, whatever their order', () => {
    const waiters = new OffsetWaiters()
    const told: string[] = []
    waiters.add(3, 50, (error) => told.push(`3 ${error?.code}`))
    waiters.add(5, 10, (error) => told.push(`5 ${error?.code}`))
    waiters.expire(20, () => new TidemarkError('REQUEST_TIMED_OUT'))
    expect(told).toEqual(['5 REQUEST_TIMED_OUT'])
    waiters.release(3)
    expect(told.at(-1)).toBe('3 undefined')
  })

  it('of a duplicate wait with the first copy, also when later ones wait already', () => {
    const waiters = new OffsetWaiters()
    const told: number[] = []
    waiters.add(10, 100, () => told.push(10))
    waiters.add(4, 100, () => told.push(4))
    waiters.release(4)
    expect(told).toEqual([4])
  })
})

describe('parked fetches', () => {
  function place(): ParkingPlace {
    return { parked: new Set() }
  }

  it('complete when enough bytes are committed, over all their partitions', () => {
    const time = new VirtualTime()
    const purgatory = new Purgatory(time, time, 10)
    const [a, b] = [place(), place()]
    let completed = 0
    const fetch = purgatory.park([a, b], 100, 1000, () => completed++)
    fetch.bytesCommitted(60)
    expect(completed).toBe(0)
    fetch.bytesCommitted(40)
    expect([completed, a.parked.size, b.parked.size, purgatory.parkedCount]).toEqual([1, 0, 0, 0])
    fetch.bytesCommitted(100)
    time.advanceTo(2000)
    expect(completed).toBe(1)
  })

  it('complete at their deadline, and not when forgotten', () => {
    const time = new VirtualTime()
    const purgatory = new Purgatory(time, time, 10)
    const completed: string[] = []
    purgatory.park([place()], 1, 500, () => completed.push('late'))
    purgatory.remove(purgatory.park([place()], 1, 100, () => completed.push('forgotten')))
    time.advanceTo(499)
    expect(completed).toEqual([])
    time.advanceTo(500)
    expect(completed).toEqual(['late'])
    expect(time.pendingCount).toBe(0)
  })

  it('are bounded in number', () => {
    const time = new VirtualTime()
    const purgatory = new Purgatory(time, time, 1)
    purgatory.park([place()], 1, 500, () => {})
    expect(() => purgatory.park([place()], 1, 500, () => {})).toThrow(expect.objectContaining({ code: 'BUSY', retriable: true }))
  })
})

describe('a byte budget', () => {
  it('takes what fits, one request always when empty, and says when to come back', () => {
    const time = new VirtualTime()
    const budget = new ByteBudget('test bytes', 100, time)
    expect(budget.fits(500)).toBe(true)
    budget.take(80)
    expect(budget.fits(20)).toBe(true)
    expect(budget.fits(21)).toBe(false)
    const refusal = budget.refuse(21)
    expect(refusal).toMatchObject({ code: 'BUSY', outcome: 'failed', retriable: true })
    expect(refusal.retryAfterMs).toBeGreaterThan(0)
    budget.release(80)
    expect(budget.usedBytes).toBe(0)
  })

  it('warns at 70 %, once, until it was calm again', () => {
    const time = new VirtualTime()
    const warnings: string[] = []
    const log = { debug() {}, info() {}, warn: (event: string) => warnings.push(event), error() {} }
    const budget = new ByteBudget('test bytes', 100, time, log)
    budget.take(69)
    expect(warnings).toEqual([])
    budget.take(1)
    budget.release(10)
    budget.take(10)
    expect(warnings).toEqual(['backpressure.near'])
    budget.release(70)
    budget.take(75)
    expect(warnings).toHaveLength(2)
  })
})

describe('memory of answers', () => {
  it('lets fetches wait in line while a connection, or the node, has too much unsent', () => {
    const node = new ResponseMemory(100)
    const [one, other] = [new ResponseMemory(60, node), new ResponseMemory(60, node)]
    const order: string[] = []
    one.whenRoom(() => order.push('first'))
    one.take(60)
    one.whenRoom(() => order.push('second'))
    other.whenRoom(() => {
      order.push('other')
      other.take(60)
    })
    expect(order).toEqual(['first', 'other'])
    one.release(30)
    expect(order).toEqual(['first', 'other', 'second'])
    one.take(40)
    other.whenRoom(() => order.push('node full'))
    expect(order).toHaveLength(3)
    other.release(60)
    one.release(70)
    expect(order.at(-1)).toBe('node full')
    expect(node.usedBytes).toBe(0)
  })
})
