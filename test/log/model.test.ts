import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { DataDir } from '../../log/data-dir.ts'
import type { PartitionLog } from '../../log/partition-log.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { DUPLICATE_WINDOW } from '../../protocol/ids.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'
import {
  batchOf,
  coin,
  configOf,
  contentOf,
  createWorld,
  crashed,
  ManualTime,
  NOW,
  openDir,
  openOrders,
  type TestWorld,
} from './support.ts'

/** What a log must hold: every record with its offset, and which of them may not be lost any more. */
interface Model {
  records: { readonly offset: number; readonly value: string; readonly timestampMs: number }[]
  start: number
  end: number
  durable: number
  /** Of producer 1: next sequence, and the batches it sent, oldest first. */
  nextSequence: number
  sent: { readonly baseSequence: number; readonly values: readonly string[]; readonly baseOffset: number; readonly timestampMs: number }[]
}

type Step =
  | { readonly kind: 'append'; readonly count: number; readonly bytes: number; readonly isIdempotent: boolean }
  | { readonly kind: 'retry' | 'flush' | 'reopen' | 'retention' | 'checkpoint' | 'pause' | 'kill' }
  | { readonly kind: 'crash'; readonly seed: number }
  | { readonly kind: 'delete'; readonly share: number }
  | { readonly kind: 'full'; readonly roomBytes: number }
  | { readonly kind: 'read'; readonly share: number; readonly maxBytes: number }
  | { readonly kind: 'time'; readonly share: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      count: fc.integer({ min: 1, max: 4 }),
      bytes: fc.integer({ min: 0, max: 600 }),
      isIdempotent: fc.boolean(),
    }),
  },
  {
    weight: 7,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        'retry' as const,
        'flush' as const,
        'reopen' as const,
        'retention' as const,
        'checkpoint' as const,
        'pause' as const,
        'kill' as const,
      ),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('crash' as const), seed: fc.integer({ min: 0, max: 2 ** 31 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('delete' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('full' as const), roomBytes: fc.integer({ min: 0, max: 3000 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('read' as const),
      share: fc.double({ min: 0, max: 1, noNaN: true }),
      maxBytes: fc.integer({ min: 0, max: 3000 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('time' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }) },
)

class Rig {
  world: TestWorld
  readonly options: { readonly durability: 'fsync' | 'replicated' | 'none'; readonly tailCacheBytes: number }
  dir!: DataDir
  log!: PartitionLog
  readonly model: Model = { records: [], start: 0, end: 0, durable: 0, nextSequence: 0, sent: [] }
  #valueCount = 0

  constructor(options: Rig['options'], turnsMax: number) {
    this.options = options
    let turns = 0
    const pause = async (): Promise<void> => {
      turns = (turns * 7 + 3) % 11
      for (let i = 0; i < turns % (turnsMax + 1); i++) await new Promise(setImmediate)
    }
    this.world = createWorld(new MemoryFiles({ pause }), new ManualTime())
  }

  async open(): Promise<void> {
    this.dir = await openDir(this.world, { tailCacheBytes: this.options.tailCacheBytes, openFilesMax: 4 })
    this.log = await openOrders(
      this.dir,
      configOf({ durability: this.options.durability, segmentBytes: 3000, retentionBytes: 9000, fileDeleteDelayMs: 0 }),
    )
    const { log, world } = this
    log.setListener({
      advanced: () => {
        // What a killed process still hears does not count.
        if (this.world === world) this.model.durable = Math.max(this.model.durable, log.flushedOffset)
      },
      undone: (fromOffset) => this.#cut(fromOffset),
    })
  }

  #cut(offset: number): void {
    const { model } = this
    if (offset < model.durable) throw new Error(`durable up to ${model.durable}, taken back from ${offset}`)
    model.records = model.records.filter((record) => record.offset < offset)
    model.end = offset
    const lost = model.sent.find((batch) => batch.baseOffset >= offset)
    if (lost !== undefined) model.nextSequence = lost.baseSequence
    model.sent = model.sent.filter((batch) => batch.baseOffset < offset)
  }

  append(count: number, bytes: number, isIdempotent: boolean): void {
    const { model } = this
    const values = Array.from({ length: count }, () => `${this.#valueCount++}:${'x'.repeat(bytes)}`)
    const timestampMs = NOW + this.#valueCount * 10
    const producer = isIdempotent ? { id: 1, epoch: 0, baseSequence: model.nextSequence } : undefined
    try {
      const { baseOffset } = this.log.append(batchOf(values, { timestampMs, ...(producer && { producer }) }), { leaderEpoch: 3 })
      expect(baseOffset).toBe(model.end)
      values.forEach((value, index) => model.records.push({ offset: baseOffset + index, value, timestampMs: timestampMs + index }))
      model.end += count
      if (producer !== undefined) {
        model.sent.push({ baseSequence: producer.baseSequence, values, baseOffset, timestampMs })
        model.nextSequence += count
      }
    } catch (error) {
      if (!TidemarkError.is(error) || error.code !== 'DISK_FULL') throw error
    }
  }

  /** Every batch of the producer's window is known, and the next in sequence is expected. */
  retry(): void {
    for (const { values, baseSequence, baseOffset, timestampMs } of this.model.sent.slice(-DUPLICATE_WINDOW)) {
      try {
        const answer = this.log.append(batchOf(values, { timestampMs, producer: { id: 1, epoch: 0, baseSequence } }), { leaderEpoch: 3 })
        expect(answer).toMatchObject({ duplicate: true, baseOffset })
      } catch (error) {
        if (!TidemarkError.is(error) || error.code !== 'DISK_FULL') throw error
      }
    }
  }

  async flush(): Promise<void> {
    await this.log.flush().catch((error: unknown) => {
      if (!TidemarkError.is(error) || error.code !== 'DISK_FULL') throw error
    })
  }

  async makeRoom(): Promise<void> {
    this.world.files.capacityBytes = Number.MAX_SAFE_INTEGER
    this.world.time.advance(1001)
    try {
      this.log.append(Buffer.alloc(0), { leaderEpoch: 3 })
    } catch {
      // Looks at the free space in passing.
    }
    for (let i = 0; i < 12; i++) await new Promise(setImmediate)
  }

  crash(seed: number): Promise<void> {
    return this.#restart(crashed(this.world, seed % 3 === 0 ? undefined : coin(seed)), this.model.durable)
  }

  kill(): Promise<void> {
    return this.#restart(createWorld(this.world.files.kill(), this.world.time), this.log.writtenOffset)
  }

  async #restart(world: TestWorld, survivingOffset: number): Promise<void> {
    const { model } = this
    this.world = world
    await this.open()
    expect(this.log.logEndOffset).toBeGreaterThanOrEqual(survivingOffset)
    expect(this.log.logEndOffset).toBeLessThanOrEqual(model.end)
    this.#cut(this.log.logEndOffset)
    model.durable = model.end
    expect(this.log.flushedOffset).toBe(model.end)
    await this.check()
    this.retry()
  }

  async check(): Promise<void> {
    const { model, log } = this
    expect(log.logStartOffset).toBe(model.start)
    expect(log.logEndOffset).toBe(model.end)
    expect(await contentOf(log, model.start, log.writtenOffset)).toEqual(
      model.records.filter(({ offset }) => offset < log.writtenOffset).map(({ offset, value }) => [offset, value]),
    )
  }

  trim(): void {
    this.model.start = this.log.logStartOffset
    this.model.records = this.model.records.filter(({ offset }) => offset >= this.model.start)
  }

  async do(one: Step): Promise<void> {
    const { model } = this
    const offset = 'share' in one ? model.start + Math.floor(one.share * (this.log.writtenOffset - model.start)) : 0
    switch (one.kind) {
      case 'append':
        return this.append(one.count, one.bytes, one.isIdempotent)
      case 'retry':
        return this.retry()
      case 'pause':
        await new Promise(setImmediate)
        return
      case 'flush':
        return this.flush()
      case 'checkpoint':
        return this.world.time.advance(60_000)
      case 'retention':
        await this.log.applyRetention(this.log.flushedOffset)
        return this.trim()
      case 'delete':
        await this.log.deleteRecordsBefore(offset)
        expect(this.log.logStartOffset).toBeGreaterThanOrEqual(Math.min(offset, model.durable))
        return this.trim()
      case 'reopen':
        await this.dir.close()
        expect(model.durable).toBe(model.end)
        await this.open()
        expect(this.dir.owner.wasCleanShutdown).toBe(true)
        return this.check()
      case 'kill':
        return this.kill()
      case 'crash':
        return this.crash(one.seed)
      case 'full':
        this.world.files.capacityBytes = this.world.files.usedBytes + one.roomBytes
        for (let i = 0; i < 6; i++) this.append(2, 400, true)
        await this.flush()
        await this.makeRoom()
        return this.check()
      case 'read': {
        const end = this.log.writtenOffset
        const batches = await this.log.read(offset, one.maxBytes, end)
        expect(batches.length > 0).toBe(offset < end)
        return
      }
      case 'time': {
        const target = model.records.find((record) => record.offset >= offset)?.timestampMs ?? NOW
        const end = this.log.writtenOffset
        const expected = model.records.find((record) => record.timestampMs >= target && record.offset < end)
        const found = await this.log.offsetForTimestamp(target, end)
        expect(found).toEqual(expected && { offset: expected.offset, timestampMs: expected.timestampMs })
        return
      }
    }
  }
}

describe('a log under random work, restarts, crashes and full disks', () => {
  it.each(['fsync', 'replicated', 'none'] as const)(
    'with durability %s keeps what was flushed, has no gaps, and knows its producers',
    async (durability) => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(step, { minLength: 1, maxLength: 40 }),
          fc.constantFrom(0, 3000, 1 << 20),
          fc.integer({ min: 0, max: 3 }),
          async (steps, tailCacheBytes, turnsMax) => {
            const rig = new Rig({ durability, tailCacheBytes }, turnsMax)
            await rig.open()
            for (const one of steps) await rig.do(one)
            await rig.flush()
            await rig.check()
            await rig.crash(3)
            await rig.dir.close()
            expect(rig.world.files.openHandleCount).toBe(0)
          },
        ),
        { numRuns: Number(process.env.TIDEMARK_TEST_RUNS ?? 100) },
      )
    },
  )
})
