/** What a leader knows of a follower, and the window of appends to it. Titles begin with the names of etcd's suite. */
import { describe, expect, it } from 'vitest'
import { Inflights } from '../../../controller/raft/inflights.ts'
import { Progress } from '../../../controller/raft/progress.ts'

const NO_LIMIT = Number.POSITIVE_INFINITY

function progressOf(match: number, next: number, window = new Inflights(256, NO_LIMIT)): Progress {
  return new Progress(match, next, false, window)
}

describe('R-core the progress of a follower', () => {
  it('ProgressIsPaused: a probe under way, a full window, a snapshot', () => {
    const probing = progressOf(0, 1)
    expect(probing.isPaused).toBe(false)
    probing.sent(1, 10)
    expect(probing.isPaused, 'a probe is on its way').toBe(true)
    const replicating = progressOf(0, 1, new Inflights(2, NO_LIMIT))
    replicating.becomeReplicate()
    replicating.sent(1, 10)
    expect(replicating.isPaused).toBe(false)
    replicating.sent(1, 10)
    expect(replicating.isPaused, 'the window is full').toBe(true)
    const waiting = progressOf(0, 1)
    waiting.becomeSnapshot(10)
    expect(waiting.isPaused, 'a snapshot is on its way').toBe(true)
  })

  it('ProgressResume: an answer ends a pause, whether it brings news or a refusal', () => {
    const accepted = progressOf(0, 2)
    accepted.sent(1, 10)
    accepted.update(1)
    expect(accepted.isPaused).toBe(false)
    const refused = progressOf(0, 2)
    refused.sent(1, 10)
    refused.refuse(1, 0)
    expect(refused.isPaused).toBe(false)
  })

  it('ProgressBecomeProbe: behind what is known, or behind the snapshot that arrived', () => {
    const replicating = progressOf(1, 5)
    replicating.becomeReplicate()
    replicating.sent(3, 10)
    replicating.becomeProbe()
    expect([replicating.state, replicating.match, replicating.next, replicating.inflights.count]).toEqual(['probe', 1, 2, 0])
    const arrived = progressOf(1, 5)
    arrived.becomeSnapshot(10)
    arrived.becomeProbe()
    expect([arrived.match, arrived.next, arrived.pendingSnapshot]).toEqual([1, 11, 0])
    const lost = progressOf(1, 5)
    lost.becomeSnapshot(10)
    lost.pendingSnapshot = 0
    lost.becomeProbe()
    expect([lost.match, lost.next]).toEqual([1, 2])
  })

  it('ProgressBecomeReplicate, ProgressBecomeSnapshot: what goes out next follows on what is there', () => {
    const progress = progressOf(1, 5)
    progress.becomeReplicate()
    expect([progress.state, progress.match, progress.next]).toEqual(['replicate', 1, 2])
    progress.becomeSnapshot(10)
    expect([progress.state, progress.match, progress.next, progress.pendingSnapshot]).toEqual(['snapshot', 1, 11, 10])
  })

  it('ProgressUpdate: an older acknowledgement is no news and takes nothing back', () => {
    for (const [index, match, next, isNews] of [
      [2, 3, 5, false],
      [3, 3, 5, false],
      [4, 4, 5, true],
      [5, 5, 6, true],
    ] as const) {
      const progress = progressOf(3, 5)
      expect(progress.update(index)).toBe(isNews)
      expect([progress.match, progress.next], `${index}`).toEqual([match, next])
    }
  })

  it('ProgressMaybeDecr: a refusal that is out of date is ignored, and none goes below what is there', () => {
    for (const [state, match, next, refused, hint, isTaken, nextAfter] of [
      // Replicating: everything up to the match is there, whatever an old refusal says.
      ['replicate', 5, 10, 5, 5, false, 10],
      ['replicate', 5, 10, 4, 4, false, 10],
      ['replicate', 5, 10, 9, 9, true, 6],
      // Probing: only of the probe that is on its way.
      ['probe', 0, 0, 0, 0, false, 0],
      ['probe', 0, 10, 5, 5, false, 10],
      ['probe', 0, 10, 9, 9, true, 9],
      ['probe', 0, 2, 1, 1, true, 1],
      ['probe', 0, 1, 0, 0, true, 1],
      ['probe', 0, 10, 9, 2, true, 3],
      ['probe', 0, 10, 9, 0, true, 1],
      ['probe', 4, 10, 9, 2, true, 5],
    ] as const) {
      const progress = progressOf(match, next)
      progress.state = state
      const what = `${state} ${match} ${next}: ${refused} refused, ${hint} proposed`
      expect(progress.refuse(refused, hint), what).toBe(isTaken)
      expect([progress.match, progress.next], what).toEqual([match, nextAfter])
    }
  })
})

describe('R-core the window of appends', () => {
  const filled = (count: number, max = count): Inflights => {
    const window = new Inflights(max, NO_LIMIT)
    for (let index = 1; index <= count; index++) window.add(index, 100)
    return window
  }

  it('InflightsAdd, InflightsFull: full by count, or by bytes, of which one append may have more', () => {
    const byCount = new Inflights(3, NO_LIMIT)
    for (let index = 1; index <= 3; index++) {
      expect(byCount.isFull).toBe(false)
      byCount.add(index, 100)
    }
    expect([byCount.count, byCount.isFull]).toEqual([3, true])
    const byBytes = new Inflights(100, 250)
    for (const index of [1, 2, 3]) {
      expect(byBytes.isFull).toBe(false)
      byBytes.add(index, 100)
    }
    expect(byBytes.isFull).toBe(true)
    const byOne = new Inflights(100, 250)
    byOne.add(1, 10_000)
    expect(byOne.isFull).toBe(true)
  })

  it('InflightsFreeTo: all that went out up to an entry, none when it is older than all', () => {
    for (const [index, left] of [
      [0, 10],
      [1, 9],
      [5, 5],
      [8, 2],
      [10, 0],
      [15, 0],
    ] as const) {
      const window = filled(10)
      window.freeUpTo(index)
      expect(window.count, `up to ${index}`).toBe(left)
      expect(window.isFull).toBe(left === 10)
    }
    const byBytes = new Inflights(100, 250)
    for (const index of [1, 2, 3]) byBytes.add(index, 100)
    byBytes.freeUpTo(1)
    expect(byBytes.isFull, 'bytes are free again').toBe(false)
    byBytes.freeFirst()
    expect(byBytes.count).toBe(1)
    byBytes.freeFirst()
    byBytes.freeFirst()
    expect(byBytes.count).toBe(0)
  })

  it('InflightsReset: empty, of bytes too', () => {
    const window = new Inflights(3, 250)
    for (const index of [1, 2, 3]) window.add(index, 100)
    window.reset()
    expect([window.count, window.isFull]).toEqual([0, false])
    window.add(4, 249)
    expect(window.isFull).toBe(false)
  })
})
