import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { DataDir } from '../../log/data-dir.ts'
import { nodeRuntime } from '../../runtime/node.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'
import {
  batchOf,
  configOf,
  contentOf,
  createWorld,
  crashed,
  DATA,
  openDir,
  openOrders,
  overwrite,
  PARTITION,
  put,
  readWhole,
  TOPIC_ID,
} from './support.ts'

const CLUSTER = 'CCCCCCCCCCCCCCCCCCCCCC'

describe('a data directory', () => {
  it('is new without an identity, and keeps the one it is given and the cluster it joins', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    expect([dir.owner.identity, dir.owner.wasCleanShutdown]).toEqual([undefined, false])
    const claimed = await dir.owner.claim(1)
    expect(claimed).toEqual({ clusterId: '', nodeId: 1, directoryId: expect.stringMatching(/^[\w-]{22}$/), starts: 1, imageOf: '' })
    const again = await openDir(crashed(world))
    expect(await again.owner.claim(1)).toEqual({ ...claimed, starts: 2 })
    await again.owner.joinCluster(CLUSTER)
    const joined = await openDir(crashed(world))
    await joined.owner.claim(1)
    await joined.owner.joinCluster(CLUSTER)
    expect(joined.owner.identity).toEqual({ ...claimed, clusterId: CLUSTER, starts: expect.any(Number) })
  })

  it('K24 counts its starts, each before anybody hears of it, and becomes another one when it is found to be older than it should be', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    const { directoryId } = await dir.owner.claim(1)
    const starts: number[] = []
    let after = crashed(world)
    for (let start = 0; start < 3; start++) {
      starts.push((await (await openDir(after)).owner.claim(1)).starts)
      after = crashed(after)
    }
    expect(starts).toEqual([2, 3, 4])
    const old = await openDir(after)
    await old.owner.claim(1)
    // Chance begins anew with each of these worlds.
    after.runtime.random.bytes(1)
    await old.owner.renew()
    const renewed = await (await openDir(crashed(after))).owner.claim(1)
    expect(renewed).toMatchObject({ nodeId: 1, imageOf: directoryId, starts: 6 })
    expect(renewed.directoryId).not.toBe(directoryId)
  })

  it('that was left uncleanly stays so until its logs have been opened', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    await dir.owner.claim(1)
    await openOrders(dir)
    const after = crashed(world)
    const inVain = await openDir(after)
    await inVain.close()
    const again = await openDir(after)
    expect(again.owner.wasCleanShutdown).toBe(false)
    await openOrders(again)
    await again.close()
    expect((await openDir(after)).owner.wasCleanShutdown).toBe(true)
  })

  it('refuses another node and another cluster', async () => {
    const dir = await openDir(createWorld())
    await dir.owner.claim(1)
    await dir.owner.joinCluster(CLUSTER)
    await expect(dir.owner.claim(2)).rejects.toMatchObject({ code: 'DATA_DIR_INVALID', message: expect.stringContaining('node 1') })
    await expect(dir.owner.joinCluster('DDDDDDDDDDDDDDDDDDDDDD')).rejects.toMatchObject({ code: 'DATA_DIR_INVALID' })
  })

  it('says under which node epoch it was closed cleanly, and nothing after a crash', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    await dir.owner.claim(1)
    dir.owner.nodeEpoch = 42
    await dir.close()
    const again = await openDir(world)
    expect([again.owner.wasCleanShutdown, again.owner.cleanShutdownEpoch]).toEqual([true, 42])
    const afterCrash = await openDir(crashed(world))
    expect([afterCrash.owner.wasCleanShutdown, afterCrash.owner.cleanShutdownEpoch]).toEqual([false, 0])
  })

  it('E15 keeps the mark of a clean shutdown through starts that came to nothing', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    await dir.owner.claim(1)
    dir.owner.nodeEpoch = 42
    await dir.close()
    const identity = `${DATA}/meta.properties.json`
    const content = await readWhole(world.files, identity)
    await overwrite(world.files, identity, Buffer.from(content.toString().replace(/"version":\s*\d+/, '"version":99')))
    await expect(openDir(world)).rejects.toMatchObject({ code: 'DATA_DIR_INVALID' })
    await overwrite(world.files, identity, content)
    // Closed before it was registered under another epoch.
    await (await openDir(world)).close()
    const again = await openDir(world)
    expect([again.owner.wasCleanShutdown, again.owner.cleanShutdownEpoch]).toEqual([true, 42])
  })

  it.each(['garbage', '{"version":2}', '{"version":1,"clusterId":"x"}', 'null', '7', ''])(
    'refuses a damaged identity: %j',
    async (content) => {
      const world = createWorld()
      await (await openDir(world)).close()
      await overwrite(world.files, `${DATA}/meta.properties.json`, Buffer.from(content))
      await expect(openDir(world)).rejects.toMatchObject({ code: 'DATA_DIR_INVALID' })
      await world.files.remove(`${DATA}/meta.properties.json`)
      await openDir(world)
    },
  )

  it('K25 has one holder at a time', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    await expect(openDir(world)).rejects.toMatchObject({ code: 'DATA_DIR_LOCKED' })
    await dir.close()
    await openDir(world)
  })

  it('is locked against a second holder on a real disk, too', async () => {
    const path = await mkdtemp(join(tmpdir(), 'tidemark-data-'))
    try {
      const options = { runtime: nodeRuntime(), tailCacheBytes: 1000, openFilesMax: 8, diskMinFreeBytes: 0 }
      const dir = await DataDir.open(path, options)
      await expect(DataDir.open(path, options)).rejects.toMatchObject({
        code: 'DATA_DIR_LOCKED',
        message: expect.stringContaining('this process'),
      })
      const log = await openOrders(dir)
      for (let i = 0; i < 20; i++) await put(log, `${i}${'x'.repeat(500)}`, { timestampMs: 1 })
      await dir.close()
      const again = await DataDir.open(path, options)
      expect(again.owner.wasCleanShutdown).toBe(true)
      expect((await contentOf(await openOrders(again))).map(([offset]) => offset)).toEqual(Array.from({ length: 20 }, (_, i) => i))
      await again.close()
    } finally {
      await rm(path, { recursive: true, force: true })
    }
  })

  it('says that its path is a file, or not writable', async () => {
    const world = createWorld()
    await world.files.makeDirectory('/')
    await overwrite(world.files, DATA, Buffer.from('x'))
    await expect(openDir(world)).rejects.toMatchObject({ code: 'DATA_DIR_INVALID' })
    const other = createWorld()
    other.files.inject({ operation: 'makeDirectory', code: 'EACCES' })
    await expect(openDir(other)).rejects.toMatchObject({ code: 'DATA_DIR_INVALID', message: expect.stringContaining('EACCES') })
  })

  it('knows a clean stop from a crash, and a mark counts once', async () => {
    const world = createWorld()
    await (await openDir(world)).close()
    const clean = await openDir(world)
    expect(clean.owner.wasCleanShutdown).toBe(true)
    const unclean = await openDir(crashed(world))
    expect(unclean.owner.wasCleanShutdown).toBe(false)
  })

  it('leaves the mark last: a crash while closing is not a clean stop', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    await put(await openOrders(dir), 'a')
    world.files.inject({ operation: 'rename', code: 'EIO', pathEnd: 'clean-shutdown.tmp' })
    await expect(dir.close()).rejects.toThrow()
    const again = await openDir(world)
    expect(again.owner.wasCleanShutdown).toBe(false)
    expect(await contentOf(await openOrders(again))).toEqual([[0, 'a']])
  })

  it('survives the loss of power right after the first acknowledgement, its own name included', async () => {
    const world = createWorld()
    await put(await openOrders(await openDir(world)), 'a')
    expect(await contentOf(await openOrders(await openDir(crashed(world))))).toEqual([[0, 'a']])
  })
})

describe('the logs of a data directory', () => {
  it('are listed with the ids of their topics', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    await openOrders(dir)
    await dir.openLog({ topic: 'a-b.c', topicId: 'EEEEEEEEEEEEEEEEEEEEEE', partition: 12, config: configOf() })
    await overwrite(world.files, `${DATA}/topics/stray`, Buffer.from('x'))
    const present = await dir.presentLogs()
    expect(present.sort((a, b) => a.partition - b.partition)).toEqual([
      { topic: 'orders', partition: 0, topicId: TOPIC_ID },
      { topic: 'a-b.c', partition: 12, topicId: 'EEEEEEEEEEEEEEEEEEEEEE' },
    ])
  })

  it('make room for another topic of the same name, and are kept', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    await put(await openOrders(dir), 'a')
    await dir.close()
    const again = await openDir(world)
    const anew = { topic: 'orders', topicId: 'EEEEEEEEEEEEEEEEEEEEEE', partition: 0 }
    const log = await again.openLog({ ...anew, config: configOf() })
    expect(log.logEndOffset).toBe(0)
    await put(log, 'b')
    const aside = `orders-0.${TOPIC_ID}-0.stray`
    expect((await world.files.list(`${DATA}/topics`)).sort()).toEqual(['orders-0', aside])
    const after = crashed(world)
    const late = await openDir(after)
    expect(await late.presentLogs()).toEqual(expect.arrayContaining([anew, { topic: 'orders', topicId: TOPIC_ID, partition: 0 }]))
    expect(await contentOf(await late.openLog({ ...anew, config: configOf() }))).toEqual([[0, 'b']])
    await late.close()
    await after.files.rename(`${DATA}/topics/orders-0`, `${DATA}/topics/orders-0.away`)
    await after.files.rename(`${DATA}/topics/${aside}`, `${DATA}/topics/orders-0`)
    expect(await contentOf(await openOrders(await openDir(after)))).toEqual([[0, 'a']])
  })

  it.each([
    ['damaged', 'CORRUPT_LOG', (files: MemoryFiles) => overwrite(files, `${PARTITION}/partition.json`, Buffer.from('{'))],
    ['missing beside data', 'DATA_DIR_INVALID', (files: MemoryFiles) => files.remove(`${PARTITION}/partition.json`)],
  ])('are refused when partition.json is %s', async (_, code, damage) => {
    const world = createWorld()
    const dir = await openDir(world)
    await put(await openOrders(dir), 'a')
    await dir.close()
    await damage(world.files)
    const again = await openDir(world)
    await expect(openOrders(again)).rejects.toMatchObject({ code })
    expect((await readWhole(world.files, `${PARTITION}/00000000000000000000.log`)).length).toBeGreaterThan(0)
    expect(await again.presentLogs()).toEqual([])
  })

  it('are opened once at a time', async () => {
    const dir = await openDir(createWorld())
    await openOrders(dir)
    await expect(openOrders(dir)).rejects.toThrow('a log is opened once')
  })

  it('are out of the way at once when deleted, durably, and gone after the delay', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    await put(await openOrders(dir), 'a')
    await dir.deleteLog('orders', 0)
    expect(await world.files.list(`${DATA}/topics`)).toEqual([expect.stringMatching(/^orders-0\..+\.deleted$/)])
    expect((await openOrders(dir)).logEndOffset).toBe(0)
    world.time.advance(60_000)
    await new Promise(setImmediate)
    expect(await world.files.list(`${DATA}/topics`)).toEqual(['orders-0'])
    await put(await dir.openLog({ topic: 'other', topicId: TOPIC_ID, partition: 0, config: configOf() }), 'a')
    await dir.deleteLog('other', 0)
    const next = await openDir(crashed(world))
    expect(await next.presentLogs()).toEqual([{ topic: 'orders', partition: 0, topicId: TOPIC_ID }])
  })

  it('with the longest of names can be deleted', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    await dir.openLog({ topic: 'n'.repeat(249), topicId: TOPIC_ID, partition: 9999, config: configOf() })
    await dir.deleteLog('n'.repeat(249), 9999)
    expect(Math.max(...(await world.files.list(`${DATA}/topics`)).map((name) => name.length))).toBeLessThanOrEqual(255)
  })

  it('share a bounded number of open files, however many are written and read', async () => {
    const world = createWorld()
    const dir = await openDir(world, { openFilesMax: 4 })
    const logs = await Promise.all(
      Array.from({ length: 20 }, (_, partition) =>
        dir.openLog({
          topic: 't',
          topicId: TOPIC_ID,
          partition,
          config: configOf({ durability: partition % 2 === 0 ? 'fsync' : 'replicated' }),
        }),
      ),
    )
    let mostOpen = 0
    for (let round = 0; round < 5; round++) {
      await Promise.all(
        logs.map(async (log) => {
          log.append(batchOf([`${round}`]), { leaderEpoch: 0 })
          if (log.partition % 2 === 0) await log.flush()
          else await new Promise<void>((resolve) => log.setListener({ advanced: resolve, undone() {} }))
          mostOpen = Math.max(mostOpen, dir.openFileCount)
        }),
      )
    }
    for (const log of logs) expect(await contentOf(log)).toHaveLength(5)
    expect(mostOpen).toBeLessThanOrEqual(5)
    await dir.close()
    expect(world.files.openHandleCount).toBe(0)
  })

  it('keep their newest batches in one bounded cache', async () => {
    const world = createWorld()
    const dir = await openDir(world, { tailCacheBytes: 5000 })
    const logs = await Promise.all([0, 1].map((partition) => dir.openLog({ topic: 't', topicId: TOPIC_ID, partition, config: configOf() })))
    for (let i = 0; i < 10; i++) for (const log of logs) await put(log, 'x'.repeat(400))
    expect(dir.tailCacheBytes).toBeLessThanOrEqual(5000)
    for (const log of logs) {
      expect(log.readCached(9, 10_000, 10)).toHaveLength(1)
      expect(log.readCached(0, 10_000, 10)).toBeUndefined()
      expect(log.readCached(10, 10_000, 10)).toEqual([])
    }
  })
})
