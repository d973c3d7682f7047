import { describe, expect, it } from 'vitest'
import { CompactionLoop } from '../../broker/compaction-loop.ts'
import { CompactionCounters } from '../../broker/counters.ts'
import type { Partition } from '../../broker/partition.ts'
import type { DataDir } from '../../log/data-dir.ts'
import { compactedConfig, putKeyed, recordsOf, roll } from '../log/compaction-support.ts'
import { createWorld, flipBit, openDir, type TestWorld } from '../log/support.ts'

const BIG = 'x'.repeat(250)
const CONFIG = { compactionCheckMs: 1000, limits: { compactionMemoryBytes: 1 << 20, compactionBytesPerSecond: 0 } }

/** A partition as the loop sees it: `keyCount` keys, each written `times` times. */
async function partitionOf(world: TestWorld, dir: DataDir, topic: string, keyCount: number, times: number, changes = {}) {
  const config = compactedConfig({ minCleanableDirtyRatio: 0.1, ...changes })
  const log = await dir.openLog({ topic, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partition: 0, config })
  const partition = {
    topic,
    partition: 0,
    config,
    log,
    isChanging: false,
    isLeader: true,
    get highWatermark() {
      return log.flushedOffset
    },
    get replicatedBelow() {
      return log.flushedOffset
    },
    async write() {
      for (let n = 0; n < keyCount * times; n++) await putKeyed(log, [[`k${n % keyCount}`, BIG]])
      await roll(log, world)
    },
  }
  await partition.write()
  return partition
}

function loopOver(world: TestWorld, partitions: readonly object[]): { loop: CompactionLoop; counters: CompactionCounters } {
  const counters = new CompactionCounters()
  const loop = new CompactionLoop({ all: () => partitions as Partition[] }, counters, world.runtime, CONFIG)
  return { loop, counters }
}

const compactedIn = (world: TestWorld): string[] =>
  world.lines
    .filter(({ event }) => event === 'log.compacted')
    .map(({ fields }) => (fields as { directory: string }).directory.slice(-3, -2))

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise(setImmediate)
}

describe('the compaction loop', () => {
  it('compacts one log after the other, the dirtiest first, and none that need it not', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    const a = await partitionOf(world, dir, 'a', 2, 5)
    const b = await partitionOf(world, dir, 'b', 4, 5)
    const c = await partitionOf(world, dir, 'c', 2, 5, { cleanupPolicy: 'delete' })
    const { loop, counters } = loopOver(world, [a, b, c])
    world.time.advance(1000)
    await until(() => counters.runCount === 2)
    // Now a is all but clean, and b has four times as much that is new.
    await putKeyed(a.log, [['k0', BIG]])
    await putKeyed(a.log, [['k0', BIG]])
    await roll(a.log, world)
    await b.write()
    world.lines.length = 0
    world.time.advance(1000)
    await until(() => counters.runCount === 4)
    expect(compactedIn(world)).toEqual(['b', 'a'])
    expect((await recordsOf(a.log)).map(({ offset }) => offset)).toEqual([9, 11])
    expect((await recordsOf(c.log)).length).toBe(10)
    expect(counters).toMatchObject({ failedCount: 0, runCount: 4 })
    expect(counters.readBytes).toBeGreaterThan(counters.writtenBytes)
    await loop.close()
  })

  it('reports what fails, has damage seen to, and goes on with the others', async () => {
    const world = createWorld()
    const damaged: string[] = []
    const dir = await openDir(world, { damaged: ({ topic }) => void damaged.push(topic) })
    const a = await partitionOf(world, dir, 'a', 2, 5)
    const b = await partitionOf(world, dir, 'b', 2, 5)
    await flipBit(world.files, '/data/topics/a-0/00000000000000000000.log', 200)
    const { loop, counters } = loopOver(world, [a, b])
    world.time.advance(1000)
    await until(() => counters.runCount === 1)
    expect(counters.failedCount).toBe(1)
    expect(world.lines).toContainEqual({
      level: 'error',
      event: 'compaction.failed',
      fields: { topic: 'a', partition: 0, code: 'CORRUPT_LOG', error: expect.stringContaining('checksum') },
    })
    expect(damaged).toEqual(['a'])
    expect(compactedIn(world)).toEqual(['b'])
    // Once is enough.
    world.time.advance(1000)
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
    expect(counters.failedCount).toBe(1)
    await loop.close()
  })

  it('ends what is under way when it is closed', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    const a = await partitionOf(world, dir, 'a', 2, 20)
    const { loop, counters } = loopOver(world, [a])
    world.time.advance(1000)
    await new Promise(setImmediate)
    await loop.close()
    expect(counters).toMatchObject({ runCount: 0, failedCount: 0 })
    expect(compactedIn(world)).toEqual([])
    await dir.close()
    expect(world.files.openHandleCount).toBe(0)
  })
})
