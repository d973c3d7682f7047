import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { DataDir } from '../../log/data-dir.ts'
import type { LeaderEpochEntry } from '../../log/leader-epochs.ts'
import type { PartitionLog } from '../../log/partition-log.ts'
import { verifyPartition } from '../../log/verify.ts'
import { readBaseOffset, readLastOffset } from '../../protocol/batch-header.ts'
import type { CompressionName } from '../../protocol/compression.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'
import { batchesOf, compact, compactedConfig, keyedBatch, type LeftRecord, recordsOf, roll } from './compaction-support.ts'
import { coin, createWorld, crashed, ManualTime, NOW, openDir, openOrders, PARTITION, type TestWorld } from './support.ts'

const TOMBSTONES_MS = 20_000

/** Everything that was ever appended, and what may be missing of it by now. */
interface Model {
  records: LeftRecord[]
  start: number
  end: number
  durable: number
  epoch: number
  epochs: LeaderEpochEntry[]
  /** Compaction may have looked at what lies below. */
  touchedBelow: number
  /** Below, exactly the newest of each key is left. */
  cleanBelow: number
  /** When compaction may have seen a tombstone first, by offset. */
  readonly seenMs: Map<number, number>
  sent: { readonly baseSequence: number; readonly baseOffset: number; readonly batch: Buffer }[]
  nextSequence: number
}

type Step =
  | {
      readonly kind: 'append'
      readonly keys: readonly number[]
      readonly bytes: number
      readonly isIdempotent: boolean
      readonly compression: CompressionName
    }
  | { readonly kind: 'compact'; readonly share: number; readonly keysInMemory: number }
  | { readonly kind: 'crashWhileCompacting'; readonly calls: number; readonly seed: number }
  | { readonly kind: 'delete'; readonly share: number }
  | { readonly kind: 'crash'; readonly seed: number }
  | { readonly kind: 'roll' | 'reopen' | 'kill' | 'newEpoch' | 'wait' | 'retry' | 'forgetState' }

const share = fc.double({ min: 0, max: 1, noNaN: true })
const seed = fc.integer({ min: 1, max: 2 ** 31 })

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 14,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      keys: fc.array(fc.integer({ min: -6, max: 6 }), { minLength: 1, maxLength: 5 }),
      bytes: fc.integer({ min: 0, max: 200 }),
      isIdempotent: fc.boolean(),
      compression: fc.constantFrom<CompressionName>('none', 'none', 'none', 'gzip', 'lz4', 'snappy', 'zstd'),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('compact' as const), share, keysInMemory: fc.constantFrom(1, 2, 3, 7, 100) }),
  },
  {
    weight: 6,
    arbitrary: fc.constantFrom<Step>(
      { kind: 'roll' },
      { kind: 'roll' },
      { kind: 'reopen' },
      { kind: 'kill' },
      { kind: 'newEpoch' },
      { kind: 'newEpoch' },
      { kind: 'wait' },
      { kind: 'wait' },
      { kind: 'retry' },
      { kind: 'forgetState' },
      { kind: 'forgetState' },
    ),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('delete' as const), share }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('crash' as const), seed }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('crashWhileCompacting' as const), calls: fc.nat(150), seed }) },
)

class Rig {
  world: TestWorld
  dir!: DataDir
  log!: PartitionLog
  readonly model: Model = {
    records: [],
    start: 0,
    end: 0,
    durable: 0,
    epoch: 0,
    epochs: [],
    touchedBelow: 0,
    cleanBelow: 0,
    seenMs: new Map(),
    sent: [],
    nextSequence: 0,
  }
  readonly #tailCacheBytes: number
  #valueCount = 0
  /** Called at every call of a file. */
  #onCall: () => void = () => {}

  constructor(tailCacheBytes: number) {
    this.#tailCacheBytes = tailCacheBytes
    const time = new ManualTime()
    const pause = async (): Promise<void> => this.#onCall()
    this.world = createWorld(new MemoryFiles({ pause }), time)
  }

  async open(): Promise<void> {
    this.dir = await openDir(this.world, { openFilesMax: 4, tailCacheBytes: this.#tailCacheBytes })
    this.log = await openOrders(this.dir, compactedConfig({ deleteRetentionMs: TOMBSTONES_MS, segmentBytes: 800 }))
    const { log, world } = this
    log.setListener({
      advanced: () => {
        if (this.world === world) this.model.durable = Math.max(this.model.durable, log.flushedOffset)
      },
      undone() {},
    })
  }

  async append({ keys, bytes, isIdempotent, compression }: Step & { kind: 'append' }): Promise<void> {
    const { model, world } = this
    const timestampMs = world.time.nowMs
    const records = keys.map((n) => [`k${Math.abs(n)}`, n < 0 ? null : `${this.#valueCount++}:${'x'.repeat(bytes)}`] as const)
    const producer = isIdempotent ? { id: 3, epoch: 0, baseSequence: model.nextSequence } : undefined
    const batch = await keyedBatch(records, { timestampMs, compression, ...(producer && { producer }) })
    const sent = Buffer.from(batch)
    const { baseOffset } = this.log.append(batch, { leaderEpoch: model.epoch })
    expect(baseOffset).toBe(model.end)
    records.forEach(([key, value], index) =>
      model.records.push({ offset: baseOffset + index, key, value, timestampMs: timestampMs + index }),
    )
    if (model.epochs.at(-1)?.epoch !== model.epoch) model.epochs.push({ epoch: model.epoch, startOffset: baseOffset })
    model.end += records.length
    if (producer === undefined) return
    model.sent.push({ baseSequence: producer.baseSequence, baseOffset, batch: sent })
    model.nextSequence += records.length
  }

  /** What may be compacted from here on may be missing. */
  #noteTouched(highWatermark: number): void {
    const { model, world } = this
    const end = Math.min(highWatermark, this.log.flushedOffset)
    model.touchedBelow = Math.max(model.touchedBelow, end)
    for (const { offset, value } of model.records)
      if (value === null && offset < end && !model.seenMs.has(offset)) model.seenMs.set(offset, world.time.nowMs)
  }

  async compact(highWatermark: number, keysInMemory: number): Promise<void> {
    this.#noteTouched(highWatermark)
    await compact(this.log, this.world, { highWatermark, memoryBytes: Math.ceil(keysInMemory / 0.8) * 24 })
    this.model.cleanBelow = Math.max(this.model.cleanBelow, await this.#sealedBelow(highWatermark))
  }

  /** Where the last sealed segment below an offset ends, by the names of the files: what compaction had to look at. */
  async #sealedBelow(highWatermark: number): Promise<number> {
    const names = await this.world.files.list(PARTITION)
    const bases = names.flatMap((name) => (/^\d+(\.\d+)?\.log$/.test(name) ? [Number(name.slice(0, 20))] : []))
    return Math.max(0, ...bases.filter((base) => base <= highWatermark))
  }

  async crashWhileCompacting(calls: number, lossSeed: number): Promise<void> {
    await this.log.flush()
    this.#noteTouched(this.log.flushedOffset)
    const power = Promise.withResolvers<void>()
    let left = calls
    let survivor: TestWorld | undefined
    this.#onCall = () => {
      if (left-- > 0 || survivor !== undefined) return
      survivor = crashed(this.world, lossSeed % 3 === 0 ? undefined : coin(lossSeed))
      power.resolve()
    }
    await Promise.race([compact(this.log, this.world, { memoryBytes: 5 * 24 }).catch(() => {}), power.promise])
    this.#onCall = () => {}
    await this.#restart(survivor ?? crashed(this.world, coin(lossSeed)))
  }

  async #restart(world: TestWorld): Promise<void> {
    const { model } = this
    this.world = world
    await this.open()
    const { logEndOffset } = this.log
    expect(logEndOffset).toBeGreaterThanOrEqual(model.durable)
    expect(logEndOffset).toBeLessThanOrEqual(model.end)
    model.records = model.records.filter(({ offset }) => offset < logEndOffset)
    const lost = model.sent.find(({ baseOffset }) => baseOffset >= logEndOffset)
    if (lost !== undefined) model.nextSequence = lost.baseSequence
    model.sent = model.sent.filter(({ baseOffset }) => baseOffset < logEndOffset)
    model.epochs = model.epochs.filter(({ startOffset }) => startOffset < logEndOffset)
    model.epoch = Math.max(model.epoch, model.epochs.at(-1)?.epoch ?? 0)
    model.end = logEndOffset
    model.durable = logEndOffset
  }

  /** The last batches of the producer are known. */
  retry(): void {
    for (const { batch, baseOffset } of this.model.sent.slice(-5))
      expect(this.log.append(Buffer.from(batch), { leaderEpoch: this.model.epoch })).toMatchObject({ duplicate: true, baseOffset })
  }

  async check(): Promise<void> {
    const { model, log, world } = this
    await log.flush()
    expect([log.logStartOffset, log.logEndOffset]).toEqual([model.start, model.end])
    const left = await recordsOf(log)
    const live = model.records.filter(({ offset }) => offset >= model.start)
    this.#checkRecords(left, live, world.time.nowMs)
    this.#checkEpochs()
    await this.#checkLookUps(left)
    expect((await verifyPartition(world.files, PARTITION)).findings.filter(({ severity }) => severity === 'damage')).toEqual([])
  }

  #checkRecords(left: readonly LeftRecord[], live: readonly LeftRecord[], nowMs: number): void {
    const { model } = this
    const byOffset = new Map(live.map((record) => [record.offset, record]))
    const leftOffsets = new Set(left.map(({ offset }) => offset))
    // Nothing that was not written, and nothing twice or out of order.
    for (const record of left) expect(record).toEqual(byOffset.get(record.offset))
    expect([...leftOffsets]).toEqual([...leftOffsets].sort((a, b) => a - b))
    const newest = new Map<string | null, LeftRecord>()
    const newestClean = new Map<string | null, LeftRecord>()
    for (const record of live) {
      newest.set(record.key, record)
      if (record.offset < model.cleanBelow) newestClean.set(record.key, record)
    }
    for (const { offset, key, value } of newest.values()) {
      if (leftOffsets.has(offset)) continue
      // Only a tombstone may be gone, when its time is over; and then nothing of what it deleted may be there.
      expect([offset, value]).toEqual([offset, null])
      expect(nowMs).toBeGreaterThanOrEqual((model.seenMs.get(offset) ?? Number.POSITIVE_INFINITY) + TOMBSTONES_MS)
      expect(left.filter((other) => other.key === key)).toEqual([])
    }
    // Beyond what compaction was given nothing is missing; of what it has worked off, nothing but the newest is left.
    for (const { offset } of live) if (offset >= model.touchedBelow) expect(leftOffsets).toContain(offset)
    for (const { offset, key } of left) if (offset < model.cleanBelow) expect(newestClean.get(key)?.offset).toBe(offset)
  }

  #checkEpochs(): void {
    const { model, log } = this
    const later = model.epochs.filter(({ startOffset }) => startOffset > model.start)
    const entries = log.leaderEpochs.entries.filter(({ startOffset }) => startOffset > model.start)
    expect(entries).toEqual(later)
  }

  async #checkLookUps(left: readonly LeftRecord[]): Promise<void> {
    const { model, log } = this
    const batches = await batchesOf(log)
    if (model.end > model.start) expect(readLastOffset(batches.at(-1) as Buffer)).toBe(model.end - 1)
    for (let offset = model.start; offset < model.end; offset += 3) {
      const [first] = await log.read(offset, 0, model.end)
      const expected = batches.find((batch) => readLastOffset(batch) >= offset) as Buffer
      expect(readBaseOffset(first as Buffer)).toBe(readBaseOffset(expected))
    }
    for (const timestampMs of [0, NOW + 1000, left.at(-1)?.timestampMs ?? NOW]) {
      const found = left.find((record) => record.timestampMs >= timestampMs)
      const expected = found && { offset: found.offset, timestampMs: found.timestampMs }
      expect(await log.offsetForTimestamp(timestampMs, model.end)).toEqual(expected)
    }
    const largest = Math.max(...left.map((record) => record.timestampMs))
    expect((await log.offsetOfMaxTimestamp(model.end))?.timestampMs).toBe(left.length === 0 ? undefined : largest)
  }

  async do(one: Step): Promise<void> {
    const { model, log, world } = this
    switch (one.kind) {
      case 'append':
        await this.append(one)
        world.time.nowMs += 100
        return
      case 'compact':
        await log.flush()
        return this.compact(model.start + Math.ceil(one.share * 1.2 * (model.end - model.start)), one.keysInMemory)
      case 'roll':
        await log.flush()
        return roll(log, world)
      case 'wait':
        return world.time.advance(TOMBSTONES_MS / 2)
      case 'newEpoch':
        model.epoch += 2
        return
      case 'delete':
        await log.flush()
        model.start = await log.deleteRecordsBefore(model.start + Math.floor(one.share * one.share * (model.end - model.start)))
        return
      case 'retry':
        return this.retry()
      case 'reopen':
      case 'forgetState':
        await this.dir.close()
        // Producers and epochs are then read from the log, of which much is gone.
        if (one.kind === 'forgetState')
          for (const name of await world.files.list(PARTITION))
            if (/snapshot|leader-epoch/.test(name)) await world.files.remove(`${PARTITION}/${name}`)
        await this.open()
        // What is made again from the log knows nothing of what was deleted from it.
        if (one.kind !== 'reopen') model.sent = model.sent.filter(({ baseOffset }) => baseOffset >= model.start)
        return this.retry()
      case 'kill':
        return this.#restart(createWorld(world.files.kill(), world.time))
      case 'crash':
        return this.#restart(crashed(world, coin(one.seed)))
      case 'crashWhileCompacting':
        return this.crashWhileCompacting(one.calls, one.seed)
    }
  }
}

/** More is a matter of patience. */
const RUNS = Number(process.env.TIDEMARK_TEST_RUNS ?? 60)

describe('a log under random work, compactions, deletions and crashes', () => {
  it('keeps the newest record of each key, at its offset, and all that compaction was not given', {
    timeout: 20_000 + RUNS * 500,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 60, size: 'max' }),
        fc.constantFrom(0, 3000, 1 << 20),
        async (steps, tailCacheBytes) => {
          const rig = new Rig(tailCacheBytes)
          await rig.open()
          for (const one of steps) {
            await rig.do(one)
            if (one.kind !== 'append') await rig.check()
          }
          await rig.check()
          await rig.dir.close()
          expect(rig.world.files.openHandleCount).toBe(0)
        },
      ),
      { numRuns: RUNS },
    )
  })
})
