import { describe, expect, it } from 'vitest'
import type { StoredOffset } from '../../../broker/groups/group-state.ts'
import { lagOf } from '../../../broker/groups/lag.ts'

const NOW_MS = 1_000_000

function stored(offset: number, progressTimeMs = NOW_MS - 500): StoredOffset {
  return { offset, leaderEpoch: -1, metadata: '', commitTimeMs: NOW_MS, progressTimeMs, metadataVersion: 1, topic: 'orders' }
}

function at(logStartOffset: number, highWatermark: number, timestampMs?: number) {
  return { logStartOffset, highWatermark, found: timestampMs === undefined ? undefined : { offset: 0, timestampMs } }
}

describe('the lag of a group', () => {
  it('is nothing at the end of a partition, however long nothing has come', () => {
    expect(lagOf(stored(10, 5), at(0, 10), NOW_MS)).toMatchObject({ lagRecords: 0, lagMs: 0, noProgressMs: 0 })
  })

  it('is what is left to read, and as old as the oldest of it', () => {
    expect(lagOf(stored(4), at(0, 10, NOW_MS - 3000), NOW_MS)).toMatchObject({ lagRecords: 6, lagMs: 3000, noProgressMs: 500 })
  })

  it('does not count time without progress in which there was nothing to read', () => {
    expect(lagOf(stored(4, 5), at(0, 10, NOW_MS - 3000), NOW_MS).noProgressMs).toBe(3000)
  })

  it('counts from the log start where nothing was committed, or what was is deleted by now', () => {
    expect(lagOf(undefined, at(3, 10, NOW_MS - 3000), NOW_MS)).toMatchObject({ lagRecords: 7, lagMs: 3000, noProgressMs: 3000 })
    expect(lagOf(stored(1), at(3, 10, NOW_MS - 3000), NOW_MS).lagRecords).toBe(7)
  })

  it('is never less than nothing, with an offset behind the end or a clock that is ahead', () => {
    expect(lagOf(stored(12), at(0, 10), NOW_MS)).toMatchObject({ lagRecords: 0, lagMs: 0 })
    expect(lagOf(stored(4), at(0, 10, NOW_MS + 9000), NOW_MS)).toMatchObject({ lagRecords: 6, lagMs: 0, noProgressMs: 0 })
  })
})
