/** What a replica does that follows: takes batches as they are, cuts off what its leader has not, begins anew. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { DataDir } from '../../log/data-dir.ts'
import type { PartitionLog } from '../../log/partition-log.ts'
import { patchBatch, readBaseOffset, renewChecksum } from '../../protocol/batch-header.ts'
import { AT } from '../../protocol/batch-layout.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'
import { recordsOf } from './compaction-support.ts'
import { batchOf, coin, configOf, contentOf, crashed, createWorld, openDir, openOrders, TOPIC_ID, type TestWorld } from './support.ts'

const SMALL = configOf({ segmentBytes: 400, indexIntervalBytes: 64 })

/** A batch of one record as the leader has it. */
function replica(offset: number, epoch: number, value = `${epoch}:${offset}`): Buffer {
  const batch = batchOf([value])
  patchBatch(batch, 0, offset, epoch)
  return batch
}

async function follow(log: PartitionLog, from: number, to: number, epoch: number): Promise<void> {
  for (let offset = from; offset < to; offset++) log.appendAsFollower(replica(offset, epoch), epoch)
  await log.flush()
}

async function valuesOf(log: PartitionLog): Promise<string[]> {
  return (await contentOf(log)).map(([, value]) => value)
}

async function open(dir: DataDir): Promise<PartitionLog> {
  return openOrders(dir, SMALL)
}

describe('a log that follows', () => {
  it('takes batches with the offsets and epochs they have', async () => {
    const log = await open(await openDir(createWorld()))
    await follow(log, 0, 5, 2)
    await follow(log, 5, 8, 4)
    expect(log.leaderEpochs.entries).toEqual([
      { epoch: 2, startOffset: 0 },
      { epoch: 4, startOffset: 5 },
    ])
    expect([1, 2, 3, 4, 9].map((epoch) => log.epochEnd(epoch))).toEqual([
      { epoch: -1, endOffset: 0 },
      { epoch: 2, endOffset: 5 },
      { epoch: 2, endOffset: 5 },
      { epoch: 4, endOffset: 8 },
      { epoch: 4, endOffset: 8 },
    ])
  })

  it('refuses a batch that does not follow, is of an older epoch or was changed on the way', async () => {
    const log = await open(await openDir(createWorld()))
    await follow(log, 0, 3, 2)
    expect(() => log.appendAsFollower(replica(4, 2), 9)).toThrow(expect.objectContaining({ code: 'OFFSET_OUT_OF_RANGE' }))
    expect(() => log.appendAsFollower(replica(2, 2), 9)).toThrow(expect.objectContaining({ code: 'OFFSET_OUT_OF_RANGE' }))
    expect(() => log.appendAsFollower(replica(3, 1), 9)).toThrow(expect.objectContaining({ code: 'OFFSET_OUT_OF_RANGE' }))
    const flipped = replica(3, 2)
    flipped[flipped.length - 2] = (flipped.at(-2) as number) ^ 4
    expect(() => log.appendAsFollower(flipped, 9)).toThrow(expect.objectContaining({ code: 'CORRUPT_BATCH' }))
    expect(log.logEndOffset).toBe(3)
  })

  it('remembers the producers of what it took, and forgets them with what it cuts off', async () => {
    const dir = await openDir(createWorld())
    const log = await open(dir)
    for (const sequence of [0, 1, 2]) {
      const batch = batchOf([`n${sequence}`], { producer: { id: 7, epoch: 0, baseSequence: sequence } })
      patchBatch(batch, 0, sequence, 1)
      log.appendAsFollower(batch, 9)
    }
    await log.flush()
    const { log: cut } = await dir.truncateLog(log, 2)
    expect(cut.append(batchOf(['n1'], { producer: { id: 7, epoch: 0, baseSequence: 1 } }), { leaderEpoch: 2 })).toMatchObject({
      duplicate: true,
      baseOffset: 1,
    })
    expect(cut.append(batchOf(['n2'], { producer: { id: 7, epoch: 0, baseSequence: 2 } }), { leaderEpoch: 2 })).toMatchObject({
      duplicate: false,
      baseOffset: 2,
    })
  })

  it('begins anew at another offset', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    const log = await open(dir)
    await follow(log, 0, 10, 1)
    const anew = await dir.resetLog({ topic: 'orders', topicId: TOPIC_ID, partition: 0, config: SMALL }, 100)
    expect([anew.logStartOffset, anew.logEndOffset]).toEqual([100, 100])
    await follow(anew, 100, 103, 3)
    const again = await open(await openDir(crashed(world)))
    expect(await valuesOf(again)).toEqual(['3:100', '3:101', '3:102'])
  })

  it('takes a batch behind a gap only where the log of its leader has gaps', async () => {
    const log = await open(await openDir(createWorld()))
    await follow(log, 0, 3, 2)
    const isRefused = expect.objectContaining({ code: 'OFFSET_OUT_OF_RANGE' })
    expect(() => log.appendAsFollower(replica(6, 2), 9)).toThrow(isRefused)
    expect(() => log.appendAsFollower(replica(6, 2), 9, 5)).toThrow(isRefused)
    expect(() => log.appendAsFollower(replica(2, 2), 9, 9)).toThrow(isRefused)
    log.appendAsFollower(replica(6, 2), 9, 6)
    expect(log.logEndOffset).toBe(7)
    await log.flush()
    expect((await recordsOf(log)).map(({ offset }) => offset)).toEqual([0, 1, 2, 6])
  })

  it('refuses a batch whose offsets end beyond the last one, or before they begin', async () => {
    const log = await open(await openDir(createWorld()))
    await follow(log, 0, 3, 2)
    const isRefused = expect.objectContaining({ code: 'CORRUPT_BATCH' })
    expect(() => log.appendAsFollower(replica(Number.MAX_SAFE_INTEGER, 2), 9, Number.MAX_SAFE_INTEGER)).toThrow(isRefused)
    const backwards = replica(3, 2)
    backwards.writeInt32BE(-1, AT.lastOffsetDelta)
    renewChecksum(backwards, 0)
    expect(() => log.appendAsFollower(backwards, 9)).toThrow(isRefused)
    expect(log.logEndOffset).toBe(3)
  })

  it('has its gaps after a crash, wherever that comes', async () => {
    for (let calls = 0; calls < 40; calls++) {
      let left = Number.POSITIVE_INFINITY
      const power = Promise.withResolvers<TestWorld>()
      const world: TestWorld = createWorld(
        new MemoryFiles({
          pause: async () => {
            if (left-- === 0) power.resolve(crashed(world, coin(calls + 3)))
          },
        }),
      )
      const log = await open(await openDir(world))
      await follow(log, 0, 3, 2)
      left = calls
      const offsets = [0, 1, 2, 7, 8, 20, 21, 22, 50]
      let durable = 3
      log.setListener({ advanced: () => (durable = log.flushedOffset), undone() {} })
      for (const offset of offsets.slice(3)) log.appendAsFollower(replica(offset, 2), 9, 50)
      const survivor = await Promise.race([power.promise, log.flush().then(() => crashed(world))])
      const durableThen = durable
      const again = await open(await openDir(survivor))
      const found = (await recordsOf(again)).map(({ offset }) => offset)
      expect(found).toEqual(offsets.slice(0, found.length))
      expect(again.logEndOffset).toBeGreaterThanOrEqual(durableThen)
      again.appendAsFollower(replica(90, 2), 9, 90)
      await again.flush()
    }
  })

  it('spans gaps wider than a segment can, from its beginning on', async () => {
    const world = createWorld()
    const log = await open(await openDir(world))
    const offsets = [5e9, 5e9 + 1, 5e9 + 2 ** 31 + 7, 9e12, 9e12 + 1]
    for (const offset of offsets) {
      log.appendAsFollower(replica(offset, 1), 9, 9e12)
      await log.flush()
    }
    const found = async (one: PartitionLog): Promise<number[]> => (await recordsOf(one)).map(({ offset }) => offset)
    expect(await found(log)).toEqual(offsets)
    expect((await recordsOf(log, 5e9 + 2))[0]?.offset).toBe(5e9 + 2 ** 31 + 7)
    const dir = await openDir(crashed(world))
    const again = await open(dir)
    expect(await found(again)).toEqual(offsets)
    expect(await again.deleteRecordsBefore(6e9)).toBe(6e9)
    expect(await found(again)).toEqual(offsets.slice(2))
    const { log: cut } = await dir.truncateLog(again, 8e12)
    expect(await found(cut)).toEqual([5e9 + 2 ** 31 + 7])
    cut.appendAsFollower(replica(cut.logEndOffset, 2), 9, 0)
    await cut.flush()
    expect(cut.logEndOffset).toBe(5e9 + 2 ** 31 + 9)
  })

  it('is cut in front of everything it has', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    const log = await open(dir)
    for (const offset of [5e9, 9e12]) {
      log.appendAsFollower(replica(offset, 1), 9, 9e12)
      await log.flush()
    }
    const { log: empty } = await dir.truncateLog(log, 100)
    expect([empty.logStartOffset, empty.logEndOffset]).toEqual([0, 100])
    await follow(empty, 100, 102, 2)
    const again = await open(await openDir(crashed(world)))
    expect((await recordsOf(again)).map(({ offset, value }) => [offset, value])).toEqual([
      [100, '2:100'],
      [101, '2:101'],
    ])
  })

  it('gives up an empty segment that was begun behind a gap, when the gap was not to be', async () => {
    const world = createWorld()
    const log = await open(await openDir(world))
    await follow(log, 0, 2, 1)
    world.files.inject({ operation: 'write', code: 'ENOSPC', pathEnd: '.log' })
    log.appendAsFollower(replica(5e9, 1), 9, 5e9)
    await expect(log.flush()).rejects.toMatchObject({ code: 'DISK_FULL' })
    expect(log.logEndOffset).toBe(2)
    // The next leader has never had the gap.
    world.time.advance(2000)
    for (let tries = 0; tries < 50 && log.logEndOffset === 2; tries++) {
      await new Promise(setImmediate)
      try {
        log.appendAsFollower(replica(2, 3), 9)
      } catch {
        // Still looking whether there is room again.
      }
    }
    await log.flush()
    expect(await valuesOf(log)).toEqual(['1:0', '1:1', '3:2'])
    expect(await valuesOf(await open(await openDir(crashed(world))))).toEqual(['1:0', '1:1', '3:2'])
  })

  it('is cut within a gap, even one it begins with', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    const log = await open(dir)
    for (const offset of [10, 11, 30, 31]) log.appendAsFollower(replica(offset, 1), 9, 31)
    await log.flush()
    const { log: shorter } = await dir.truncateLog(log, 20)
    expect([shorter.logEndOffset, (await recordsOf(shorter)).map(({ offset }) => offset)]).toEqual([12, [10, 11]])
    const { log: empty } = await dir.truncateLog(shorter, 5)
    // Nothing lay between 0 and 10.
    expect([empty.logStartOffset, empty.logEndOffset]).toEqual([0, 0])
    empty.appendAsFollower(replica(5, 3), 9, 9)
    empty.appendAsFollower(replica(9, 3), 9, 9)
    await empty.flush()
    const again = await open(await openDir(crashed(world)))
    expect((await recordsOf(again)).map(({ offset }) => offset)).toEqual([5, 9])
  })

  it('is cut anywhere, across segments, goes on from there and comes back the same after a crash', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 40 }), fc.nat(45), fc.nat(45), fc.boolean(), async (count, first, second, isCrash) => {
        const world = createWorld()
        const dir = await openDir(world)
        let log = await open(dir)
        let expected: string[] = []
        const extend = async (to: number, epoch: number): Promise<void> => {
          const from = expected.length
          await follow(log, from, to, epoch)
          for (let offset = from; offset < to; offset++) expected.push(`${epoch}:${offset}`)
        }
        await extend(count, 1)
        log = (await dir.truncateLog(log, first)).log
        expected = expected.slice(0, first)
        expect(log.logEndOffset).toBe(expected.length)
        expect(await valuesOf(log)).toEqual(expected)
        await extend(expected.length + 10, 3)
        log = (await dir.truncateLog(log, second)).log
        expected = expected.slice(0, second)
        expect(await valuesOf(log)).toEqual(expected)
        expect(log.leaderEpochs.latest).toBe(Number(expected.at(-1)?.split(':')[0] ?? -1))
        if (!isCrash) await dir.close()
        const again = await open(await openDir(isCrash ? crashed(world) : world))
        expect(await valuesOf(again)).toEqual(expected)
        expect(again.leaderEpochs.entries).toEqual(log.leaderEpochs.entries)
      }),
      { numRuns: 60 },
    )
  })

  it('opens after a crash at any step of being cut, with nothing gone but from the end', async () => {
    for (let step = 0; step < 60; step++) {
      let calls: number | undefined
      let survivor: MemoryFiles | undefined
      const power = Promise.withResolvers<void>()
      const files: MemoryFiles = new MemoryFiles({
        pause: async () => {
          if (calls === undefined || calls++ !== step) return
          survivor = files.crash()
          power.resolve()
        },
      })
      const world = createWorld(files)
      const dir = await openDir(world)
      const log = await open(dir)
      await follow(log, 0, 30, 1)
      calls = 0
      // After the crash nothing more comes of it.
      await Promise.race([dir.truncateLog(log, 4).catch(() => {}), power.promise])
      const again = await open(await openDir(createWorld(survivor ?? files.crash())))
      const values = await valuesOf(again)
      expect(values.length).toBeGreaterThanOrEqual(4)
      expect(values).toEqual(values.map((_, offset) => `1:${offset}`))
      expect(readBaseOffset(replica(again.logEndOffset, 1))).toBe(values.length)
    }
  })
})
