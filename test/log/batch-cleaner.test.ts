import { describe, expect, it } from 'vitest'
import { cleanBatch, type CleaningRules } from '../../log/batch-cleaner.ts'
import { CompactionPace } from '../../log/compaction-pace.ts'
import { KeyOffsets } from '../../log/key-offsets.ts'
import { patchBatch, readAttributes, renewChecksum } from '../../protocol/batch-header.ts'
import { AT } from '../../protocol/batch-layout.ts'
import { readRecords } from '../../protocol/batch-reader.ts'
import { readDeleteHorizon } from '../../protocol/batch-rewrite.ts'
import { type KeyedRecord, keyedBatch } from './compaction-support.ts'
import { createWorld, NOW } from './support.ts'

const { runtime } = createWorld()

function rulesOf(newest: Readonly<Record<string, number>>, changes: Partial<CleaningRules> = {}): CleaningRules {
  const keys = new KeyOffsets(100, 1 << 20, runtime.random)
  for (const [key, offset] of Object.entries(newest)) keys.note(Buffer.from(key), 0, key.length, offset)
  return {
    keys,
    endOffset: 1000,
    tombstonesStayFrom: 1000,
    nowMs: NOW,
    deleteRetentionMs: 500,
    pace: new CompactionPace(runtime, 0),
    signal: new AbortController().signal,
    isNeeded: () => false,
    ...changes,
  }
}

const countsOf = () => ({ removedCount: 0, tombstonesUntilMs: 0, unreadableCount: 0 })

async function batchAt(offset: number, ...records: readonly KeyedRecord[]): Promise<Buffer> {
  const batch = await keyedBatch(records)
  patchBatch(batch, 0, offset, 1)
  return batch
}

describe('cleaning a batch', () => {
  it('gives back the batch itself when all of it stays, and nothing when nothing does', async () => {
    const batch = await batchAt(10, ['a', '1'], ['b', '1'])
    expect(await cleanBatch(batch, rulesOf({ a: 10, c: 40 }), countsOf())).toBe(batch)
    const counts = countsOf()
    expect(await cleanBatch(batch, rulesOf({ a: 12, b: 13 }), counts)).toBeUndefined()
    expect(counts.removedCount).toBe(2)
    expect(await cleanBatch(batch, rulesOf({ a: 12, b: 13 }, { isNeeded: () => true }), countsOf())).toHaveLength(61)
  })

  it('takes nothing at or beyond the end, and gives a tombstone there no time yet', async () => {
    const batch = await batchAt(10, ['a', '1'], ['b', '1'], ['a', null])
    const cleaned = (await cleanBatch(batch, rulesOf({ a: 11 }, { endOffset: 12 }), countsOf())) as Buffer
    expect((await readRecords(cleaned)).map(({ offset }) => offset)).toEqual([11, 12])
    expect(readDeleteHorizon(cleaned)).toBeUndefined()
    const later = (await cleanBatch(cleaned, rulesOf({ a: 12 }, { endOffset: 13 }), countsOf())) as Buffer
    expect(readDeleteHorizon(later)).toBe(NOW + 500)
    expect((await readRecords(later)).map(({ timestampMs }) => timestampMs)).toEqual([NOW + 1, NOW + 2])
  })

  it('says until when tombstones stay, and takes them from then on', async () => {
    const batch = await batchAt(10, ['a', null], ['b', '1'])
    const counts = countsOf()
    const marked = (await cleanBatch(batch, rulesOf({}), counts)) as Buffer
    expect(counts).toEqual({ removedCount: 0, tombstonesUntilMs: NOW + 500, unreadableCount: 0 })
    expect(await cleanBatch(marked, rulesOf({}, { nowMs: NOW + 499 }), counts)).toBe(marked)
    const cleaned = (await cleanBatch(marked, rulesOf({}, { nowMs: NOW + 500 }), counts)) as Buffer
    expect((await readRecords(cleaned)).map(({ offset, timestampMs }) => [offset, timestampMs])).toEqual([[11, NOW + 1]])
  })

  it('leaves tombstones that not every replica has, and looks again later', async () => {
    const batch = await batchAt(10, ['a', null], ['b', '1'], ['c', null])
    const marked = (await cleanBatch(batch, rulesOf({}), countsOf())) as Buffer
    const counts = countsOf()
    const cleaned = (await cleanBatch(marked, rulesOf({}, { nowMs: NOW + 500, tombstonesStayFrom: 12 }), counts)) as Buffer
    expect((await readRecords(cleaned)).map(({ offset }) => offset)).toEqual([11, 12])
    expect(counts.tombstonesUntilMs).toBe(NOW + 500 + 60_000)
  })

  it('leaves what nobody can read, and what is not records at all', async () => {
    const lies = await batchAt(10, ['a', '1'])
    lies.writeInt16BE(readAttributes(lies) | 3, AT.attributes)
    renewChecksum(lies, 0)
    const counts = countsOf()
    expect(await cleanBatch(lies, rulesOf({ a: 90 }), counts)).toBe(lies)
    expect(counts.unreadableCount).toBe(1)
    const control = await batchAt(10, ['a', '1'])
    control.writeInt16BE(0x20, AT.attributes)
    renewChecksum(control, 0)
    expect(await cleanBatch(control, rulesOf({ a: 90 }), countsOf())).toBe(control)
  })
})
