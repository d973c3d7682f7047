/** When what is read to find damage: over logs that are only as much as the loop looks at. */
import { expect, it } from 'vitest'
import { Counters } from '../../broker/counters.ts'
import type { Partition } from '../../broker/partition.ts'
import { ScrubLoop, type ScrubSettings } from '../../broker/scrub-loop.ts'
import type { ScrubPlace, ScrubStep } from '../../log/scrub.ts'
import { silentLog } from '../../runtime/node.ts'
import { chanceOf } from '../../scripts/random.ts'
import { VirtualTime } from '../sim/virtual-time.ts'

const MIB = 1024 * 1024
const HOUR_MS = 3_600_000

interface Read {
  readonly name: string
  readonly atMs: number
  readonly bytes: number
}

/** Partitions of so many bytes each. */
class Rig {
  readonly time = new VirtualTime()
  readonly counters = new Counters()
  readonly reads: Read[] = []
  readonly partitions: (Partition & { isChanging: boolean; isRetired: boolean })[]
  readonly loop: ScrubLoop

  constructor(sizes: readonly number[], settings: Partial<ScrubSettings> = {}) {
    this.partitions = sizes.map((sizeBytes, at) => this.#partition(`p${at}`, sizeBytes))
    const runtime = { timers: this.time, random: { float: chanceOf(3), bytes: Buffer.alloc }, log: silentLog }
    this.loop = new ScrubLoop(() => this.partitions, runtime, { periodMs: HOUR_MS, bytesPerSecondMax: MIB, ...settings }, this.counters)
  }

  bytesOf(name: string): number {
    return this.reads.reduce((sum, read) => sum + (read.name === name ? read.bytes : 0), 0)
  }

  #partition(name: string, sizeBytes: number): Partition & { isChanging: boolean; isRetired: boolean } {
    const scrub = async (place: ScrubPlace, maxBytes: number): Promise<ScrubStep> => {
      const bytes = Math.min(maxBytes, sizeBytes - place.position)
      const position = place.position + bytes
      this.reads.push({ name, atMs: this.time.elapsedMs, bytes })
      return { bytes, next: position < sizeBytes ? { ...place, position } : undefined, isDamaged: false }
    }
    const log = { logStartOffset: 0, logEndOffset: sizeBytes, describe: () => ({ sizeBytes }), scrub }
    return { topic: name, partition: 0, log, isRetired: false, isChanging: false } as unknown as Partition & {
      isChanging: boolean
      isRetired: boolean
    }
  }
}

it('reads everything once in a period, spread over it', async () => {
  const rig = new Rig([10 * MIB, 0, 20 * MIB, 30 * MIB])
  await rig.time.advance(HOUR_MS + 70_000)
  expect(['p0', 'p1', 'p2', 'p3'].map((name) => rig.bytesOf(name))).toEqual([10 * MIB, 0, 20 * MIB, 30 * MIB])
  expect(rig.counters).toMatchObject({ scrubbedBytes: 60 * MIB, scrubPassCount: 1 })
  const half = rig.reads.filter(({ atMs }) => atMs < HOUR_MS / 2).reduce((sum, { bytes }) => sum + bytes, 0)
  expect(half / MIB).toBeGreaterThan(25)
  expect(half / MIB).toBeLessThan(35)
})

it('reads no more in a second than it may, however much there is', async () => {
  const rig = new Rig([8000 * MIB])
  await rig.time.advance(160_000)
  // The first minute is a pause.
  expect(rig.counters.scrubbedBytes / MIB).toBeGreaterThan(95)
  expect(rig.counters.scrubbedBytes / MIB).toBeLessThanOrEqual(101)
})

it('reads little data more often, and a node without any nothing at all', async () => {
  const rig = new Rig([1000, 2000])
  await rig.time.advance(10 * 60_000)
  expect(rig.counters.scrubPassCount).toBeGreaterThan(2)
  const empty = new Rig([0, 0])
  await empty.time.advance(HOUR_MS)
  expect([empty.reads, empty.counters.scrubPassCount]).toEqual([[], 60])
  expect(empty.time.eventCount).toBeLessThan(100)
})

it('passes over what is being cut or is gone, and stops when it is closed', async () => {
  const rig = new Rig([MIB, MIB, MIB])
  const [first, second] = rig.partitions
  if (first === undefined || second === undefined) throw new Error('there are three')
  first.isChanging = true
  second.isRetired = true
  await rig.time.advance(HOUR_MS)
  expect([rig.bytesOf('p0'), rig.bytesOf('p1')]).toEqual([0, 0])
  expect(rig.bytesOf('p2')).toBeGreaterThanOrEqual(MIB)
  await rig.loop.close()
  const { length } = rig.reads
  await rig.time.advance(10 * HOUR_MS)
  expect(rig.reads).toHaveLength(length)
})
