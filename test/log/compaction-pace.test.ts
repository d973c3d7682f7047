import { describe, expect, it } from 'vitest'
import { CompactionPace } from '../../log/compaction-pace.ts'
import { createWorld } from './support.ts'

const running = new AbortController().signal

describe('the pace of compaction', () => {
  it('lets so many bytes a second pass, and no more', async () => {
    const { runtime, time } = createWorld()
    const pace = new CompactionPace(runtime, 1000)
    const startMs = time.nowMs
    for (let spent = 0; spent < 5000; spent += 100) {
      const wait = pace.spend(100, running)
      while (time.timerCount > 0) time.advance(10)
      await wait
    }
    expect(time.nowMs - startMs).toBeGreaterThanOrEqual(4900)
    expect(time.nowMs - startMs).toBeLessThanOrEqual(5100)
  })

  it('does not save up what was not used', async () => {
    const { runtime, time } = createWorld()
    const pace = new CompactionPace(runtime, 1000)
    time.advance(60_000)
    const wait = pace.spend(1000, running)
    time.advance(999)
    expect(time.timerCount).toBe(1)
    time.advance(1)
    await wait
  })

  it('with 0 waits for nothing', async () => {
    const { runtime, time } = createWorld()
    await new CompactionPace(runtime, 0).spend(1e12, running)
    expect(time.timerCount).toBe(0)
  })

  it('says when others should have their turn, and gives it to them', async () => {
    const { runtime, time } = createWorld()
    const pace = new CompactionPace(runtime, 0)
    await pace.pause(running)
    expect(pace.isTurnOver).toBe(false)
    time.advance(2)
    expect(pace.isTurnOver).toBe(true)
    let hadTurn = false
    setImmediate(() => {
      hadTurn = true
    })
    await pace.pause(running)
    expect([hadTurn, pace.isTurnOver]).toEqual([true, false])
  })

  it('ends a wait at once, with its timer, when it is told to stop', async () => {
    const { runtime, time } = createWorld()
    const stop = new AbortController()
    const wait = new CompactionPace(runtime, 1).spend(1000, stop.signal)
    expect(time.timerCount).toBe(1)
    stop.abort(new Error('stopped'))
    await expect(wait).rejects.toThrow('stopped')
    expect(time.timerCount).toBe(0)
  })
})
