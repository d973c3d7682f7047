/** What a replica does that follows: takes batches as they are, cuts off what its leader has not, begins anew. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { DataDir } from '../../log/data-dir.ts'
import type { PartitionLog } from '../../log/partition-log.ts'
import { patchBatch, readBaseOffset } from '../../protocol/batch-header.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'
import { batchOf, configOf, contentOf, crashed, createWorld, openDir, openOrders, TOPIC_ID } from './support.ts'

const SMALL = configOf({ segmentBytes: 400, indexIntervalBytes: 64 })

/** A batch of one record as the leader has it. */
function replica(offset: number, epoch: number, value = `${epoch}:${offset}`): Buffer {
  const batch = batchOf([value])
  patchBatch(batch, 0, offset, epoch)
  return batch
}

async function follow(log: PartitionLog, from: number, to: number, epoch: number): Promise<void> {
  for (let offset = from; offset < to; offset++) log.appendAsFollower(replica(offset, epoch))
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
    expect(() => log.appendAsFollower(replica(4, 2))).toThrow(expect.objectContaining({ code: 'OFFSET_OUT_OF_RANGE' }))
    expect(() => log.appendAsFollower(replica(2, 2))).toThrow(expect.objectContaining({ code: 'OFFSET_OUT_OF_RANGE' }))
    expect(() => log.appendAsFollower(replica(3, 1))).toThrow(expect.objectContaining({ code: 'OFFSET_OUT_OF_RANGE' }))
    const flipped = replica(3, 2)
    flipped[flipped.length - 2] = (flipped.at(-2) as number) ^ 4
    expect(() => log.appendAsFollower(flipped)).toThrow(expect.objectContaining({ code: 'CORRUPT_BATCH' }))
    expect(log.logEndOffset).toBe(3)
  })

  it('remembers the producers of what it took, and forgets them with what it cuts off', async () => {
    const dir = await openDir(createWorld())
    const log = await open(dir)
    for (const sequence of [0, 1, 2]) {
      const batch = batchOf([`n${sequence}`], { producer: { id: 7, epoch: 0, baseSequence: sequence } })
      patchBatch(batch, 0, sequence, 1)
      log.appendAsFollower(batch)
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
