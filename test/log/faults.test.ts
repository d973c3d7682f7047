import { describe, expect, it } from 'vitest'
import { TidemarkError } from '../../protocol/errors.ts'
import { batchOf, configOf, contentOf, createWorld, crashed, openDir, openOrders, PARTITION, put, readWhole } from './support.ts'

const BIG = 'x'.repeat(700)
const LOG = '/00000000000000000000.log'

async function openFresh(config = configOf(), options = {}) {
  const world = createWorld()
  const dir = await openDir(world, options)
  const log = await openOrders(dir, config)
  const undone: [number, string][] = []
  log.setListener({ advanced() {}, undone: (fromOffset, error) => void undone.push([fromOffset, error.code]) })
  return { ...world, dir, log, undone }
}

type World = Awaited<ReturnType<typeof openFresh>>

/** Lets the look at the free space that an append starts come to its end. */
async function lookAtSpace(world: World): Promise<void> {
  world.time.advance(1001)
  try {
    world.log.append(Buffer.alloc(0), { leaderEpoch: 0 })
  } catch {
    // Refused in any case.
  }
  await new Promise(setImmediate)
}

describe('E01 a full disk', () => {
  it('takes back what did not fit, torn bytes included, and resumes by itself when there is space', async () => {
    const world = await openFresh()
    const { log, files, undone } = world
    await put(log, 'kept')
    const before = await readWhole(files, `${PARTITION}${LOG}`)
    files.capacityBytes = files.usedBytes + 50
    const producer = { id: 1, epoch: 0, baseSequence: 0 }
    log.append(batchOf(['lost'], { producer }), { leaderEpoch: 0 })
    log.append(batchOf(['lost too']), { leaderEpoch: 0 })
    await expect(log.flush()).rejects.toMatchObject({ code: 'DISK_FULL', retriable: true, outcome: 'failed' })
    await new Promise(setImmediate)
    expect(undone).toEqual([[1, 'DISK_FULL']])
    expect(log).toMatchObject({ logEndOffset: 1, writtenOffset: 1, unwrittenBytes: 0 })
    expect(await readWhole(files, `${PARTITION}${LOG}`)).toEqual(before)
    expect(() => log.append(batchOf(['refused']), { leaderEpoch: 0 })).toThrow(expect.objectContaining({ code: 'DISK_FULL' }))
    expect(await contentOf(log)).toEqual([[0, 'kept']])
    files.capacityBytes = Number.MAX_SAFE_INTEGER
    await lookAtSpace(world)
    expect(log.append(batchOf(['again'], { producer }), { leaderEpoch: 0 })).toMatchObject({ baseOffset: 1, duplicate: false })
    await log.flush()
    expect(await contentOf(log)).toEqual([
      [0, 'kept'],
      [1, 'again'],
    ])
    expect(world.dir.failure).toBeUndefined()
  })

  it.each(['.log', '.index', '.timeindex', '.snapshot.tmp', 'leader-epoch-checkpoint.tmp', 'checkpoint.json.tmp'])(
    'at a roll, met by %s, loses nothing that was acknowledged',
    async (pathEnd) => {
      const world = await openFresh()
      const { log, files } = world
      const written: string[] = []
      for (let i = 0; i < 4; i++) written.push(`${i}${BIG}`)
      for (const value of written) await put(log, value)
      files.inject({ operation: 'write', code: 'ENOSPC', pathEnd, tornBytes: 1 })
      files.inject({ operation: 'truncate', code: 'ENOSPC', pathEnd, after: pathEnd === '.log' ? 1 : 0 })
      for (let i = 4; i < 12; i++) {
        const value = `${i}${BIG}`
        try {
          await put(log, value)
          written.push(value)
        } catch (error) {
          expect(TidemarkError.is(error) && error.code).toBe('DISK_FULL')
          await lookAtSpace(world)
        }
      }
      expect(written.length).toBeGreaterThan(8)
      const expected = written.map((value, offset) => [offset, value])
      expect(await contentOf(log)).toEqual(expected)
      const next = crashed(world)
      expect(await contentOf(await openOrders(await openDir(next)))).toEqual(expected)
    },
  )

  it('can still delete: retention and DeleteRecords need no free byte', async () => {
    const world = await openFresh(configOf({ segmentBytes: 16_384, retentionBytes: 40_000 }))
    for (let i = 0; i < 80; i++) await put(world.log, BIG)
    world.files.capacityBytes = world.files.usedBytes
    world.log.append(batchOf(['a']), { leaderEpoch: 0 })
    await expect(world.log.flush()).rejects.toMatchObject({ code: 'DISK_FULL' })
    expect(await world.log.applyRetention(80)).toBe(1)
    const start = world.log.logStartOffset
    expect(start).toBeGreaterThan(10)
    world.files.capacityBytes = world.files.usedBytes
    expect(await world.log.deleteRecordsBefore(50)).toBe(50)
    expect((await contentOf(world.log)).map(([offset]) => offset)).toEqual(Array.from({ length: 30 }, (_, i) => 50 + i))
    const log = await openOrders(await openDir(crashed(world)), configOf({ segmentBytes: 16_384 }))
    expect(log.describe()).toMatchObject({ logStartOffset: 50, logEndOffset: 80 })
  })

  it('keeps a reserve: below disk.min.free nothing is appended', async () => {
    const world = await openFresh(configOf(), { diskMinFreeBytes: 10_000_000 })
    world.files.capacityBytes = 1_000_000
    await lookAtSpace(world)
    expect(() => world.log.append(batchOf(['a']), { leaderEpoch: 0 })).toThrow(
      expect.objectContaining({ code: 'DISK_FULL', retryAfterMs: 1000 }),
    )
    world.files.capacityBytes = 100_000_000
    await lookAtSpace(world)
    expect(await put(world.log, 'a')).toBe(0)
    expect(world.files.counts.get('freeBytes')).toBe(2)
  })

  it('met while closing leaves no mark of a clean stop, and the next start loses nothing', async () => {
    const world = await openFresh()
    await put(world.log, 'kept')
    world.files.inject({ operation: 'write', code: 'ENOSPC', pathEnd: 'checkpoint.json.tmp' })
    await expect(world.dir.close()).rejects.toMatchObject({ code: 'DISK_FULL' })
    const dir = await openDir(world)
    expect(dir.owner.wasCleanShutdown).toBe(false)
    expect(await contentOf(await openOrders(dir))).toEqual([[0, 'kept']])
  })
})

describe('E02 a failing disk', () => {
  it.each(['.log', '.index.tmp', 'checkpoint.json.tmp'])(
    'that has no room when %s is to be synced has failed, and is not full',
    async (pathEnd) => {
      const { log, dir, files } = await openFresh()
      await put(log, 'kept')
      files.inject({ operation: 'datasync', code: 'ENOSPC', pathEnd })
      // Enough to roll.
      for (let count = 0; count < 12 && dir.failure === undefined; count++) await put(log, 'x'.repeat(1000)).catch(() => {})
      expect(dir.failure).toMatchObject({ code: 'STORAGE_FAILED' })
    },
  )

  it.each(['write', 'datasync'] as const)('a failed %s takes the whole directory out of service for good', async (operation) => {
    const { log, dir, files, undone } = await openFresh()
    const other = await dir.openLog({ topic: 'other', topicId: 'BBBBBBBBBBBBBBBBBBBBBB', partition: 3, config: configOf() })
    await put(log, 'kept')
    await put(other, 'kept')
    files.inject({ operation, code: 'EIO', pathEnd: LOG })
    log.append(batchOf(['lost']), { leaderEpoch: 0 })
    await expect(log.flush()).rejects.toMatchObject({ code: 'STORAGE_FAILED', outcome: 'indeterminate' })
    expect(dir.failure).toMatchObject({ code: 'STORAGE_FAILED' })
    expect(undone).toEqual([[1, 'STORAGE_FAILED']])
    for (const one of [log, other]) {
      expect(() => one.append(batchOf(['refused']), { leaderEpoch: 0 })).toThrow(expect.objectContaining({ code: 'STORAGE_FAILED' }))
      expect(await contentOf(one)).toEqual([[0, 'kept']])
    }
    await expect(log.deleteRecordsBefore(1)).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
  })

  it('a checkpoint that cannot be synced takes the directory out of service, too', async () => {
    const { log, dir, files } = await openFresh()
    await put(log, 'kept')
    files.inject({ operation: 'datasync', code: 'EIO', pathEnd: '.snapshot.tmp' })
    await expect(log.checkpoint()).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
    expect(dir.failure).toMatchObject({ code: 'STORAGE_FAILED' })
  })

  it('never asks for a failed sync a second time', async () => {
    const { log, dir, files } = await openFresh()
    await put(log, 'kept')
    files.inject({ operation: 'datasync', code: 'EIO', pathEnd: LOG })
    log.append(batchOf(['lost']), { leaderEpoch: 0 })
    await expect(log.flush()).rejects.toThrow()
    const count = files.counts.get('datasync')
    await expect(log.flush()).resolves.toBeUndefined()
    await dir.close()
    expect(files.counts.get('datasync')).toBe(count)
    expect(files.openHandleCount).toBe(0)
  })

  it('leaves no mark of a clean stop, and the next start finds what was acknowledged', async () => {
    const world = await openFresh()
    await put(world.log, 'kept')
    world.files.inject({ operation: 'datasync', code: 'EIO', pathEnd: LOG })
    world.log.append(batchOf(['lost']), { leaderEpoch: 0 })
    await world.log.flush().catch(() => {})
    await world.dir.close()
    const dir = await openDir(crashed(world))
    expect(dir.owner.wasCleanShutdown).toBe(false)
    expect(await contentOf(await openOrders(dir))).toEqual([[0, 'kept']])
  })

  it('does not take for durable what a sync failed on before the process was started again', async () => {
    const world = await openFresh()
    await put(world.log, 'kept')
    world.files.inject({ operation: 'datasync', code: 'EIO', pathEnd: LOG })
    world.log.append(batchOf(['in the page cache only']), { leaderEpoch: 0 })
    await world.log.flush().catch(() => {})
    // The kernel still has it, and takes it for clean: to sync it once more would write nothing.
    const next = createWorld(world.files.kill(), world.time)
    const log = await openOrders(await openDir(next))
    const claimed = await contentOf(log, 0, log.flushedOffset)
    expect(claimed.map(([, value]) => value)).toEqual(['kept', 'in the page cache only'])
    expect(await contentOf(await openOrders(await openDir(crashed(next))))).toEqual(claimed)
  })

  it('that fails while a log is opened takes the directory out of service, too', async () => {
    const world = await openFresh()
    await put(world.log, 'kept')
    const next = crashed(world)
    next.files.inject({ operation: 'datasync', code: 'EIO', pathEnd: LOG })
    const dir = await openDir(next)
    await expect(openOrders(dir)).rejects.toMatchObject({ code: 'DATA_DIR_INVALID' })
    expect(dir.failure).toMatchObject({ code: 'STORAGE_FAILED' })
  })

  it('reports a failed read to the reader and goes on', async () => {
    const { log, files, dir } = await openFresh()
    await put(log, 'kept')
    files.inject({ operation: 'read', code: 'EIO', pathEnd: LOG })
    await expect(log.read(0, 100, 1)).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
    expect(await contentOf(log)).toEqual([[0, 'kept']])
    expect(dir.failure).toBeUndefined()
  })
})

describe('deleting a log', () => {
  it('while it is being written to takes back what was not durable and leaves nothing open', async () => {
    const { log, dir, files, undone } = await openFresh()
    await put(log, 'a')
    log.append(batchOf(['b']), { leaderEpoch: 0 })
    await dir.deleteLog('orders', 0)
    expect(undone).toEqual([[1, 'UNKNOWN_TOPIC_ID']])
    expect(() => log.append(batchOf(['c']), { leaderEpoch: 0 })).toThrow(expect.objectContaining({ code: 'UNKNOWN_TOPIC_ID' }))
    expect(files.openHandleCount).toBe(0)
    expect(await dir.presentLogs()).toEqual([])
  })
})
