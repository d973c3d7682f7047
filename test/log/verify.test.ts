import { describe, expect, it } from 'vitest'
import { dumpSegment } from '../../log/dump.ts'
import { parseCheckpoint, serializeCheckpoint } from '../../log/checkpoint.ts'
import { verifyDataDir, verifyPartition } from '../../log/verify.ts'
import { readBatchSize } from '../../protocol/batch-header.ts'
import {
  configOf,
  createWorld,
  crashed,
  DATA,
  flipBit,
  openDir,
  openOrders,
  overwrite,
  PARTITION,
  put,
  readWhole,
  type TestWorld,
} from './support.ts'

const FIRST = `${PARTITION}/00000000000000000000.log`
const BIG = 'x'.repeat(700)

async function filled(isClean = true): Promise<TestWorld> {
  const world = createWorld()
  const dir = await openDir(world)
  const log = await openOrders(dir)
  for (let i = 0; i < 7; i++) await put(log, `${i}${BIG}`)
  if (!isClean) return crashed(world)
  await dir.close()
  return world
}

describe('dumping a segment', () => {
  it('gives every batch with its header and whether its checksum is right', async () => {
    const world = await filled()
    const size = readBatchSize(await readWhole(world.files, FIRST))
    await flipBit(world.files, FIRST, size + 200)
    const items = await Array.fromAsync(dumpSegment(world.files, FIRST))
    expect(items.map((item) => item.kind === 'batch' && [item.position, item.header.baseOffset, item.isChecksumRight])).toEqual(
      [0, 1, 2, 3, 4].map((i) => [i * size, i, i !== 1]),
    )
  })

  it('ends where no batch can be, and says why', async () => {
    const world = await filled()
    const size = readBatchSize(await readWhole(world.files, FIRST))
    await overwrite(world.files, FIRST, Buffer.alloc(100), 2 * size)
    const items = await Array.fromAsync(dumpSegment(world.files, FIRST))
    expect(items).toHaveLength(3)
    expect(items[2]).toMatchObject({ kind: 'damage', position: 2 * size })
  })

  it('follows batches larger than what it reads at once', async () => {
    const world = createWorld()
    const dir = await openDir(world)
    const log = await openOrders(dir, configOf({ maxMessageBytes: 5_000_000 }))
    for (let i = 0; i < 3; i++) await put(log, 'x'.repeat(2_500_000))
    expect(await Array.fromAsync(dumpSegment(world.files, FIRST))).toMatchObject([{ kind: 'batch', isChecksumRight: true }])
  })
})

describe('verifying', () => {
  it.each([true, false])('finds nothing in a sound directory, stopped cleanly: %s', async (isClean) => {
    const world = await filled(isClean)
    expect(await Array.fromAsync(verifyDataDir(world.files, DATA))).toEqual([
      { directory: PARTITION, segmentCount: 2, batchCount: 7, recordCount: 7, sizeBytes: expect.any(Number), findings: [] },
    ])
  })

  it.each([
    ['a flipped bit in a record', 'damage', '.log', (world: TestWorld) => flipBit(world.files, FIRST, 1000)],
    ['a flipped bit in an offset', 'damage', '.log', (world: TestWorld) => flipBit(world.files, FIRST, 7)],
    [
      'a shorter segment',
      'damage',
      '.log',
      async (world: TestWorld) => overwrite(world.files, FIRST, (await readWhole(world.files, FIRST)).subarray(0, -1)),
    ],
    ['a missing segment', 'damage', '.log', (world: TestWorld) => world.files.remove(FIRST)],
    [
      'a damaged checkpoint',
      'damage',
      'checkpoint.json',
      (world: TestWorld) => overwrite(world.files, `${PARTITION}/checkpoint.json`, Buffer.from('{')),
    ],
    [
      'a checkpoint that says another end',
      'damage',
      'checkpoint.json',
      async (world: TestWorld) => {
        const path = `${PARTITION}/checkpoint.json`
        const checkpoint = parseCheckpoint(await readWhole(world.files, path), path)
        await overwrite(world.files, path, serializeCheckpoint({ ...checkpoint, recoveryOffset: checkpoint.recoveryOffset + 2 }))
      },
    ],
    ['a missing partition.json', 'damage', 'partition.json', (world: TestWorld) => world.files.remove(`${PARTITION}/partition.json`)],
    [
      'a damaged partition.json',
      'damage',
      'partition.json',
      (world: TestWorld) => overwrite(world.files, `${PARTITION}/partition.json`, Buffer.from('{}')),
    ],
    ['a missing index', 'repairable', '.index', (world: TestWorld) => world.files.remove(FIRST.replace('.log', '.index'))],
    ['a wrong index', 'repairable', '.index', (world: TestWorld) => flipBit(world.files, FIRST.replace('.log', '.index'), 7)],
    [
      'a garbled index',
      'repairable',
      '.index',
      (world: TestWorld) => overwrite(world.files, FIRST.replace('.log', '.index'), Buffer.alloc(16)),
    ],
    ['a missing time index', 'repairable', '.timeindex', (world: TestWorld) => world.files.remove(FIRST.replace('.log', '.timeindex'))],
    ['a wrong time index', 'repairable', '.timeindex', (world: TestWorld) => flipBit(world.files, FIRST.replace('.log', '.timeindex'), 7)],
    [
      'a damaged snapshot',
      'repairable',
      '.snapshot',
      (world: TestWorld) => overwrite(world.files, `${PARTITION}/00000000000000000007.snapshot`, Buffer.alloc(9)),
    ],
    [
      'missing leader epochs',
      'repairable',
      'leader-epoch-checkpoint',
      (world: TestWorld) => world.files.remove(`${PARTITION}/leader-epoch-checkpoint`),
    ],
    [
      'a temporary file',
      'repairable',
      '.tmp',
      (world: TestWorld) => overwrite(world.files, `${PARTITION}/checkpoint.json.tmp`, Buffer.alloc(9)),
    ],
    [
      'garbage after the end',
      'repairable',
      '.log',
      (world: TestWorld) => overwrite(world.files, `${PARTITION}/00000000000000000005.log`, Buffer.alloc(9), 100_000),
    ],
  ] as const)('finds %s', async (_, severity, fileEnd, damage) => {
    const world = await filled()
    await damage(world)
    const before = await Promise.all((await world.files.list(PARTITION)).map((name) => readWhole(world.files, `${PARTITION}/${name}`)))
    const { findings } = await verifyPartition(world.files, PARTITION)
    expect(findings).toContainEqual(
      expect.objectContaining({ severity, file: expect.stringMatching(`${fileEnd.replaceAll('.', '\\.')}$`) }),
    )
    if (severity === 'repairable') expect(findings.filter((finding) => finding.severity === 'damage')).toEqual([])
    expect(await Promise.all((await world.files.list(PARTITION)).map((name) => readWhole(world.files, `${PARTITION}/${name}`)))).toEqual(
      before,
    )
  })

  it('names the position of a damaged batch', async () => {
    const world = await filled()
    const size = readBatchSize(await readWhole(world.files, FIRST))
    await flipBit(world.files, FIRST, 2 * size + 300)
    const { findings } = await verifyPartition(world.files, PARTITION)
    expect(findings).toEqual([{ file: FIRST, position: 2 * size, severity: 'damage', problem: expect.stringContaining('offset 2') }])
  })
})
