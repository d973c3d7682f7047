import { describe, expect, it } from 'vitest'
import { readBaseOffset, readLeaderEpoch, readMaxTimestamp } from '../../protocol/batch-header.ts'
import { splitBatches } from '../../protocol/batch-reader.ts'
import { batchOf, configOf, contentOf, createWorld, NOW, openDir, openOrders, PARTITION, put, readWhole } from './support.ts'

const BIG = 'x'.repeat(700)

async function openFresh(config = configOf(), options = {}) {
  const world = createWorld()
  const dir = await openDir(world, options)
  const log = await openOrders(dir, config)
  return { ...world, dir, log }
}

describe('appending', () => {
  it('assigns offsets and the leader epoch in the bytes of the batch, at once', async () => {
    const { log } = await openFresh()
    const first = batchOf(['a', 'b', 'c'])
    const second = batchOf(['d'])
    expect(log.append(first, { leaderEpoch: 7 })).toEqual({ baseOffset: 0, lastOffset: 2, duplicate: false, appendTimeMs: 0 })
    expect(log.append(second, { leaderEpoch: 7 })).toEqual({ baseOffset: 3, lastOffset: 3, duplicate: false, appendTimeMs: 0 })
    expect([readBaseOffset(second), readLeaderEpoch(second)]).toEqual([3, 7])
    expect([log.logEndOffset, log.writtenOffset, log.flushedOffset]).toEqual([4, 0, 0])
    await log.flush()
    expect([log.logEndOffset, log.writtenOffset, log.flushedOffset, log.unwrittenBytes]).toEqual([4, 4, 4, 0])
  })

  it('puts the bytes of the batches back to back into the segment', async () => {
    const { log, files } = await openFresh()
    const batches = [batchOf(['a']), batchOf(['b', 'c'])]
    for (const batch of batches) log.append(batch, { leaderEpoch: 0 })
    await log.flush()
    expect(await readWhole(files, `${PARTITION}/00000000000000000000.log`)).toEqual(Buffer.concat(batches))
  })

  it('takes all appends of a turn with one write and one sync', async () => {
    const { log, files } = await openFresh()
    await put(log, 'first')
    const before = [files.counts.get('write') ?? 0, files.counts.get('datasync') ?? 0]
    for (let i = 0; i < 20; i++) log.append(batchOf(['v']), { leaderEpoch: 0 })
    await log.flush()
    expect([(files.counts.get('write') ?? 0) - (before[0] as number), (files.counts.get('datasync') ?? 0) - (before[1] as number)]).toEqual(
      [1, 1],
    )
  })

  it('tells its listener of every step, written before flushed', async () => {
    const { log } = await openFresh()
    const steps: number[][] = []
    log.setListener({ advanced: () => void steps.push([log.writtenOffset, log.flushedOffset]), undone() {} })
    log.append(batchOf(['a', 'b']), { leaderEpoch: 0 })
    await log.flush()
    expect(steps).toEqual([
      [2, 0],
      [2, 2],
    ])
  })

  it('refuses a batch that is too large, corrupt, or from too far in the future, and appends nothing', async () => {
    const { log } = await openFresh(configOf({ maxMessageBytes: 1024, timestampAfterMaxMs: 1000 }))
    const corrupt = batchOf(['a'])
    corrupt[corrupt.length - 1] = (corrupt.at(-1) as number) ^ 1
    expect(() => log.append(batchOf(['x'.repeat(2000)]), { leaderEpoch: 0 })).toThrow(
      expect.objectContaining({ code: 'RECORD_TOO_LARGE', outcome: 'failed' }),
    )
    expect(() => log.append(corrupt, { leaderEpoch: 0 })).toThrow(expect.objectContaining({ code: 'CORRUPT_BATCH' }))
    expect(() => log.append(batchOf(['a'], { timestampMs: NOW + 1001 }), { leaderEpoch: 0 })).toThrow(
      expect.objectContaining({ code: 'INVALID_TIMESTAMP' }),
    )
    expect(log.logEndOffset).toBe(0)
  })

  it('stamps its own time where the topic says so, and readers see it', async () => {
    const { log, time } = await openFresh(configOf({ timestampType: 'append' }))
    time.nowMs = NOW + 5
    expect(log.append(batchOf(['a'], { timestampMs: 1 }), { leaderEpoch: 0 })).toMatchObject({ appendTimeMs: NOW + 5 })
    await log.flush()
    const [batch] = await log.read(0, 1000, 1)
    expect(readMaxTimestamp(batch as Buffer)).toBe(NOW + 5)
    expect(await contentOf(log)).toEqual([[0, 'a']])
  })

  it('answers a repeated batch of an idempotent producer with the first offsets and appends nothing', async () => {
    const { log } = await openFresh()
    const producer = { id: 9, epoch: 0, baseSequence: 0 }
    await put(log, 'before')
    log.append(batchOf(['a', 'b'], { producer }), { leaderEpoch: 0 })
    expect(log.append(batchOf(['a', 'b'], { producer }), { leaderEpoch: 0 })).toMatchObject({
      baseOffset: 1,
      lastOffset: 2,
      duplicate: true,
    })
    await log.flush()
    expect(log.append(batchOf(['a', 'b'], { producer }), { leaderEpoch: 0 })).toMatchObject({
      baseOffset: 1,
      lastOffset: 2,
      duplicate: true,
    })
    expect(() => log.append(batchOf(['z'], { producer: { ...producer, baseSequence: 5 } }), { leaderEpoch: 0 })).toThrow(
      expect.objectContaining({ code: 'OUT_OF_ORDER_SEQUENCE' }),
    )
    expect(log.logEndOffset).toBe(3)
  })

  it('is refused once the log is closed', async () => {
    const { log, dir } = await openFresh()
    await dir.close()
    expect(() => log.append(batchOf(['a']), { leaderEpoch: 0 })).toThrow(expect.objectContaining({ code: 'SHUTTING_DOWN' }))
  })
})

it('a log that is closed is not trimmed any more: its files may be those of another by now', async () => {
  const { log, dir, time } = await openFresh(configOf({ segmentMs: 1000 }))
  await put(log, 'a')
  await dir.close()
  time.advance(1001)
  await expect(log.applyRetention(1)).rejects.toMatchObject({ code: 'SHUTTING_DOWN' })
  await expect(log.deleteRecordsBefore(1)).rejects.toMatchObject({ code: 'SHUTTING_DOWN' })
})

describe('durability', () => {
  it('replicated: is written at once and synced by the clock', async () => {
    const { log, time, files } = await openFresh(configOf({ durability: 'replicated' }))
    const written = new Promise<void>((resolve) => log.setListener({ advanced: resolve, undone() {} }))
    log.append(batchOf(['a']), { leaderEpoch: 0 })
    await written
    expect([log.writtenOffset, log.flushedOffset, files.counts.get('datasync') ?? 0]).toEqual([1, 0, files.counts.get('datasync') ?? 0])
    const flushed = new Promise<void>((resolve) => log.setListener({ advanced: resolve, undone() {} }))
    time.advance(1000)
    await flushed
    expect(log.flushedOffset).toBe(1)
  })

  it('none: readers get from memory what is not written yet', async () => {
    const { log } = await openFresh(configOf({ durability: 'none' }), { tailCacheBytes: 1 })
    const batch = batchOf(['a'])
    log.append(batch, { leaderEpoch: 0 })
    expect(log.writtenOffset).toBe(0)
    expect(log.readCached(0, 1000, 1)).toEqual([batch])
    expect(await log.offsetForTimestamp(NOW, 1)).toEqual({ offset: 0, timestampMs: NOW })
  })

  it('keeps no timer for logs that nothing is written to', async () => {
    const { log, time, dir } = await openFresh(configOf({ durability: 'replicated' }))
    expect(time.timerCount).toBe(0)
    await put(log, 'a')
    await dir.close()
    expect(time.timerCount).toBe(0)
  })

  it('a stronger setting syncs what is still in the kernel', async () => {
    const { log } = await openFresh(configOf({ durability: 'none' }))
    await new Promise<void>((resolve) => {
      log.setListener({ advanced: resolve, undone() {} })
      log.append(batchOf(['a']), { leaderEpoch: 0 })
    })
    expect(log.flushedOffset).toBe(0)
    const flushed = new Promise<void>((resolve) => log.setListener({ advanced: resolve, undone() {} }))
    log.configure(configOf({ durability: 'fsync' }))
    await flushed
    expect(log.flushedOffset).toBe(1)
  })
})

describe.each([
  ['from disk', 0],
  ['from the tail cache', 1 << 20],
])('reading %s', (_, tailCacheBytes) => {
  async function openFilled() {
    const world = await openFresh(configOf(), { tailCacheBytes })
    for (let i = 0; i < 5; i++) world.log.append(batchOf([`${i}a`, `${i}b`, BIG]), { leaderEpoch: 0 })
    await world.log.flush()
    return world
  }

  it('begins with the batch that holds the offset', async () => {
    const { log } = await openFilled()
    for (const [offset, base] of [
      [0, 0],
      [2, 0],
      [3, 3],
      [4, 3],
      [14, 12],
    ] as const) {
      const [first] = (await log.read(offset, 1, 15)).flatMap(splitBatches)
      expect(readBaseOffset(first as Buffer)).toBe(base)
    }
  })

  it('gives one batch even when it is larger than asked for, and no batch beyond what was asked for', async () => {
    const { log } = await openFilled()
    const sizeBytes = ((await log.read(0, 1, 15))[0] as Buffer).length
    const countFor = async (maxBytes: number): Promise<number> => (await log.read(0, maxBytes, 15)).flatMap(splitBatches).length
    expect(await countFor(1)).toBe(1)
    expect(await countFor(2 * sizeBytes - 1)).toBe(1)
    expect(await countFor(2 * sizeBytes)).toBe(2)
    expect(await countFor(3 * sizeBytes + 1)).toBe(3)
  })

  it('gives no batch that reaches the end offset', async () => {
    const { log } = await openFilled()
    expect((await log.read(0, 1e6, 6)).flatMap(splitBatches).map((batch) => readBaseOffset(batch))).toEqual([0, 3])
    expect((await log.read(0, 1e6, 8)).flatMap(splitBatches).map((batch) => readBaseOffset(batch))).toEqual([0, 3])
    expect(await log.read(4, 1e6, 5)).toEqual([])
    expect(await log.read(6, 1e6, 6)).toEqual([])
  })

  it('is empty at the end and refused outside of the log', async () => {
    const { log } = await openFilled()
    expect(await log.read(15, 100, 15)).toEqual([])
    await expect(log.read(16, 100, 20)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' })
    await log.deleteRecordsBefore(4)
    await expect(log.read(3, 100, 15)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' })
    expect((await log.read(4, 1, 15)).length).toBe(1)
  })
})

describe('rolling', () => {
  it('begins a new segment when the next batch would not fit, named by its first offset', async () => {
    const { log, files } = await openFresh()
    for (let i = 0; i < 12; i++) await put(log, BIG)
    const names = (await files.list(PARTITION)).filter((name) => name.endsWith('.log')).sort()
    expect(names).toEqual(['00000000000000000000.log', '00000000000000000005.log', '00000000000000000010.log'])
    expect((await contentOf(log)).map(([offset]) => offset)).toEqual(Array.from({ length: 12 }, (_, i) => i))
  })

  it('rolls in the middle of what one turn appended', async () => {
    const { log } = await openFresh()
    for (let i = 0; i < 12; i++) log.append(batchOf([BIG]), { leaderEpoch: 0 })
    await log.flush()
    expect(log.describe()).toMatchObject({ segmentCount: 3, logEndOffset: 12, flushedOffset: 12 })
    expect(await contentOf(log)).toHaveLength(12)
  })

  it('lets a batch larger than a segment have one of its own', async () => {
    const { log } = await openFresh()
    for (const value of ['small', 'x'.repeat(9000), 'small']) await put(log, value)
    expect(log.describe().segmentCount).toBe(3)
    expect((await contentOf(log)).map(([, value]) => value.length)).toEqual([5, 9000, 5])
  })

  it('rolls by age, counted from the first batch, also over a restart', async () => {
    const world = await openFresh(configOf({ segmentMs: 1000 }))
    await put(world.log, 'a')
    world.time.nowMs += 600
    await put(world.log, 'b')
    await world.dir.close()
    const log = await openOrders(await openDir(world), configOf({ segmentMs: 1000 }))
    world.time.nowMs += 401
    await put(log, 'c')
    expect(log.describe().segmentCount).toBe(2)
  })

  it('writes the old segment, its indexes and the producers before it begins the next', async () => {
    const { log, files } = await openFresh()
    for (let i = 0; i < 6; i++) await put(log, BIG, { producer: { id: 1, epoch: 0, baseSequence: i } })
    expect((await files.list(PARTITION)).sort()).toEqual([
      '00000000000000000000.index',
      '00000000000000000000.log',
      '00000000000000000000.timeindex',
      '00000000000000000005.log',
      '00000000000000000005.snapshot',
      'checkpoint.json',
      'leader-epoch-checkpoint',
      'partition.json',
    ])
  })
})

describe('a checkpoint', () => {
  it('syncs what there is to sync: no index without entries, no leader epochs that are as they were', async () => {
    const { log, files } = await openFresh()
    const syncs = async (leaderEpoch: number): Promise<(number | undefined)[]> => {
      log.append(batchOf(['v']), { leaderEpoch })
      await log.flush()
      const count = (): number[] => [files.counts.get('datasync') ?? 0, files.counts.get('syncDirectory') ?? 0]
      const before = count()
      await log.checkpoint()
      return count().map((after, at) => after - (before[at] ?? 0))
    }
    const [timeIndex, snapshot, epochs, checkpoint] = [1, 1, 1, 1]
    expect(await syncs(0)).toEqual([timeIndex + snapshot + epochs + checkpoint, 2])
    expect(await syncs(0)).toEqual([timeIndex + snapshot + checkpoint, 2])
    expect(await syncs(1)).toEqual([timeIndex + snapshot + epochs + checkpoint, 2])
    expect(String(await readWhole(files, `${PARTITION}/leader-epoch-checkpoint`))).toMatch(/^1\n2\n0 0\n1 2\ncrc \d+\n$/)
  })
})

describe('times', () => {
  async function openTimed() {
    const world = await openFresh()
    // Three records per batch, 10 ms apart; every third batch is late.
    for (let i = 0; i < 30; i++)
      world.log.append(batchOf([`${i}a`, `${i}b`, BIG], { timestampMs: NOW + (i % 3 === 2 ? i - 2 : i) * 10 }), { leaderEpoch: 0 })
    await world.log.flush()
    return world
  }

  it('finds the first record that is as young as asked for, exactly', async () => {
    const { log } = await openTimed()
    expect(await log.offsetForTimestamp(0, 90)).toEqual({ offset: 0, timestampMs: NOW })
    expect(await log.offsetForTimestamp(NOW + 1, 90)).toEqual({ offset: 1, timestampMs: NOW + 1 })
    expect(await log.offsetForTimestamp(NOW + 3, 90)).toEqual({ offset: 3, timestampMs: NOW + 10 })
    expect(await log.offsetForTimestamp(NOW + 275, 90)).toEqual({ offset: 84, timestampMs: NOW + 280 })
    expect(await log.offsetForTimestamp(NOW + 283, 90)).toBeUndefined()
    expect(await log.offsetForTimestamp(NOW + 280, 84)).toBeUndefined()
  })

  it('agrees with a look at every record', async () => {
    const { log } = await openTimed()
    const times = Array.from({ length: 90 }, (_, offset) => {
      const i = Math.floor(offset / 3)
      return NOW + (i % 3 === 2 ? i - 2 : i) * 10 + (offset % 3)
    })
    for (let ms = NOW - 1; ms < NOW + 300; ms += 3) {
      const offset = times.findIndex((time) => time >= ms)
      expect(await log.offsetForTimestamp(ms, 90)).toEqual(offset < 0 ? undefined : { offset, timestampMs: times[offset] })
    }
  })

  it('finds the record with the largest timestamp, also when the largest of all is not visible', async () => {
    const { log } = await openTimed()
    expect(await log.offsetOfMaxTimestamp(90)).toEqual({ offset: 86, timestampMs: NOW + 282 })
    expect(await log.offsetOfMaxTimestamp(81)).toEqual({ offset: 77, timestampMs: NOW + 252 })
    expect(await log.offsetOfMaxTimestamp(0)).toBeUndefined()
  })
})

describe('deleting records', () => {
  it('moves the log start, removes whole segments, and holds after a restart', async () => {
    const world = await openFresh()
    for (let i = 0; i < 12; i++) await put(world.log, BIG)
    expect(await world.log.deleteRecordsBefore(7)).toBe(7)
    expect(world.log.describe()).toMatchObject({ logStartOffset: 7, segmentCount: 2 })
    expect((await contentOf(world.log)).map(([offset]) => offset)).toEqual([7, 8, 9, 10, 11])
    expect(await world.log.deleteRecordsBefore(3)).toBe(7)
    await world.dir.close()
    const log = await openOrders(await openDir(world))
    expect(log.describe()).toMatchObject({ logStartOffset: 7, logEndOffset: 12, segmentCount: 2 })
  })

  it('may empty the log, and appending goes on where it was', async () => {
    const world = await openFresh()
    for (let i = 0; i < 7; i++) await put(world.log, BIG)
    expect(await world.log.deleteRecordsBefore(99)).toBe(7)
    expect(world.log.describe()).toMatchObject({ logStartOffset: 7, logEndOffset: 7 })
    await world.dir.close()
    const log = await openOrders(await openDir(world))
    expect(await put(log, 'next')).toBe(7)
    expect(await contentOf(log)).toEqual([[7, 'next']])
  })

  it('keeps the files of removed segments for a while under another name', async () => {
    const { log, files, time } = await openFresh(configOf({ fileDeleteDelayMs: 1000 }))
    for (let i = 0; i < 6; i++) await put(log, BIG)
    await log.deleteRecordsBefore(5)
    expect((await files.list(PARTITION)).filter((name) => name.endsWith('.deleted'))).toHaveLength(3)
    time.advance(1000)
    await new Promise(setImmediate)
    expect((await files.list(PARTITION)).filter((name) => name.endsWith('.deleted'))).toEqual([])
  })
})

describe('retention', () => {
  it('removes segments whose youngest record is too old, the active one included, and nothing above the high watermark', async () => {
    const { log, time } = await openFresh(configOf({ retentionMs: 1000 }))
    for (let i = 0; i < 12; i++) await put(log, BIG, { timestampMs: NOW + i * 100 })
    time.nowMs = NOW + 400 + 1001
    expect(await log.applyRetention(12)).toBe(1)
    expect(log.logStartOffset).toBe(5)
    time.nowMs += 10_000
    expect(await log.applyRetention(9)).toBe(0)
    expect(await log.applyRetention(11)).toBe(1)
    expect(await log.applyRetention(12)).toBe(1)
    expect(log.describe()).toMatchObject({ logStartOffset: 12, logEndOffset: 12, sizeBytes: 0 })
    expect(await put(log, 'next')).toBe(12)
  })

  it('removes the oldest segments while the partition is larger than it may be', async () => {
    const { log } = await openFresh(configOf({ retentionBytes: 8000 }))
    for (let i = 0; i < 22; i++) await put(log, BIG)
    expect(log.describe().segmentCount).toBe(5)
    expect(await log.applyRetention(22)).toBe(2)
    expect(log.describe().sizeBytes).toBeGreaterThanOrEqual(8000)
    expect(await log.applyRetention(22)).toBe(0)
  })

  it('rolls a segment that is old enough, though nothing is appended', async () => {
    const { log, time } = await openFresh(configOf({ segmentMs: 1000 }))
    await put(log, 'a')
    time.nowMs += 1001
    expect(await log.applyRetention(1)).toBe(0)
    expect(log.describe().segmentCount).toBe(2)
  })

  it('does nothing to a log that was never written to', async () => {
    const { log } = await openFresh()
    expect(await log.applyRetention(0)).toBe(0)
  })
})
