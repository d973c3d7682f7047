/** A data directory in memory with a clock that tests move by hand. */
import { DataDir, type DataDirOptions } from '../../log/data-dir.ts'
import type { PartitionLog } from '../../log/partition-log.ts'
import { BatchBuilder } from '../../protocol/batch-builder.ts'
import { readBaseOffset, readLastOffset } from '../../protocol/batch-header.ts'
import { readRecords, splitBatches } from '../../protocol/batch-reader.ts'
import { DEFAULT_TOPIC_CONFIG, type TopicConfig } from '../../protocol/topic-config.ts'
import type { Runtime, Timer } from '../../runtime/runtime.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'

export const TOPIC_ID = 'AAAAAAAAAAAAAAAAAAAAAA'
export const DATA = '/data'
export const PARTITION = `${DATA}/topics/orders-0`
export const NOW = 1_800_000_000_000

/** Time that passes only when told. `nextTurn` is the event loop's own. */
export class ManualTime {
  nowMs: number
  #timers: { dueMs: number; readonly periodMs: number | undefined; readonly run: () => void }[] = []

  constructor(nowMs: number = NOW) {
    this.nowMs = nowMs
  }

  get timerCount(): number {
    return this.#timers.length
  }

  add(delayMs: number, periodMs: number | undefined, run: () => void): Timer {
    const entry = { dueMs: this.nowMs + delayMs, periodMs, run }
    this.#timers.push(entry)
    return { cancel: () => void (this.#timers = this.#timers.filter((one) => one !== entry)) }
  }

  advance(ms: number): void {
    this.nowMs += ms
    const due = this.#timers.filter(({ dueMs }) => dueMs <= this.nowMs)
    this.#timers = this.#timers.filter(({ dueMs }) => dueMs > this.nowMs)
    for (const timer of due) {
      if (timer.periodMs !== undefined) {
        timer.dueMs = this.nowMs + timer.periodMs
        this.#timers.push(timer)
      }
      timer.run()
    }
  }
}

export interface TestLogLine {
  readonly level: string
  readonly event: string
  readonly fields: unknown
}

export interface TestWorld {
  readonly runtime: Runtime
  readonly files: MemoryFiles
  readonly time: ManualTime
  readonly lines: TestLogLine[]
}

export function createWorld(files: MemoryFiles = new MemoryFiles(), time: ManualTime = new ManualTime()): TestWorld {
  const lines: TestLogLine[] = []
  const say = (level: string) => (event: string, fields?: unknown) => void lines.push({ level, event, fields })
  let byte = 0
  const runtime: Runtime = {
    clock: { now: () => time.nowMs, monotonic: () => time.nowMs },
    timers: {
      after: (delayMs, run) => time.add(delayMs, undefined, run),
      every: (periodMs, run) => time.add(periodMs, periodMs, run),
      nextTurn: (run) => void setImmediate(run),
    },
    random: { float: () => 0.5, bytes: (count) => Buffer.alloc(count, ++byte) },
    files,
    log: { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') },
  }
  return { runtime, files, time, lines }
}

/** A small generator of our own, so that a crash is a function of its seed. */
export function coin(seed: number): () => boolean {
  let state = seed | 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state & 4) !== 0
  }
}

/** The world after the plug was pulled: same time, what survived of the files. */
export function crashed(world: TestWorld, keep?: () => boolean): TestWorld {
  return createWorld(world.files.crash(keep), world.time)
}

export function openDir(world: TestWorld, options: Partial<DataDirOptions> = {}): Promise<DataDir> {
  return DataDir.open(DATA, { runtime: world.runtime, tailCacheBytes: 0, openFilesMax: 16, diskMinFreeBytes: 0, ...options })
}

/** Small segments and a dense index, so that few records make many of both. */
export function configOf(changes: Partial<TopicConfig> = {}): TopicConfig {
  return { ...DEFAULT_TOPIC_CONFIG, segmentBytes: 4096, indexIntervalBytes: 512, retentionMs: Number.POSITIVE_INFINITY, ...changes }
}

export function openOrders(dir: DataDir, config: TopicConfig = configOf()): Promise<PartitionLog> {
  return dir.openLog({ topic: 'orders', topicId: TOPIC_ID, partition: 0, config })
}

export interface BatchOptions {
  readonly timestampMs?: number
  readonly producer?: { readonly id: number; readonly epoch: number; readonly baseSequence: number }
}

/** One batch of records with these values; the timestamps count up from the first. */
export function batchOf(values: readonly string[], options: BatchOptions = {}): Buffer {
  const builder = new BatchBuilder()
  values.forEach((value, index) => builder.append(null, Buffer.from(value), (options.timestampMs ?? NOW) + index))
  return Buffer.from(builder.buildSync('none', options.producer))
}

/** Appends a batch of about `bytes` and waits until it is durable. */
export async function put(log: PartitionLog, value: string, options: BatchOptions = {}): Promise<number> {
  const { baseOffset } = log.append(batchOf([value], options), { leaderEpoch: 0 })
  await log.flush()
  return baseOffset
}

/** Every record from `offset` on, as `[offset, value]`. */
export async function contentOf(
  log: PartitionLog,
  offset: number = log.logStartOffset,
  endOffset: number = log.logEndOffset,
): Promise<[number, string][]> {
  const records: [number, string][] = []
  for (let next = offset; next < endOffset; ) {
    const chunks = await log.read(next, 1000, endOffset)
    if (chunks.length === 0) throw new Error(`nothing at ${next}, the end is ${endOffset}`)
    for (const batch of chunks.flatMap(splitBatches)) {
      if (readBaseOffset(batch) > next) throw new Error(`gap: ${next} to ${readBaseOffset(batch)}`)
      for (const record of await readRecords(batch)) if (record.offset >= next) records.push([record.offset, String(record.value)])
      next = readLastOffset(batch) + 1
    }
  }
  return records
}

export async function readWhole(files: MemoryFiles, path: string): Promise<Buffer> {
  const handle = await files.open(path, 'read')
  const content = Buffer.alloc((await handle.stat()).sizeBytes)
  await handle.read(content, 0, content.length, 0)
  await handle.close()
  return content
}

export async function overwrite(files: MemoryFiles, path: string, content: Buffer, position = 0): Promise<void> {
  const handle = await files.open(path, 'create')
  if (position === 0) await handle.truncate(0)
  await handle.write([content], position)
  await handle.datasync()
  await handle.close()
  await files.syncDirectory(path.slice(0, path.lastIndexOf('/')))
}

export async function flipBit(files: MemoryFiles, path: string, position: number): Promise<void> {
  const content = await readWhole(files, path)
  content[position] = (content[position] as number) ^ 1
  await overwrite(files, path, content)
}
