/**
 * Measures the log against what the disk gives without it, in one run on one directory.
 *
 *   node scripts/bench/log.ts [--dir /tmp] [--mib 256] [--runs 3]
 *
 * Append: the same batches, validated and stored by a `PartitionLog`, beside a loop that writes the same bytes to a bare file with the
 * same calls. `fsync`: a sync after every write, overlapping the next; `replicated`: a sync per 1 MiB in the
 * background; `none`: writes only. Read: the log beside plain reads of the same file.
 */
import { closeSync, fdatasync, fdatasyncSync, mkdtempSync, openSync, readdirSync, readSync, rmSync, writev } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { DataDir } from '../../log/data-dir.ts'
import type { PartitionLog } from '../../log/partition-log.ts'
import { BatchBuilder } from '../../protocol/batch-builder.ts'
import { validateProducedBatch } from '../../protocol/batch-header.ts'
import { DEFAULT_TOPIC_CONFIG, type Durability, type TopicConfig } from '../../protocol/topic-config.ts'
import { nodeRuntime } from '../../runtime/node.ts'

const { values } = parseArgs({
  options: {
    dir: { type: 'string', default: '/tmp' },
    mib: { type: 'string', default: '256' },
    runs: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
  },
})
const TOTAL_BYTES = Number(values.mib) * 1024 * 1024
const RUNS = Number(values.runs)
/** Appends in flight: what one producer keeps unacknowledged. */
const WINDOW_BYTES = 4 * 1024 * 1024
/** What arrives in one turn of the event loop. */
const TURN_BYTES = 1024 * 1024
const FLUSH_BYTES = 1024 * 1024
const READ_BYTES = 1024 * 1024
const TOPIC_ID = 'AAAAAAAAAAAAAAAAAAAAAA'

interface Measured {
  readonly mbPerSecond: number
  readonly cpuSecondsPerGb: number
  /** Syncs it took. */
  readonly syncCount: number
}

function makeBatches(batchBytes: number): Buffer[] {
  const value = Buffer.alloc(1000, 'v')
  return Array.from({ length: Math.ceil(TOTAL_BYTES / batchBytes) }, () => {
    const builder = new BatchBuilder(batchBytes + 2048)
    while (builder.sizeBytes + 1020 < batchBytes) builder.append(null, value, Date.now())
    return builder.buildSync()
  })
}

async function measure(bytes: number, work: () => Promise<number>): Promise<Measured> {
  const cpu = process.cpuUsage()
  const startedMs = performance.now()
  const syncCount = await work()
  const seconds = (performance.now() - startedMs) / 1000
  const used = process.cpuUsage(cpu)
  return { mbPerSecond: bytes / 1e6 / seconds, cpuSecondsPerGb: (used.user + used.system) / 1e6 / (bytes / 1e9), syncCount }
}

async function inDirectory<T>(work: (path: string) => Promise<T>): Promise<T> {
  const path = mkdtempSync(join(values.dir, 'tidemark-bench-'))
  try {
    return await work(path)
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
}

async function openLog(
  path: string,
  changes: Partial<TopicConfig>,
  tailCacheBytes = 64 * 1024 * 1024,
): Promise<{ dir: DataDir; log: PartitionLog }> {
  const dir = await DataDir.open(path, { runtime: nodeRuntime(), tailCacheBytes, openFilesMax: 100, diskMinFreeBytes: 0 })
  const log = await dir.openLog({
    topic: 'bench',
    topicId: TOPIC_ID,
    partition: 0,
    config: { ...DEFAULT_TOPIC_CONFIG, maxMessageBytes: 4 * READ_BYTES, segmentBytes: 1024 ** 3, ...changes },
  })
  return { dir, log }
}

const acknowledgedOffset: Record<Durability, (log: PartitionLog) => number> = {
  fsync: (log) => log.flushedOffset,
  replicated: (log) => log.writtenOffset,
  none: (log) => log.writtenOffset,
}

/** Keeps the window full until all is acknowledged, as a pipelined producer does. */
function appendAll(log: PartitionLog, batches: readonly Buffer[], durability: Durability): Promise<void> {
  const acknowledged = acknowledgedOffset[durability]
  const ends: { offset: number; bytes: number }[] = []
  let first = 0
  let next = 0
  let inFlightBytes = 0
  return new Promise((resolve, reject) => {
    const pump = (): void => {
      const offset = acknowledged(log)
      while (first < ends.length && (ends[first]?.offset ?? 0) <= offset) inFlightBytes -= ends[first++]?.bytes ?? 0
      let turnBytes = 0
      while (next < batches.length && inFlightBytes < WINDOW_BYTES && turnBytes < TURN_BYTES) {
        const batch = batches[next++] as Buffer
        ends.push({ offset: log.append(batch, { leaderEpoch: 0 }).lastOffset + 1, bytes: batch.length })
        inFlightBytes += batch.length
        turnBytes += batch.length
      }
      if (first === batches.length) resolve()
      else if (turnBytes > 0) setImmediate(pump)
    }
    log.setListener({ advanced: pump, undone: (_, error) => reject(error) })
    pump()
  })
}

async function benchAppend(batches: readonly Buffer[], bytes: number, durability: Durability): Promise<Measured> {
  return inDirectory(async (path) => {
    const { dir, log } = await openLog(path, { durability })
    const result = await measure(bytes, async () => {
      await appendAll(log, batches, durability)
      return dir.health.syncCount
    })
    await dir.close()
    return result
  })
}

/** Writes of the same size as the log makes with this window, and a sync that follows each write; the next write overlaps the sync. */
async function benchRawAppend(batches: readonly Buffer[], bytes: number, durability: Durability): Promise<Measured> {
  return inDirectory(async (path) => {
    const fd = openSync(join(path, 'raw'), 'w')
    const result = await measure(bytes, async () => {
      let position = 0
      let dirtyBytes = 0
      let syncCount = 0
      let syncing: Promise<void> | undefined
      let isSyncing = false
      for (let at = 0; at < batches.length; ) {
        const group: Buffer[] = []
        let groupBytes = 0
        while (at < batches.length && groupBytes < WINDOW_BYTES / 2) {
          const batch = batches[at++] as Buffer
          group.push(batch)
          groupBytes += batch.length
        }
        await new Promise<void>((resolve, reject) => writev(fd, group, position, (error) => (error ? reject(error) : resolve())))
        position += groupBytes
        dirtyBytes += groupBytes
        const isDue = durability === 'fsync' || (durability === 'replicated' && dirtyBytes > FLUSH_BYTES)
        if (!isDue) continue
        // In the background a sync that is due waits for the one under way, and writes go on.
        if (durability === 'replicated' && isSyncing) continue
        await syncing
        dirtyBytes = 0
        syncCount++
        isSyncing = true
        syncing = new Promise<void>((resolve, reject) =>
          fdatasync(fd, (error) => {
            isSyncing = false
            if (error) reject(error)
            else resolve()
          }),
        )
      }
      await syncing
      return syncCount
    })
    fdatasyncSync(fd)
    closeSync(fd)
    return result
  })
}

async function readAll(log: PartitionLog): Promise<void> {
  for (let offset = 0; offset < log.flushedOffset; ) {
    const chunks = await log.read(offset, READ_BYTES, log.flushedOffset)
    for (const chunk of chunks) offset = endOf(chunk)
  }
}

function endOf(chunk: Buffer): number {
  let end = 0
  for (let at = 0; at < chunk.length; at += chunk.readInt32BE(at + 8) + 12) end = chunk.readInt32BE(at + 4) + chunk.readInt32BE(at + 23) + 1
  return end
}

async function benchRead(batches: readonly Buffer[], bytes: number, tailCacheBytes: number): Promise<{ log: Measured; raw: Measured }> {
  return inDirectory(async (path) => {
    const { dir, log } = await openLog(path, { durability: 'none' }, tailCacheBytes)
    await appendAll(log, batches, 'none')
    await log.flush()
    await readAll(log)
    const logResult = await measure(bytes, async () => {
      await readAll(log)
      return 0
    })
    const directory = join(path, 'topics', 'bench-0')
    const file = join(directory, readdirSync(directory).find((name) => name.endsWith('.log')) ?? '')
    const raw = await measure(bytes, async () => {
      const handle = await nodeRuntime().files.open(file, 'read')
      for (let position = 0; position < bytes; position += READ_BYTES)
        await handle.read(Buffer.allocUnsafeSlow(READ_BYTES), 0, READ_BYTES, position)
      await handle.close()
      return 0
    })
    const fd = openSync(file, 'r')
    readSync(fd, Buffer.alloc(1), 0, 1, 0)
    closeSync(fd)
    await dir.close()
    return { log: logResult, raw }
  })
}

function median(results: readonly Measured[]): Measured {
  return results.toSorted((a, b) => a.mbPerSecond - b.mbPerSecond)[Math.floor(results.length / 2)] as Measured
}

function print(what: string, log: readonly Measured[], raw: readonly Measured[]): void {
  const [a, b] = [median(log), median(raw)]
  const show = (one: Measured): string =>
    `${one.mbPerSecond.toFixed(0).padStart(6)} MB/s ${one.cpuSecondsPerGb.toFixed(2)} CPU-s/GB ${String(one.syncCount).padStart(4)} syncs`
  console.log(`${what.padEnd(34)} log ${show(a)}   raw ${show(b)}   ratio ${(a.mbPerSecond / b.mbPerSecond).toFixed(2)}`)
}

for (const batchBytes of [64 * 1024, 1024 * 1024]) {
  const batches = makeBatches(batchBytes)
  const bytes = batches.reduce((sum, batch) => sum + batch.length, 0)
  const size = `${batchBytes / 1024} KiB`
  const checked = await measure(bytes, async () => {
    for (const batch of batches) validateProducedBatch(batch, { timestampMaxMs: Number.POSITIVE_INFINITY })
    return 0
  })
  console.log(`check ${size}: ${checked.mbPerSecond.toFixed(0)} MB/s, ${checked.cpuSecondsPerGb.toFixed(2)} CPU-s/GB: no append is faster`)
  for (const durability of ['fsync', 'replicated', 'none'] as const) {
    if (!durability.includes(values.only)) continue
    const log: Measured[] = []
    const raw: Measured[] = []
    for (let run = 0; run <= RUNS; run++) {
      const results = [await benchAppend(batches, bytes, durability), await benchRawAppend(batches, bytes, durability)] as const
      // The first warms up.
      if (run > 0) {
        log.push(results[0])
        raw.push(results[1])
      }
    }
    print(`append ${durability} ${size}`, log, raw)
  }
  for (const [name, tailCacheBytes] of [
    ['from files (page cache)', 0],
    ['from tail cache', 2 * TOTAL_BYTES],
  ] as const) {
    if (!name.includes(values.only)) continue
    const log: Measured[] = []
    const raw: Measured[] = []
    for (let run = 0; run < RUNS; run++) {
      const result = await benchRead(batches, bytes, tailCacheBytes)
      log.push(result.log)
      raw.push(result.raw)
    }
    print(`read ${name} ${size}`, log, raw)
  }
}
