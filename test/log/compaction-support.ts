/** Logs of keyed records, and what is left of them. */
import { CompactionPace } from '../../log/compaction-pace.ts'
import type { Compacted } from '../../log/compaction.ts'
import type { PartitionLog } from '../../log/partition-log.ts'
import { BatchBuilder, type ProducerStamp } from '../../protocol/batch-builder.ts'
import { readBaseOffset, readLastOffset } from '../../protocol/batch-header.ts'
import { readRecords, splitBatches } from '../../protocol/batch-reader.ts'
import type { CompressionName } from '../../protocol/compression.ts'
import type { TopicConfig } from '../../protocol/topic-config.ts'
import { configOf, NOW, type TestWorld } from './support.ts'

/** Small segments, compacted as soon as anything is dirty, tombstones for a minute. */
export function compactedConfig(changes: Partial<TopicConfig> = {}): TopicConfig {
  return configOf({
    cleanupPolicy: 'compact',
    segmentBytes: 600,
    segmentMs: 1000,
    indexIntervalBytes: 128,
    minCleanableDirtyRatio: 0,
    deleteRetentionMs: 60_000,
    fileDeleteDelayMs: 0,
    ...changes,
  })
}

/** `[key, value]`; null: none. */
export type KeyedRecord = readonly [key: string | null, value: string | null]

export interface KeyedOptions {
  readonly timestampMs?: number
  readonly producer?: ProducerStamp
  readonly compression?: CompressionName
}

export async function keyedBatch(records: readonly KeyedRecord[], options: KeyedOptions = {}): Promise<Buffer> {
  const { timestampMs = NOW, producer, compression = 'none' } = options
  const builder = new BatchBuilder()
  records.forEach(([key, value], index) =>
    builder.append(bytesOf(key), bytesOf(value), timestampMs + index, [['n', bytesOf(String(index))]]),
  )
  return Buffer.from(await builder.build(compression, producer))
}

/** Appends one batch and waits until it is durable. */
export async function putKeyed(log: PartitionLog, records: readonly KeyedRecord[], options: KeyedOptions = {}): Promise<number> {
  const { baseOffset } = log.append(await keyedBatch(records, options), { leaderEpoch: 0 })
  await log.flush()
  return baseOffset
}

/** As `putKeyed`, a batch for each record: `'k=v'`, `'k'` for a tombstone. */
export async function putAll(log: PartitionLog, ...texts: readonly string[]): Promise<void> {
  for (const text of texts) {
    const at = text.indexOf('=')
    await putKeyed(log, [at < 0 ? [text, null] : [text.slice(0, at), text.slice(at + 1)]])
  }
}

/** Every batch from `offset` on. */
export async function batchesOf(
  log: PartitionLog,
  offset: number = log.logStartOffset,
  endOffset: number = log.writtenOffset,
): Promise<Buffer[]> {
  const batches: Buffer[] = []
  for (let next = offset; next < endOffset; ) {
    const chunks = (await log.read(next, 400, endOffset)).flatMap(splitBatches)
    if (chunks.length === 0) throw new Error(`nothing at ${next}, the end is ${endOffset}`)
    for (const batch of chunks) {
      if (readLastOffset(batch) < next) throw new Error(`batch ${readBaseOffset(batch)} to ${readLastOffset(batch)} at ${next}`)
      batches.push(batch)
      next = readLastOffset(batch) + 1
    }
  }
  return batches
}

export interface LeftRecord {
  readonly offset: number
  readonly key: string | null
  readonly value: string | null
  readonly timestampMs: number
}

/** Every record that is left, in order. */
export async function recordsOf(log: PartitionLog, offset: number = log.logStartOffset): Promise<LeftRecord[]> {
  const records: LeftRecord[] = []
  for (const batch of await batchesOf(log, offset))
    for (const record of await readRecords(batch))
      if (record.offset >= offset)
        records.push({ offset: record.offset, key: textOf(record.key), value: textOf(record.value), timestampMs: record.timestampMs })
  return records
}

/** As `'3 k=v'`, `'4 k'` for a tombstone. */
export async function textsOf(log: PartitionLog, offset: number = log.logStartOffset): Promise<string[]> {
  return (await recordsOf(log, offset)).map(
    (record) => `${record.offset} ${record.key ?? ''}${record.value === null ? '' : `=${record.value}`}`,
  )
}

export function compact(
  log: PartitionLog,
  world: TestWorld,
  options: { highWatermark?: number; replicatedBelow?: number; memoryBytes?: number } = {},
): Promise<Compacted> {
  const { highWatermark = log.flushedOffset, replicatedBelow = log.flushedOffset, memoryBytes = 1 << 20 } = options
  log.compactor.replicated(replicatedBelow)
  return log.compactor.run(highWatermark, { pace: new CompactionPace(world.runtime, 0), memoryBytes })
}

/** Begins a new segment, so that everything so far may be compacted. Time passes, and no timer notices. */
export async function roll(log: PartitionLog, world: TestWorld): Promise<void> {
  world.time.nowMs += log.config.segmentMs + 1
  await log.applyRetention(log.flushedOffset)
}

export function bytesOf(text: string | null): Buffer | null {
  return text === null ? null : Buffer.from(text)
}

export function textOf(field: Buffer | null): string | null {
  return field === null ? null : field.toString()
}
