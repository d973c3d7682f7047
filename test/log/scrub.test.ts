/** Looking for damage nobody has met, and meeting it: what a log reads from the disk is what was written, or an error that is told. */
import { beforeEach, describe, expect, it } from 'vitest'
import type { DataDir } from '../../log/data-dir.ts'
import type { PartitionLog } from '../../log/partition-log.ts'
import { SCRUB_BEGIN, type ScrubPlace } from '../../log/scrub.ts'
import type { TidemarkError } from '../../protocol/errors.ts'
import { compact, compactedConfig, putKeyed, recordsOf, roll } from './compaction-support.ts'
import { configOf, createWorld, flipBit, openDir, openOrders, PARTITION, put, type TestWorld } from './support.ts'

let world: TestWorld
let dir: DataDir
let log: PartitionLog
let damage: TidemarkError[]

beforeEach(async () => {
  world = createWorld()
  damage = []
  dir = await openDir(world, { damaged: (_log, error) => void damage.push(error) })
  log = await openOrders(dir)
  // Three segments of batches of 500 bytes.
  for (let at = 0; at < 20; at++) await put(log, `${at} ${'x'.repeat(400)}`)
})

function segment(base: number): string {
  return `${PARTITION}/${String(base).padStart(20, '0')}.log`
}

/** Everything, `stepBytes` at a time. */
async function scrubAll(stepBytes: number): Promise<{ bytes: number; steps: number }> {
  let bytes = 0
  let steps = 0
  for (let place: ScrubPlace | undefined = SCRUB_BEGIN; place !== undefined; steps++) {
    const step = await log.scrub(place, stepBytes)
    bytes += step.bytes
    place = step.next
  }
  return { bytes, steps }
}

describe('scrubbing', () => {
  it('reads everything once, in small steps or in large ones, and finds nothing in a log that is sound', async () => {
    const { sizeBytes, segmentCount } = log.describe()
    expect(segmentCount).toBe(3)
    expect(await scrubAll(1 << 20)).toEqual({ bytes: sizeBytes, steps: 3 })
    const small = await scrubAll(500)
    expect(small.bytes).toBe(sizeBytes)
    expect(small.steps).toBe(10)
    expect(damage).toEqual([])
  })

  it.each([
    ['a value', 300, 'the checksum of the batch at offset 0 is wrong'],
    ['a length', 8, 'a batch claims'],
    ['the first offset', 7, 'offset'],
    ['the leader epoch, which no checksum covers', 15, 'leader epoch'],
    ['the format', 16, 'record format'],
  ])('finds a flipped bit in %s of a sealed segment', async (_what, position, problem) => {
    await flipBit(world.files, segment(0), position)
    await scrubAll(1 << 20)
    expect(damage).toEqual([expect.objectContaining({ code: 'CORRUPT_LOG', message: expect.stringContaining(problem) })])
  })

  it('finds it in the middle, and in the segment that is written to', async () => {
    const { segmentCount } = log.describe()
    await flipBit(world.files, segment(8), 2000)
    await scrubAll(700)
    expect(damage).toHaveLength(1)
    await flipBit(world.files, segment(8), 2000)
    damage = []
    await flipBit(world.files, segment(16), 400)
    await scrubAll(1 << 20)
    expect(damage).toHaveLength(1)
    expect(segmentCount).toBe(3)
  })

  it('goes on where a segment was that has been deleted meanwhile', async () => {
    const first = await log.scrub(SCRUB_BEGIN, 1000)
    expect(first.next?.baseOffset).toBe(0)
    await log.deleteRecordsBefore(16)
    const next = await log.scrub(first.next as ScrubPlace, 1 << 20)
    expect(next).toMatchObject({ next: undefined, isDamaged: false })
    expect(next.bytes).toBeGreaterThan(0)
  })

  it('finds nothing wrong with the gaps that compaction leaves, and begins a segment again that was compacted meanwhile', async () => {
    const compacted = await dir.openLog({ topic: 'k', topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partition: 0, config: compactedConfig() })
    log = compacted
    for (let n = 0; n < 20; n++) await putKeyed(log, [[`k${n % 3}`, `${n}${'x'.repeat(n * 20)}`]])
    await roll(log, world)
    const before = await log.scrub(SCRUB_BEGIN, 200)
    expect(before.next).toMatchObject({ baseOffset: 0, generation: 0 })
    await compact(log, world)
    expect((await recordsOf(log)).length).toBeLessThan(10)
    expect(await log.scrub(before.next as ScrubPlace, 1 << 20)).toEqual(await log.scrub(SCRUB_BEGIN, 1 << 20))
    expect((await scrubAll(200)).bytes).toBe(log.describe().sizeBytes)
    expect(damage).toEqual([])
  })

  it('says nothing of a log that was closed while it was read', async () => {
    await flipBit(world.files, segment(0), 300)
    const scrubbing = log.scrub(SCRUB_BEGIN, 1 << 20)
    await Promise.all([scrubbing, log.close()])
    expect(damage).toEqual([])
  })
})

describe('reading what was damaged when it came', () => {
  it.each([
    ['a value', 300],
    ['the leader epoch', 15],
  ])('K31 refuses a batch with a flipped bit in %s, tells of it, and hands out what lies before', async (_what, inBatch) => {
    const [first] = await log.read(0, 1, 1)
    const batchBytes = first?.length ?? 0
    await flipBit(world.files, segment(0), 2 * batchBytes + inBatch)
    const read = async (offset: number, isSuspect = true): Promise<number> =>
      (await log.read(offset, 1 << 20, 20, isSuspect)).reduce((sum, { length }) => sum + length, 0)
    expect(await read(0)).toBe(2 * batchBytes)
    await expect(read(2)).rejects.toMatchObject({ code: 'CORRUPT_LOG' })
    expect(damage.at(-1)?.code).toBe('CORRUPT_LOG')
    damage = []
    expect(await read(3)).toBeGreaterThan(0)
    expect(damage).toEqual([])
    // The checksum is every reader's own business; the epoch nobody else can tell.
    if (inBatch === 300) expect(await read(2, false)).toBeGreaterThan(0)
    else await expect(read(2, false)).rejects.toMatchObject({ code: 'CORRUPT_LOG' })
  })

  it('does not look at the checksums of what is only passed on the way', async () => {
    log.configure(configOf({ indexIntervalBytes: 1 << 20 }))
    await flipBit(world.files, segment(0), 300)
    expect((await log.read(4, 100, 20, true)).length).toBe(1)
    expect(damage).toEqual([])
  })
})
