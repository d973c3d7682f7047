/**
 * A log at work, as a seed says: appends, flushes, checkpoints, rolling, retention or compaction, cutting, stopping, crashing. At every call to its
 * files `onCall` hears what would have to hold if the power went there.
 */
import type { DataDir } from '../../log/data-dir.ts'
import type { PartitionLog } from '../../log/partition-log.ts'
import { isCompacted, type TopicConfig } from '../../protocol/topic-config.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'
import { compact, compactedConfig, roll } from '../log/compaction-support.ts'
import { configOf, createWorld, ManualTime, openDir, openOrders, type TestWorld } from '../log/support.ts'
import { between, type Chance, pick, pickWeighted, streamOf } from '../../scripts/random.ts'
import { encode } from './batches.ts'
import type { Expected, SentBatch, WrittenRecord } from './expected.ts'
import { chooseImage } from './images.ts'

const KEYS = ['a', 'b', 'c', 'd', 'e', 'f'] as const
const PRODUCERS = [1, 2] as const

interface Step {
  readonly weight: number
  readonly take: (log: LogAtWork) => Promise<void> | void
}

const WRITING: readonly Step[] = [
  { weight: 12, take: (log) => log.append() },
  { weight: 6, take: (log) => log.turn() },
  { weight: 4, take: (log) => log.flush() },
  { weight: 2, take: (log) => log.passTime() },
]

const ENDING: readonly Step[] = [
  { weight: 0.5, take: (log) => log.restart() },
  { weight: 1, take: (log) => log.crash() },
]

/** Of a log whose old records are deleted. */
const DELETING: readonly Step[] = [
  ...WRITING,
  { weight: 1, take: (log) => log.retain() },
  { weight: 1, take: (log) => log.deleteRecords() },
  { weight: 1, take: (log) => log.cut() },
  ...ENDING,
]

/** Of one that is compacted. */
const COMPACTING: readonly Step[] = [
  ...WRITING,
  { weight: 2, take: (log) => log.compact() },
  { weight: 0.5, take: (log) => log.cut() },
  ...ENDING,
]

export class LogAtWork {
  readonly #chance: Chance
  readonly #config: TopicConfig
  readonly #onCall: (files: MemoryFiles, expected: Expected) => void
  #world: TestWorld
  #dir!: DataDir
  #log!: PartitionLog
  #records: readonly WrittenRecord[] = []
  #sent: readonly SentBatch[] = []
  /** Base offsets of the batches. */
  #starts: readonly number[] = []
  #durable = 0
  /** The log is being cut there: what is acknowledged above will be gone. */
  #cutAt = Number.POSITIVE_INFINITY
  #startMin = 0
  #startMax = 0
  /** A data directory is open, and not being closed. */
  #isInUse = false
  /** Below, records may have been compacted away: nothing is cut there any more. */
  #compactedBelow = 0
  #epoch = 1
  #count = 0

  constructor(seed: number, onCall: (files: MemoryFiles, expected: Expected) => void) {
    this.#chance = streamOf(seed, 'log')
    const durability = pick(this.#chance, ['fsync', 'fsync', 'replicated', 'none'] as const)
    this.#config =
      this.#chance() < 0.35
        ? compactedConfig({ durability, deleteRetentionMs: 5000 })
        : configOf({
            durability,
            segmentBytes: pick(this.#chance, [600, 1500, 4000]),
            indexIntervalBytes: 128,
            retentionBytes: 6000,
            fileDeleteDelayMs: 0,
          })
    this.#onCall = onCall
    this.#world = createWorld(new MemoryFiles({ pause: this.#called }), new ManualTime())
  }

  /** Does so much work, begun with a log that is not there yet. */
  async work(steps: number): Promise<void> {
    await this.#open()
    const kinds = isCompacted(this.#config) ? COMPACTING : DELETING
    for (let n = 0; n < steps; n++) await pickWeighted(this.#chance, kinds).take(this)
    await this.#close()
  }

  append(): void {
    const count = 1 + Math.floor(this.#chance() * 4)
    const end = this.#log.logEndOffset
    const records: WrittenRecord[] = Array.from({ length: count }, (_, at) => ({
      offset: end + at,
      key: pick(this.#chance, KEYS),
      value: this.#chance() < 0.1 ? null : `${this.#count++}:${'x'.repeat(Math.floor(this.#chance() * 400))}`,
      timestampMs: this.#world.time.nowMs + at,
      epoch: this.#epoch,
    }))
    const producerId = this.#chance() < 0.5 ? pick(this.#chance, PRODUCERS) : undefined
    const last = this.#sent.findLast((batch) => batch.producerId === producerId)
    const batch = producerId && { producerId, baseSequence: last === undefined ? 0 : last.baseSequence + last.records.length }
    this.#log.append(encode(records, batch), { leaderEpoch: this.#epoch })
    this.#records = [...this.#records, ...records]
    this.#starts = [...this.#starts, end]
    if (batch !== undefined) this.#sent = [...this.#sent, { ...batch, baseOffset: end, records }]
  }

  /** What is under way goes on a little. */
  async turn(): Promise<void> {
    for (let turns = 1 + Math.floor(this.#chance() * 3); turns > 0; turns--) await new Promise(setImmediate)
  }

  async flush(): Promise<void> {
    await this.#log.flush()
  }

  /** Checkpoints and syncs are due, tombstones get old. */
  async passTime(): Promise<void> {
    this.#world.time.advance(Math.floor(between(this.#chance, 500, 70_000)))
    await this.turn()
  }

  async retain(): Promise<void> {
    this.#startMax = this.#log.logEndOffset
    await this.#log.applyRetention(this.#log.flushedOffset)
    this.#noteStart()
  }

  async deleteRecords(): Promise<void> {
    const offset = Math.floor(between(this.#chance, this.#startMin, this.#durable + 1))
    this.#startMax = Math.max(this.#startMax, offset)
    await this.#log.deleteRecordsBefore(offset)
    this.#noteStart()
  }

  async compact(): Promise<void> {
    await this.#log.flush()
    await roll(this.#log, this.#world)
    this.#compactedBelow = this.#log.logEndOffset
    await compact(this.#log, this.#world, { memoryBytes: pick(this.#chance, [1 << 12, 1 << 20]) })
  }

  /** As a follower whose leader has something else there. */
  async cut(): Promise<void> {
    const least = Math.max(this.#startMin, this.#compactedBelow, this.#log.logEndOffset - 12)
    const from = this.#starts.find((start) => start >= least) ?? this.#log.logEndOffset
    const offset = Math.floor(between(this.#chance, from, this.#log.logEndOffset + 1))
    // A batch goes as a whole.
    const kept = offset === this.#log.logEndOffset ? offset : (this.#starts.findLast((start) => start <= offset) ?? offset)
    this.#cutAt = kept
    this.#durable = Math.min(this.#durable, kept)
    const { log, failure } = await this.#dir.truncateLog(this.#log, offset)
    if (failure !== undefined) throw failure
    this.#cutAt = Number.POSITIVE_INFINITY
    this.#epoch++
    this.#take(log)
  }

  async restart(): Promise<void> {
    await this.#close()
    this.#world = createWorld(this.#world.files.kill(), this.#world.time)
    await this.#open()
  }

  /** The power goes, and what is found is gone on with. */
  async crash(): Promise<void> {
    const { files, time } = this.#world
    this.#isInUse = false
    const image = chooseImage(files, this.#chance, this.#called)
    files.kill()
    this.#world = createWorld(image, time)
    await this.#open()
  }

  readonly #called = (): Promise<void> => {
    this.#onCall(this.#world.files, {
      config: this.#config,
      nowMs: this.#world.time.nowMs,
      records: this.#records,
      sent: this.#sent,
      durable: this.#durable,
      startMin: this.#startMin,
      startMax: this.#startMax,
      mayBeClean: !this.#isInUse,
    })
    return Promise.resolve()
  }

  async #open(): Promise<void> {
    this.#dir = await openDir(this.#world, { openFilesMax: 4 })
    this.#isInUse = true
    this.#take(await openOrders(this.#dir, this.#config))
  }

  async #close(): Promise<void> {
    this.#isInUse = false
    await this.#dir.close()
  }

  /** From here on what it has counts, no more and no less. */
  #take(log: PartitionLog): void {
    this.#log = log
    const end = log.logEndOffset
    this.#records = this.#records.filter(({ offset }) => offset < end)
    this.#sent = this.#sent.filter(({ baseOffset }) => baseOffset < end)
    this.#starts = this.#starts.filter((start) => start < end)
    this.#durable = log.flushedOffset
    this.#noteStart()
    log.setListener({
      advanced: () => {
        if (this.#log === log) this.#durable = Math.max(this.#durable, Math.min(log.flushedOffset, this.#cutAt))
      },
      undone() {},
    })
  }

  #noteStart(): void {
    this.#startMin = this.#log.logStartOffset
    this.#startMax = this.#startMin
  }
}
