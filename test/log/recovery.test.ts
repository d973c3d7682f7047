import { describe, expect, it } from 'vitest'
import { verifyPartition } from '../../log/verify.ts'
import { readBatchSize } from '../../protocol/batch-header.ts'
import { roll } from './compaction-support.ts'
import {
  batchOf,
  contentOf,
  createWorld,
  crashed,
  flipBit,
  openDir,
  openOrders,
  overwrite,
  PARTITION,
  put,
  readWhole,
  type TestWorld,
} from './support.ts'

const BIG = 'x'.repeat(700)
const FIRST = `${PARTITION}/00000000000000000000.log`

/** A partition with `count` records; `isClean` with a checkpoint at its end. */
async function filled(count: number, isClean: boolean, value = BIG): Promise<TestWorld> {
  const world = createWorld()
  const dir = await openDir(world)
  const log = await openOrders(dir)
  for (let i = 0; i < count; i++) await put(log, `${i}${value}`, { producer: { id: 5, epoch: 0, baseSequence: i } })
  if (isClean) await dir.close()
  return isClean ? world : crashed(world)
}

async function reopen(world: TestWorld) {
  const dir = await openDir(world)
  return { dir, log: await openOrders(dir) }
}

const sizeOf = async (world: TestWorld, path: string): Promise<number> => (await world.files.stat(path))?.sizeBytes ?? -1

describe('the tail beyond the checkpoint', () => {
  it('ends, of a segment with one behind it, where that begins: the disk may give back what was cut off before', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    const log = await openOrders(dir)
    for (let i = 0; i < 3; i++) await put(log, `${i}`)
    const uncut = await readWhole(world.files, FIRST)
    const { log: shorter } = await dir.truncateLog(log, 2)
    const checkpoint = await readWhole(world.files, `${PARTITION}/checkpoint.json`)
    await roll(shorter, world)
    await put(shorter, 'other')
    const after = crashed(world)
    await overwrite(after.files, FIRST, uncut)
    await overwrite(after.files, `${PARTITION}/checkpoint.json`, checkpoint)
    const { log: again } = await reopen(after)
    expect(await contentOf(again)).toEqual([
      [0, '0'],
      [1, '1'],
      [2, 'other'],
    ])
    expect(await sizeOf(after, FIRST)).toBeLessThan(uncut.length)
  })

  it('E15 is refused and left as it is where another version wrote whole batches of another format, and its checking says so', async () => {
    const world = await filled(3, false)
    const secondAt = readBatchSize(await readWhole(world.files, FIRST))
    await overwrite(world.files, FIRST, Buffer.from([3]), secondAt + 16)
    const before = await readWhole(world.files, FIRST)
    await expect(reopen(world)).rejects.toMatchObject({ code: 'CORRUPT_LOG', message: expect.stringContaining('record format 3') })
    expect((await readWhole(world.files, FIRST)).equals(before)).toBe(true)
    const { findings } = await verifyPartition(world.files, PARTITION)
    expect(findings).toContainEqual(expect.objectContaining({ severity: 'damage', position: secondAt }))
  })

  it('is cut at a batch of another format that is not whole', async () => {
    const world = await filled(3, false)
    const secondAt = readBatchSize(await readWhole(world.files, FIRST))
    await overwrite(world.files, FIRST, Buffer.from([3]), secondAt + 16)
    await flipBit(world.files, FIRST, 1000)
    const { log } = await reopen(world)
    expect(log.logEndOffset).toBe(1)
  })

  it('is written again as it was when its checksums were right, though the kernel lets go of it meanwhile', async () => {
    const world = await filled(3, false)
    const { files } = world
    const open = files.open.bind(files)
    let isGone = false
    files.open = async (path, mode) => {
      const handle = await open(path, mode)
      if (path !== FIRST) return handle
      const read = handle.read.bind(handle)
      handle.read = async (...range) => {
        const count = await read(...range)
        if (!isGone) {
          isGone = true
          await overwrite(files, FIRST, Buffer.alloc(await sizeOf(world, FIRST)))
        }
        return count
      }
      return handle
    }
    const { log } = await reopen(world)
    expect(isGone).toBe(true)
    expect((await contentOf(log)).map(([, value]) => value[0])).toEqual(['0', '1', '2'])
  })

  it('is kept as far as it is whole, and appending goes on behind it', async () => {
    const world = await filled(3, false)
    const { log } = await reopen(world)
    expect(await put(log, 'next')).toBe(3)
    expect((await contentOf(log)).map(([, value]) => value[0])).toEqual(['0', '1', '2', 'n'])
  })

  it.each([
    [
      'cut in the middle of a batch',
      async (world: TestWorld) => overwrite(world.files, FIRST, (await readWhole(world.files, FIRST)).subarray(0, -10)),
      2,
    ],
    [
      'cut in the middle of a header',
      async (world: TestWorld) => overwrite(world.files, FIRST, (await readWhole(world.files, FIRST)).subarray(0, 1570)),
      2,
    ],
    ['with a bit flipped', async (world: TestWorld) => flipBit(world.files, FIRST, 1000), 1],
    [
      'with a bit flipped in an offset',
      async (world: TestWorld) => flipBit(world.files, FIRST, readBatchSize(await readWhole(world.files, FIRST)) + 6),
      1,
    ],
    ['followed by zeros', async (world: TestWorld) => overwrite(world.files, FIRST, Buffer.alloc(4096), await sizeOf(world, FIRST)), 3],
    [
      'followed by garbage',
      async (world: TestWorld) => overwrite(world.files, FIRST, Buffer.alloc(4096, 0xa5), await sizeOf(world, FIRST)),
      3,
    ],
    [
      'followed by a copy of itself',
      async (world: TestWorld) => overwrite(world.files, FIRST, await readWhole(world.files, FIRST), await sizeOf(world, FIRST)),
      3,
    ],
    [
      'followed by a claim of 2 GiB',
      async (world: TestWorld) =>
        overwrite(world.files, FIRST, Buffer.from('0000000000000003' + '7fffffff' + '00'.repeat(60), 'hex'), await sizeOf(world, FIRST)),
      3,
    ],
    ['emptied', async (world: TestWorld) => overwrite(world.files, FIRST, Buffer.alloc(0)), 0],
    ['all zeros', async (world: TestWorld) => overwrite(world.files, FIRST, Buffer.alloc(2000)), 0],
  ] as const)('%s is cut there, for good', async (_, damage, expectedCount) => {
    const world = await filled(3, false)
    await damage(world)
    const { log, dir } = await reopen(world)
    expect(log.logEndOffset).toBe(expectedCount)
    expect(await contentOf(log)).toHaveLength(expectedCount)
    expect(world.lines.some(({ event }) => event === 'segment.tail-cut')).toBe(
      (await sizeOf(world, FIRST)) > 0 || expectedCount > 0 || _ === 'all zeros',
    )
    await dir.close()
    const again = await reopen(world)
    expect(again.log.logEndOffset).toBe(expectedCount)
    expect(await put(again.log, 'next')).toBe(expectedCount)
  })

  it('gives the same log when recovery itself is interrupted', async () => {
    let world = await filled(3, false)
    await flipBit(world.files, FIRST, 1000)
    for (let i = 0; i < 3; i++) {
      const { log } = await reopen(world)
      expect((await contentOf(log)).map(([offset]) => offset)).toEqual([0])
      world = crashed(world)
    }
  })

  it('brings back producers and leader epochs', async () => {
    const world = createWorld()
    const first = await reopen(world)
    for (const [epoch, sequence] of [
      [1, 0],
      [1, 1],
      [4, 2],
    ] as const) {
      first.log.append(batchOf([`${sequence}`], { producer: { id: 5, epoch: 0, baseSequence: sequence } }), { leaderEpoch: epoch })
    }
    await first.log.flush()
    const { log } = await reopen(crashed(world))
    expect(log.leaderEpochs.entries).toEqual([
      { epoch: 1, startOffset: 0 },
      { epoch: 4, startOffset: 2 },
    ])
    expect(log.append(batchOf(['1'], { producer: { id: 5, epoch: 0, baseSequence: 1 } }), { leaderEpoch: 4 })).toMatchObject({
      duplicate: true,
      baseOffset: 1,
    })
  })
})

describe('damage before the checkpoint', () => {
  it.each([
    [
      'a shorter active segment',
      async (world: TestWorld) => overwrite(world.files, `${PARTITION}/00000000000000000005.log`, Buffer.alloc(10)),
    ],
    [
      'a shorter sealed segment',
      async (world: TestWorld) => overwrite(world.files, FIRST, (await readWhole(world.files, FIRST)).subarray(0, -1)),
    ],
    ['a missing sealed segment', (world: TestWorld) => world.files.remove(FIRST)],
    ['a missing active segment', (world: TestWorld) => world.files.remove(`${PARTITION}/00000000000000000005.log`)],
    ['a damaged checkpoint', (world: TestWorld) => overwrite(world.files, `${PARTITION}/checkpoint.json`, Buffer.from('{"version":1'))],
    [
      'a checkpoint of another version',
      (world: TestWorld) => overwrite(world.files, `${PARTITION}/checkpoint.json`, Buffer.from('{"version":9}')),
    ],
    ['an empty checkpoint', (world: TestWorld) => overwrite(world.files, `${PARTITION}/checkpoint.json`, Buffer.alloc(0))],
  ])('%s: the partition is refused with the file and what to do, and nothing is changed', async (_, damage) => {
    const world = await filled(7, true)
    await damage(world)
    const before = await Promise.all(
      (await world.files.list(PARTITION)).map(async (name) => [name, await readWhole(world.files, `${PARTITION}/${name}`)]),
    )
    const dir = await openDir(world)
    await expect(openOrders(dir)).rejects.toMatchObject({
      code: 'CORRUPT_LOG',
      message: expect.stringMatching(/\/data\/topics\/orders-0\/.*(verify|backup)/),
    })
    const after = await Promise.all(
      (await world.files.list(PARTITION)).map(async (name) => [name, await readWhole(world.files, `${PARTITION}/${name}`)]),
    )
    expect(after).toEqual(before)
  })

  it('met by a reader is reported with file and position, the rest stays readable', async () => {
    const world = await filled(7, true)
    const second = readBatchSize(await readWhole(world.files, FIRST))
    await flipBit(world.files, FIRST, second + 16)
    const { log } = await reopen(world)
    await expect(contentOf(log, 1)).rejects.toMatchObject({
      code: 'CORRUPT_LOG',
      message: expect.stringContaining(`${FIRST} at byte ${second}`),
    })
    expect((await contentOf(log, 2)).map(([offset]) => offset)).toEqual([2, 3, 4, 5, 6])
    expect((await log.read(0, 1, 7)).length).toBe(1)
  })

  it('is met again when the checkpoint is moved away: all is checked, nothing in the middle is cut', async () => {
    const world = await filled(7, true)
    await world.files.remove(`${PARTITION}/checkpoint.json`)
    const sound = await reopen(world)
    expect(await contentOf(sound.log)).toHaveLength(7)
    await sound.dir.close()
    await world.files.remove(`${PARTITION}/checkpoint.json`)
    const second = readBatchSize(await readWhole(world.files, FIRST))
    await flipBit(world.files, FIRST, second + 200)
    await expect(openOrders(await openDir(world))).rejects.toMatchObject({
      code: 'CORRUPT_LOG',
      message: expect.stringContaining(`at byte ${second}`),
    })
  })
})

describe('what can be made again', () => {
  it.each([
    ['missing', async (world: TestWorld, path: string) => world.files.remove(path)],
    ['empty', async (world: TestWorld, path: string) => overwrite(world.files, path, Buffer.alloc(0))],
    ['garbage', async (world: TestWorld, path: string) => overwrite(world.files, path, Buffer.from('garbage of no shape'))],
    ['zeros', async (world: TestWorld, path: string) => overwrite(world.files, path, Buffer.alloc(240))],
    [
      'of another log',
      async (world: TestWorld, path: string) =>
        overwrite(world.files, path, Buffer.from('000000010000003200000002000000640000000300000096', 'hex')),
    ],
    [
      'of the right shape, each entry with the place of the next',
      async (world: TestWorld, path: string) => {
        const entries = await readWhole(world.files, path)
        if (!path.endsWith('.index')) return
        const shifted = Buffer.from(entries.subarray(0, entries.length - 8))
        for (let at = 0; at < shifted.length; at += 8) entries.copy(shifted, at + 4, at + 12, at + 16)
        await overwrite(world.files, path, shifted)
      },
    ],
    [
      'shorter than it was',
      async (world: TestWorld, path: string) => overwrite(world.files, path, (await readWhole(world.files, path)).subarray(0, 24)),
    ],
  ])('indexes that are %s do not keep anything from being found', async (_, damage) => {
    const world = await filled(12, true)
    for (const name of await world.files.list(PARTITION)) if (name.endsWith('index')) await damage(world, `${PARTITION}/${name}`)
    const { log } = await reopen(world)
    // Backwards: whoever reads on from where a read ended needs no index.
    for (let offset = 11; offset >= 0; offset--) expect((await contentOf(log, offset, offset + 1))[0]?.[0]).toBe(offset)
    expect((await contentOf(log)).map(([offset]) => offset)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    expect(await put(log, 'next', { producer: { id: 5, epoch: 0, baseSequence: 12 } })).toBe(12)
  })

  it.each([
    ['00000000000000000007.snapshot', 'missing', (world: TestWorld, path: string) => world.files.remove(path)],
    ['00000000000000000007.snapshot', 'garbage', (world: TestWorld, path: string) => overwrite(world.files, path, Buffer.from('garbage'))],
    ['00000000000000000007.snapshot', 'bit-flipped', (world: TestWorld, path: string) => flipBit(world.files, path, 40)],
    ['leader-epoch-checkpoint', 'missing', (world: TestWorld, path: string) => world.files.remove(path)],
    ['leader-epoch-checkpoint', 'garbage', (world: TestWorld, path: string) => overwrite(world.files, path, Buffer.from('0\n2\n1 1\n'))],
  ])('%s %s: producers and epochs are read from the log again', async (name, _, damage) => {
    const world = await filled(7, true)
    await damage(world, `${PARTITION}/${name}`)
    const { log } = await reopen(world)
    expect(world.lines.map(({ event }) => event)).toContain('partition.state-rebuilt')
    expect(log.leaderEpochs.entries).toEqual([{ epoch: 0, startOffset: 0 }])
    for (const sequence of [2, 3, 4, 5, 6]) {
      expect(
        log.append(batchOf([`${sequence}${BIG}`], { producer: { id: 5, epoch: 0, baseSequence: sequence } }), { leaderEpoch: 0 }),
      ).toMatchObject({ duplicate: true, baseOffset: sequence })
    }
    expect(await put(log, 'next', { producer: { id: 5, epoch: 0, baseSequence: 7 } })).toBe(7)
  })
})

it.each([1, 3])('leader epochs are not made again from a batch whose own has flipped to %i', async (flipped) => {
  const world = createWorld()
  const dir = await openDir(world)
  const log = await openOrders(dir)
  const batch = batchOf(['v'])
  for (const leaderEpoch of [1, 2, 2, 2]) log.append(Buffer.from(batch), { leaderEpoch })
  await dir.close()
  await world.files.remove(`${PARTITION}/leader-epoch-checkpoint`)
  const content = await readWhole(world.files, FIRST)
  content.writeInt32BE(flipped, 2 * batch.length + 12)
  await overwrite(world.files, FIRST, content)
  const again = await openDir(world)
  await expect(openOrders(again)).rejects.toMatchObject({ code: 'CORRUPT_LOG', message: expect.stringContaining('leader epoch') })
})

describe('leftovers', () => {
  it('of interrupted work are removed: temporary files, deleted segments, segments before the log start', async () => {
    const world = await filled(7, true)
    for (const name of [
      'checkpoint.json.tmp',
      '00000000000000000001.log.deleted',
      '00000000000000000002.log',
      '00000000000000000002.index',
    ])
      await overwrite(world.files, `${PARTITION}/${name}`, Buffer.from('x'))
    const { log } = await reopen(world)
    expect(await contentOf(log)).toHaveLength(7)
    const names = await world.files.list(PARTITION)
    expect(names.filter((name) => /tmp|deleted|0002\./.test(name))).toEqual([])
  })

  it('of a roll that did not finish do not hide what was appended after it', async () => {
    const world = await filled(3, false)
    await overwrite(world.files, `${PARTITION}/00000000000000000002.log`, Buffer.alloc(0))
    const { log } = await reopen(world)
    expect(await contentOf(log)).toHaveLength(3)
    expect(await put(log, 'next')).toBe(3)
  })
})

describe('after a crash', () => {
  /** Bytes of the log that the start after a crash reads: `count` records that a checkpoint covers, then three. */
  async function readAtStart(count: number): Promise<number> {
    const world = createWorld()
    const log = await openOrders(await openDir(world))
    for (let i = 0; i < count; i++) await put(log, BIG)
    await log.checkpoint()
    for (let i = 0; i < 3; i++) await put(log, BIG)
    const next = crashed(world)
    let bytes = 0
    const { files } = next
    const open = files.open.bind(files)
    files.open = async (path, mode) => {
      const handle = await open(path, mode)
      const read = handle.read.bind(handle)
      handle.read = async (...parameters) => {
        const done = await read(...parameters)
        if (path.endsWith('.log')) bytes += done
        return done
      }
      return handle
    }
    const again = await openOrders(await openDir(next))
    expect(again.logEndOffset).toBe(count + 3)
    return bytes
  }

  it('reads what lies beyond the checkpoint, however much lies before it', async () => {
    const few = await readAtStart(5)
    expect(few).toBeGreaterThan(3 * BIG.length)
    // Five to a segment: both have the same tail.
    expect(await readAtStart(200)).toBe(few)
  })
})

describe('a clean start', () => {
  it('reads no segment and opens no file until someone asks', async () => {
    const world = await filled(12, true)
    await overwrite(world.files, FIRST, Buffer.alloc(await sizeOf(world, FIRST), 0xff))
    const { log } = await reopen(world)
    expect(log.logEndOffset).toBe(12)
    expect(world.files.openHandleCount).toBe(0)
  })
})
