import { describe, expect, it } from 'vitest'
import { verifyPartition } from '../../log/verify.ts'
import { codecOf, readAttributes, readBatchHeader, readLastOffset, readRecordCount, renewChecksum } from '../../protocol/batch-header.ts'
import { readDeleteHorizon } from '../../protocol/batch-rewrite.ts'
import { COMPRESSIONS } from '../../protocol/compression.ts'
import { batchesOf, compact, compactedConfig, keyedBatch, putAll, putKeyed, recordsOf, roll, textsOf } from './compaction-support.ts'
import { crashed, createWorld, openDir, openOrders, PARTITION, type TestWorld } from './support.ts'

const BIG = 'x'.repeat(250)

async function openFresh(config = compactedConfig(), world: TestWorld = createWorld()) {
  const dir = await openDir(world)
  const log = await openOrders(dir, config)
  return { world, dir, log }
}

/** A log with these records, each in a batch, all sealed. */
async function filled(...texts: readonly string[]) {
  const opened = await openFresh()
  await putAll(opened.log, ...texts)
  await roll(opened.log, opened.world)
  return opened
}

const namesIn = async (world: TestWorld): Promise<string[]> => (await world.files.list(PARTITION)).filter((name) => /^\d/.test(name)).sort()

describe('compaction', () => {
  it('keeps the newest record of each key, at its offset, and everything in the active segment', async () => {
    const { log, world } = await filled('a=1', 'b=1', 'a=2', 'c=1', 'b=2')
    await putAll(log, 'a=3', 'a=4')
    await compact(log, world)
    expect(await textsOf(log)).toEqual(['2 a=2', '3 c=1', '4 b=2', '5 a=3', '6 a=4'])
    expect(log.logEndOffset).toBe(7)
    const { findings } = await verifyPartition(world.files, PARTITION)
    expect(findings.filter(({ severity }) => severity === 'damage')).toEqual([])
  })

  it('finds the next record for an offset that is gone, by offset and by time', async () => {
    const { log, world } = await openFresh()
    for (let n = 0; n < 8; n++) await putKeyed(log, [[n === 4 ? 'x' : 'a', `${n}`]], { timestampMs: 1000 * n })
    await roll(log, world)
    await compact(log, world)
    expect(await textsOf(log)).toEqual(['4 x=4', '7 a=7'])
    for (let offset = 0; offset < 8; offset++) expect((await recordsOf(log, offset))[0]?.offset).toBe(offset <= 4 ? 4 : 7)
    expect(await log.offsetForTimestamp(3000, 8)).toEqual({ offset: 4, timestampMs: 4000 })
    expect(await log.offsetForTimestamp(4001, 8)).toEqual({ offset: 7, timestampMs: 7000 })
    expect(await log.offsetOfMaxTimestamp(8)).toEqual({ offset: 7, timestampMs: 7000 })
    expect(await log.offsetForTimestamp(7001, 8)).toBeUndefined()
  })

  it('keeps records of a batch in their places, with times, headers and producer', async () => {
    const { log, world } = await openFresh()
    const producer = { id: 9, epoch: 1, baseSequence: 0 }
    await putKeyed(
      log,
      [
        ['a', '1'],
        ['b', '1'],
        ['c', '1'],
        ['d', '1'],
      ],
      { timestampMs: 500, producer },
    )
    await putKeyed(
      log,
      [
        ['b', '2'],
        ['d', '2'],
      ],
      { timestampMs: 900, producer: { ...producer, baseSequence: 4 } },
    )
    await roll(log, world)
    await compact(log, world)
    const [first] = await batchesOf(log)
    expect(readBatchHeader(first as Buffer)).toMatchObject({
      baseOffset: 0,
      lastOffset: 3,
      recordCount: 2,
      baseTimestamp: 500,
      maxTimestamp: 502,
      producerId: 9,
      producerEpoch: 1,
      baseSequence: 0,
    })
    expect((await recordsOf(log)).map(({ offset, key, timestampMs }) => [offset, key, timestampMs])).toEqual([
      [0, 'a', 500],
      [2, 'c', 502],
      [4, 'b', 900],
      [5, 'd', 901],
    ])
  })

  it.each(COMPRESSIONS)('leaves batches compressed with %s compressed so', async (compression) => {
    const { log, world } = await openFresh()
    for (let n = 0; n < 4; n++)
      await putKeyed(
        log,
        [
          ['a', `${n}${BIG}`],
          [`k${n}`, BIG],
        ],
        { compression },
      )
    await roll(log, world)
    const before = await recordsOf(log)
    await compact(log, world)
    const newest = before.filter(({ key, offset }) => !before.some((other) => other.key === key && other.offset > offset))
    expect(await recordsOf(log)).toEqual(newest)
    for (const batch of await batchesOf(log))
      if (readRecordCount(batch) > 0) expect(COMPRESSIONS[codecOf(readAttributes(batch))]).toBe(compression)
  })

  it('keeps records that have no key, from when the topic was not compacted', async () => {
    const { log, world } = await openFresh(compactedConfig({ cleanupPolicy: 'delete' }))
    await putKeyed(log, [
      [null, 'free'],
      ['a', '1'],
    ])
    await putKeyed(log, [
      ['a', '2'],
      [null, 'also free'],
    ])
    log.configure(compactedConfig())
    await roll(log, world)
    await compact(log, world)
    expect(await textsOf(log)).toEqual(['0 =free', '2 a=2', '3 =also free'])
  })

  it('touches nothing at or above the high watermark, nor what is younger than the lag', async () => {
    const { log, world } = await openFresh(compactedConfig({ segmentBytes: 300, minCompactionLagMs: 5000 }))
    const start = world.time.nowMs
    for (let n = 0; n < 12; n++) await putKeyed(log, [['a', `${n}${BIG}`]], { timestampMs: start + n * 1000 })
    await compact(log, world, { highWatermark: 6 })
    const offsets = async (): Promise<number[]> => (await recordsOf(log)).map(({ offset }) => offset)
    expect(await offsets()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    world.time.advance(9500)
    await compact(log, world, { highWatermark: 3 })
    expect(await offsets()).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    await compact(log, world)
    expect(await offsets()).toEqual([4, 5, 6, 7, 8, 9, 10, 11])
  })

  it('merges what is left of small segments into larger ones', async () => {
    const { log, world } = await openFresh()
    for (let n = 0; n < 30; n++) await putKeyed(log, [[`k${n % 4}`, `${n}${'x'.repeat(100)}`]])
    await roll(log, world)
    const before = log.describe()
    await compact(log, world)
    await compact(log, world)
    const after = log.describe()
    expect([before.segmentCount, after.segmentCount]).toEqual([11, 3])
    expect(after.sizeBytes).toBeLessThan(before.sizeBytes / 5)
    expect((await recordsOf(log)).map(({ offset }) => offset)).toEqual([26, 27, 28, 29])
  })

  it('leaves a segment alone in which nothing is superseded', async () => {
    const { log, world } = await openFresh(compactedConfig({ segmentBytes: 300 }))
    await putAll(log, `a=${BIG}`, `b=${BIG}`, `c=${BIG}`, `c=${BIG}`, `c=${BIG}`)
    await roll(log, world)
    await compact(log, world)
    expect((await namesIn(world)).filter((name) => name.endsWith('.log'))).toEqual([
      '00000000000000000000.log',
      '00000000000000000001.log',
      '00000000000000000004.log',
      '00000000000000000005.log',
    ])
    expect(await textsOf(log)).toEqual([`0 a=${BIG}`, `1 b=${BIG}`, `4 c=${BIG}`])
  })

  it('works through several passes when the keys do not fit into memory, within that memory', async () => {
    const { log, world } = await openFresh(compactedConfig({ segmentBytes: 4096 }))
    for (let round = 0; round < 3; round++)
      for (let n = 0; n < 100; n += 4)
        await putKeyed(
          log,
          [0, 1, 2, 3].map((more) => [`key ${n + more}`, `${round}`] as const),
        )
    await roll(log, world)
    const counts = await compact(log, world, { memoryBytes: 30 * 24 })
    expect(counts.passCount).toBeGreaterThan(10)
    expect((await recordsOf(log)).map(({ offset, value }) => [offset, value])).toEqual(
      Array.from({ length: 100 }, (_, n) => [200 + n, '2']),
    )
  })

  it('goes on where it ended: only what was written since is looked through for newer keys', async () => {
    const { log, world, dir } = await filled('a=1', 'b=1', 'a=2')
    await compact(log, world)
    expect(await log.compactor.need(log.flushedOffset)).toBeUndefined()
    await dir.close()
    const again = await openFresh(compactedConfig(), world)
    expect(await again.log.compactor.need(3)).toBeUndefined()
    await putAll(again.log, 'b=2')
    await roll(again.log, world)
    expect(await again.log.compactor.need(4)).toBeGreaterThan(0)
    await compact(again.log, world)
    expect(await textsOf(again.log)).toEqual(['2 a=2', '3 b=2'])
  })
})

describe('what has to stay of batches without records', () => {
  it('is the last one, so that the log ends where it did', async () => {
    const { log, world } = await openFresh()
    await putKeyed(log, [['a', '1']])
    await putKeyed(log, [['a', null]])
    await roll(log, world)
    await compact(log, world)
    world.time.advance(60_001)
    await compact(log, world)
    expect(await recordsOf(log)).toEqual([])
    expect((await batchesOf(log)).map((batch) => readLastOffset(batch)).at(-1)).toBe(1)
    const again = await openOrders(await openDir(crashed(world)), compactedConfig())
    expect(again.logEndOffset).toBe(2)
    expect((await batchesOf(again)).length).toBeGreaterThan(0)
  })

  it('is what a producer may send again: sequences are known after everything was read from the log anew', async () => {
    const { log, world, dir } = await openFresh()
    const batchAt = (n: number): Promise<Buffer> => keyedBatch([['a', `${n}`]], { producer: { id: 5, epoch: 0, baseSequence: n } })
    for (let n = 0; n < 9; n++) log.append(await batchAt(n), { leaderEpoch: 0 })
    await log.flush()
    await roll(log, world)
    await compact(log, world)
    expect((await recordsOf(log)).map(({ offset }) => offset)).toEqual([8])
    await dir.close()
    for (const name of await world.files.list(PARTITION)) if (name.endsWith('.snapshot')) await world.files.remove(`${PARTITION}/${name}`)
    const again = await openFresh(compactedConfig(), world)
    for (let n = 4; n < 9; n++)
      expect(again.log.append(await batchAt(n), { leaderEpoch: 0 })).toMatchObject({ duplicate: true, baseOffset: n, lastOffset: n })
    expect(again.log.append(await batchAt(9), { leaderEpoch: 0 })).toMatchObject({ duplicate: false, baseOffset: 9 })
  })

  it('is the first of each leader epoch, so that logs still part where they did', async () => {
    const { log, world, dir } = await openFresh()
    for (const epoch of [1, 1, 1, 4, 4, 6, 6, 6]) log.append(await keyedBatch([['a', `${epoch}`]]), { leaderEpoch: epoch })
    await log.flush()
    await roll(log, world)
    const before = log.leaderEpochs.entries
    await compact(log, world)
    expect((await recordsOf(log)).map(({ offset }) => offset)).toEqual([7])
    await dir.close()
    await world.files.remove(`${PARTITION}/leader-epoch-checkpoint`)
    const again = await openFresh(compactedConfig(), world)
    expect(again.log.leaderEpochs.entries).toEqual(before)
    expect(before).toHaveLength(3)
  })
})

describe('a record without a value', () => {
  it('deletes its key, stays for delete.retention.ms from its first compaction on, and then goes', async () => {
    const { log, world } = await filled('a=1', 'b=1', 'a', 'c=1')
    await compact(log, world)
    const horizonMs = world.time.nowMs + 60_000
    expect(await textsOf(log)).toEqual(['1 b=1', '2 a', '3 c=1'])
    expect((await batchesOf(log)).map(readDeleteHorizon)).toContain(horizonMs)
    expect((await recordsOf(log)).map(({ timestampMs }) => timestampMs)).toEqual(Array.from({ length: 3 }, () => 1_800_000_000_000))
    world.time.advance(59_999)
    expect(await log.compactor.need(4)).toBeUndefined()
    world.time.advance(1)
    expect(await log.compactor.need(4)).toBe(0)
    await compact(log, world)
    expect(await textsOf(log)).toEqual(['1 b=1', '3 c=1'])
    expect(await log.compactor.need(4)).toBeUndefined()
  })

  it('is no longer needed when the key comes back', async () => {
    const { log, world } = await filled('a=1', 'a', 'a=2')
    await compact(log, world)
    expect(await textsOf(log)).toEqual(['2 a=2'])
  })

  it('outlives what it deletes, even where memory for one key makes each record a pass', async () => {
    const { log, world } = await filled('a=1', 'b=1', 'c=1', 'b', 'a', 'd=1')
    log.configure(compactedConfig({ deleteRetentionMs: 0 }))
    await compact(log, world, { memoryBytes: 48 })
    expect(await textsOf(log)).not.toContain('0 a=1')
    expect(await textsOf(log)).not.toContain('1 b=1')
    world.time.advance(1)
    await compact(log, world, { memoryBytes: 48 })
    expect(await textsOf(log)).toEqual(['2 c=1', '5 d=1'])
  })

  it('keeps its time when its batch is compressed or loses other records', async () => {
    const { log, world } = await openFresh()
    await putKeyed(
      log,
      [
        ['a', '1'],
        ['gone', null],
        ['b', '1'],
      ],
      { compression: 'gzip', timestampMs: 777 },
    )
    await roll(log, world)
    await compact(log, world)
    const horizonMs = world.time.nowMs + 60_000
    await putAll(log, 'a=2', 'z=1')
    await roll(log, world)
    world.time.advance(10)
    await compact(log, world)
    const tombstone = (await batchesOf(log)).find((batch) => readDeleteHorizon(batch) !== undefined) as Buffer
    expect(readDeleteHorizon(tombstone)).toBe(horizonMs)
    const left = (await recordsOf(log)).filter(({ timestampMs }) => timestampMs < 1000)
    expect(left.map(({ key, timestampMs }) => [key, timestampMs])).toEqual([
      ['gone', 778],
      ['b', 779],
    ])
  })
})

describe('a compacted topic', () => {
  it('refuses records without a key, and says why', async () => {
    const { log } = await openFresh()
    const batch = await keyedBatch([
      ['a', '1'],
      [null, '2'],
    ])
    expect(() => log.append(batch, { leaderEpoch: 0 })).toThrow(expect.objectContaining({ code: 'INVALID_RECORD', outcome: 'failed' }))
    expect(log.logEndOffset).toBe(0)
  })

  it('refuses them in compressed batches too', async () => {
    const { log } = await openFresh()
    const keyless = await keyedBatch(
      [
        ['a', '1'],
        [null, '2'],
      ],
      { compression: 'lz4' },
    )
    const sound = await keyedBatch([['a', '1']], { compression: 'lz4' })
    expect(() => log.append(keyless, { leaderEpoch: 0 })).toThrow(expect.objectContaining({ code: 'INVALID_RECORD' }))
    expect(log.append(sound, { leaderEpoch: 0 })).toMatchObject({ baseOffset: 0 })
  })

  it('refuses what only claims to be compressed', async () => {
    const { log } = await openFresh()
    const batch = await keyedBatch([['a', BIG]], { compression: 'gzip' })
    const lies = Buffer.from(batch)
    lies.writeInt32BE(9, 57)
    lies.writeInt32BE(8, 23)
    renewChecksum(lies, 0)
    expect(() => log.append(lies, { leaderEpoch: 0 })).toThrow(expect.objectContaining({ code: 'CORRUPT_BATCH' }))
  })

  it('with policy compact loses nothing by age or size, with delete,compact it does', async () => {
    const { log, world } = await openFresh(compactedConfig({ retentionMs: 1000, retentionBytes: 400 }))
    for (let n = 0; n < 6; n++) await putKeyed(log, [[`k${n}`, BIG]])
    world.time.advance(10_000)
    expect(await log.applyRetention(6)).toBe(0)
    log.configure(compactedConfig({ retentionMs: 1000, retentionBytes: 400, cleanupPolicy: 'delete,compact' }))
    expect(await log.applyRetention(6)).toBeGreaterThan(0)
  })

  it('is compacted when enough of it is dirty, or has been for too long', async () => {
    const { log, world } = await openFresh(compactedConfig({ minCleanableDirtyRatio: 0.5, segmentBytes: 300 }))
    for (let n = 0; n < 8; n++) await putKeyed(log, [[`k${n}`, BIG]], { timestampMs: world.time.nowMs })
    await roll(log, world)
    expect(await log.compactor.need(8)).toBe(1)
    await compact(log, world)
    await putKeyed(log, [['k0', BIG]], { timestampMs: world.time.nowMs })
    await roll(log, world)
    expect(await log.compactor.need(9)).toBeUndefined()
    log.configure(compactedConfig({ minCleanableDirtyRatio: 0.5, maxCompactionLagMs: 5000 }))
    world.time.advance(-log.config.segmentMs)
    expect(await log.compactor.need(9)).toBeUndefined()
    world.time.advance(log.config.segmentMs + 5001)
    expect(await log.compactor.need(9)).toBeGreaterThan(0)
  })

  it('closes its active segment when the lag says so', async () => {
    const { log, world } = await openFresh(compactedConfig({ maxCompactionLagMs: 5000 }))
    await putAll(log, 'a=1')
    world.time.advance(5001)
    await log.applyRetention(1)
    expect(log.describe().segmentCount).toBe(2)
  })
})
