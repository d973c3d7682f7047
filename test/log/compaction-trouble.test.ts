/** What meets compaction on its way: damage, retention, failing disks, readers. */
import { describe, expect, it } from 'vitest'
import { readLastOffset } from '../../protocol/batch-header.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'
import { compact, compactedConfig, putAll, putKeyed, recordsOf, roll, textsOf } from './compaction-support.ts'
import { contentOf, createWorld, flipBit, openDir, openOrders, overwrite, PARTITION, put, readWhole, type TestWorld } from './support.ts'

const BIG = 'x'.repeat(250)

async function openFresh(config = compactedConfig(), world: TestWorld = createWorld()) {
  const dir = await openDir(world)
  const log = await openOrders(dir, config)
  return { world, dir, log }
}

const namesIn = async (world: TestWorld): Promise<string[]> => (await world.files.list(PARTITION)).filter((name) => /^\d/.test(name)).sort()

describe('what meets compaction on its way', () => {
  it('damage stops it, is reported, and stays where it is', async () => {
    const { log, world } = await openFresh(compactedConfig({ segmentBytes: 300 }))
    await putAll(log, `a=${BIG}`, `a=${BIG}`, `b=${BIG}`, `a=${BIG}`)
    await roll(log, world)
    const before = await namesIn(world)
    await flipBit(world.files, `${PARTITION}/00000000000000000002.log`, 200)
    await expect(compact(log, world)).rejects.toMatchObject({
      code: 'CORRUPT_LOG',
      message: expect.stringMatching(/00000000000000000002\.log at byte 0: the checksum/),
    })
    expect(log.compactor.failure).toMatchObject({ code: 'CORRUPT_LOG' })
    expect(await log.compactor.need(4)).toBeUndefined()
    expect((await namesIn(world)).filter((name) => name.endsWith('.log'))).toEqual(before.filter((name) => name.endsWith('.log')))
    expect((await namesIn(world)).filter((name) => name.endsWith('.cleaned'))).toEqual([])
  })

  it('retention that removes what is being compacted ends the pass, and the next one is whole', async () => {
    const { log, world } = await openFresh()
    for (let n = 0; n < 20; n++) await putKeyed(log, [[`k${n % 3}`, `${n}${BIG}`]])
    await roll(log, world)
    const [outcome] = await Promise.allSettled([compact(log, world), log.deleteRecordsBefore(9)])
    if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'CANCELLED' })
    await compact(log, world)
    expect((await recordsOf(log)).map(({ offset }) => offset)).toEqual([17, 18, 19])
  })

  it('a log that is closed or deleted meanwhile ends it, with no file left open or behind', async () => {
    for (const end of ['close', 'delete'] as const) {
      const { log, world, dir } = await openFresh()
      for (let n = 0; n < 20; n++) await putKeyed(log, [[`k${n % 3}`, `${n}${BIG}`]])
      await roll(log, world)
      const compacting = compact(log, world)
      const ended = end === 'close' ? dir.close() : dir.deleteLog('orders', 0)
      await expect(compacting).rejects.toMatchObject({ code: 'CANCELLED' })
      await ended
      await dir.close()
      expect(world.files.openHandleCount).toBe(0)
      if (end === 'close') expect((await namesIn(world)).filter((name) => name.endsWith('.cleaned'))).toEqual([])
    }
  })

  it('a disk without room for the copy keeps the log as it is', async () => {
    const { log, world } = await openFresh()
    for (let n = 0; n < 20; n++) await putKeyed(log, [[`k${n % 3}`, `${n}${BIG}`]])
    await roll(log, world)
    const before = await textsOf(log)
    world.files.capacityBytes = world.files.usedBytes + 300
    await expect(compact(log, world)).rejects.toMatchObject({ code: 'DISK_FULL' })
    world.files.capacityBytes = world.files.usedBytes + 100_000
    world.files.inject({ operation: 'write', code: 'ENOSPC', pathEnd: '.cleaned', tornBytes: 100 })
    await expect(compact(log, world)).rejects.toMatchObject({ code: 'DISK_FULL' })
    world.files.inject({ operation: 'write', code: 'ENOSPC', pathEnd: 'checkpoint.json.tmp' })
    await expect(compact(log, world)).rejects.toMatchObject({ code: 'DISK_FULL' })
    expect(await textsOf(log)).toEqual(before)
    expect((await namesIn(world)).filter((name) => name.endsWith('.cleaned'))).toEqual([])
    await compact(log, world)
    expect((await recordsOf(log)).map(({ offset }) => offset)).toEqual([17, 18, 19])
  })

  it.each([
    ['write', '.cleaned'],
    ['datasync', '.cleaned'],
    ['rename', '.cleaned'],
    ['datasync', 'checkpoint.json.tmp'],
    ['syncDirectory', PARTITION],
  ] as const)('a disk that fails (%s %s) takes the directory out of service, and nothing is lost', async (operation, pathEnd) => {
    const { log, world } = await openFresh()
    for (let n = 0; n < 20; n++) await putKeyed(log, [[`k${n % 3}`, `${n}${BIG}`]])
    await roll(log, world)
    world.files.inject({ operation, code: 'EIO', pathEnd })
    await expect(compact(log, world)).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
    const next = createWorld(world.files.kill(), world.time)
    const again = await openOrders(await openDir(next), compactedConfig())
    expect((await recordsOf(again)).map(({ offset }) => offset)).toEqual(expect.arrayContaining([17, 18, 19]))
    await putAll(again, 'k9=')
    await roll(again, next)
    await compact(again, next)
    expect((await recordsOf(again)).map(({ offset }) => offset)).toEqual([17, 18, 19, 20])
  })

  it('readers go on, whatever of the log they hold', async () => {
    let isSlow = false
    const files = new MemoryFiles({
      pause: async (operation) => {
        if (isSlow && (operation === 'read' || operation === 'open')) for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate)
      },
    })
    const world = createWorld(files)
    // So few that they are opened again and again.
    const log = await openOrders(await openDir(world, { openFilesMax: 2 }), compactedConfig())
    for (let n = 0; n < 40; n++) await putKeyed(log, [[`k${n % 3}`, `${n}${BIG}`]])
    await roll(log, world)
    isSlow = true
    const reading = Array.from({ length: 8 }, async (_, reader) => {
      for (let count = 0; count < 25; count++) {
        const offset = (reader * 5 + count * 7) % 40
        const [batches] = await Promise.all([log.read(offset, 500, 40), log.offsetForTimestamp(0, 40)])
        expect(readLastOffset(batches[0] as Buffer)).toBeGreaterThanOrEqual(offset)
      }
    })
    await Promise.all([compact(log, world), ...reading])
    expect((await recordsOf(log)).map(({ offset }) => offset)).toEqual([37, 38, 39])
  })
})

describe('a log with gaps', () => {
  it('that is cut is compacted again from there on', async () => {
    const { log, world, dir } = await openFresh()
    for (const text of ['a=1', 'b=1', 'a=2', 'c=1', 'b=2']) await putAll(log, text)
    await roll(log, world)
    await compact(log, world)
    const { log: cut } = await dir.truncateLog(log, 4)
    expect(cut.logEndOffset).toBe(4)
    await putAll(cut, 'a=3', 'c=2', 'd=1')
    await roll(cut, world)
    await compact(cut, world)
    expect(await textsOf(cut)).toEqual(['4 a=3', '5 c=2', '6 d=1'])
  })

  it('is read right though its indexes are of another log', async () => {
    const { log, world, dir } = await openFresh(compactedConfig({ segmentBytes: 4096 }))
    for (let n = 0; n < 24; n++) await putKeyed(log, [[`k${n < 8 || n % 5 === 0 ? n : 'x'}`, `${n}`]])
    await roll(log, world)
    await compact(log, world)
    const expected = await recordsOf(log)
    expect(expected.map(({ offset }) => offset)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 10, 15, 20, 23])
    await dir.close()
    const index = `${PARTITION}/00000000000000000000.1.index`
    const content = await readWhole(world.files, index)
    // Offsets a little smaller than they are: each entry leads too far.
    for (let at = 0; at < content.length; at += 8) content.writeInt32BE(Math.max(at / 8, content.readInt32BE(at) - 3), at)
    await overwrite(world.files, index, content)
    const again = await openFresh(compactedConfig(), world)
    for (let offset = 0; offset < 24; offset++)
      expect((await recordsOf(again.log, offset))[0]).toEqual(expected.find((record) => record.offset >= offset))
  })
})

describe('a log that is not compacted', () => {
  it.each([
    ['first', 0, 6],
    ['last of a segment, which is read along with those before', 2, 7],
  ])('has no gaps, and one that appears is damage: at the %s', async (_which, at, byte) => {
    const world = createWorld()
    const dir = await openDir(world)
    const log = await openOrders(dir, compactedConfig({ cleanupPolicy: 'delete', segmentBytes: 4096 }))
    for (let n = 0; n < 3; n++) await put(log, `${n}${BIG}`)
    expect(await log.compactor.need(3)).toBeUndefined()
    await roll(log, world)
    for (let n = 3; n < 6; n++) await put(log, `${n}${BIG}`)
    await dir.close()
    // The offset of a batch lies outside its checksum.
    const path = `${PARTITION}/00000000000000000000.log`
    const { length } = await readWhole(world.files, path)
    await flipBit(world.files, path, (length / 3) * at + byte)
    const again = await openOrders(await openDir(world), compactedConfig({ cleanupPolicy: 'delete' }))
    await expect(contentOf(again, 0)).rejects.toMatchObject({ code: 'CORRUPT_LOG' })
  })
})
