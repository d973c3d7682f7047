/**
 * Measures compaction of one log beside a plain copy of the same bytes, and what it does to the event loop and to memory.
 *
 *   node [--expose-gc] scripts/bench/compaction.ts [--dir /tmp] [--mib 128] [--memory-mib 32]
 *
 * Each log has batches of 64 KiB of records of one size; half of the records are superseded. `MB/s` counts the bytes of the log once, though they are read
 * twice (keys, copy) and half of them are written. Memory is what is in use beyond what was before: with
 * `--expose-gc` without garbage, and then the times are not to be relied on.
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { CompactionPace } from '../../log/compaction-pace.ts'
import { DataDir } from '../../log/data-dir.ts'
import type { PartitionLog } from '../../log/partition-log.ts'
import { BatchBuilder } from '../../protocol/batch-builder.ts'
import type { CompressionName } from '../../protocol/compression.ts'
import { DEFAULT_TOPIC_CONFIG } from '../../protocol/topic-config.ts'
import { nodeRuntime } from '../../runtime/node.ts'
import type { Runtime } from '../../runtime/runtime.ts'

const { values } = parseArgs({
  options: {
    dir: { type: 'string', default: '/tmp' },
    mib: { type: 'string', default: '128' },
    'memory-mib': { type: 'string', default: '32' },
  },
})
const MIB = 1024 * 1024
const LOG_BYTES = Number(values.mib) * MIB
const MEMORY_BYTES = Number(values['memory-mib']) * MIB
const BATCH_BYTES = 64 * 1024
const CHUNK_BYTES = MIB

interface Case {
  readonly name: string
  readonly valueBytes: number
  readonly compression: CompressionName
  /** For the offsets of keys. */
  readonly memoryBytes: number
}

const CASES: readonly Case[] = [
  { name: '1 KiB records', valueBytes: 1000, compression: 'none', memoryBytes: MEMORY_BYTES },
  { name: '100 B records', valueBytes: 70, compression: 'none', memoryBytes: MEMORY_BYTES },
  { name: '100 B records, 1 MiB of memory', valueBytes: 70, compression: 'none', memoryBytes: MIB },
  { name: '1 KiB records, lz4', valueBytes: 1000, compression: 'lz4', memoryBytes: MEMORY_BYTES },
  { name: '1 KiB records, zstd', valueBytes: 1000, compression: 'zstd', memoryBytes: MEMORY_BYTES },
  { name: '1 KiB records, gzip', valueBytes: 1000, compression: 'gzip', memoryBytes: MEMORY_BYTES },
]

async function fill(log: PartitionLog, { valueBytes, compression }: Case): Promise<number> {
  // Hexadecimal digits, which compress to about half.
  const digits = randomBytes(MIB).toString('hex')
  const keyCount = Math.ceil(LOG_BYTES / (valueBytes + 30) / 2)
  let count = 0
  for (let bytes = 0; bytes < LOG_BYTES; ) {
    const builder = new BatchBuilder(BATCH_BYTES)
    for (; builder.sizeBytes < BATCH_BYTES - valueBytes - 60; count++)
      builder.append(
        Buffer.from(`key ${((count * 7919) % keyCount).toString().padStart(9, '0')}`),
        Buffer.from(digits.slice((count * 1021) % MIB, ((count * 1021) % MIB) + valueBytes)),
        Date.now(),
      )
    bytes += builder.sizeBytes
    log.append(await builder.build(compression), { leaderEpoch: 0 })
    if (log.unwrittenBytes > 8 * MIB) await log.flush()
  }
  await log.flush()
  return count
}

/** Reads what there is and writes half of it, with as many syncs. */
async function copyPlainly(path: string, bytes: number): Promise<number> {
  const { files } = nodeRuntime()
  const handle = await files.open(join(path, 'plain'), 'create')
  const chunk = Buffer.alloc(CHUNK_BYTES, 'x')
  for (let at = 0; at < bytes; at += CHUNK_BYTES) await handle.write([chunk], at)
  await handle.datasync()
  const copy = await files.open(join(path, 'copy'), 'create')
  const startedMs = performance.now()
  for (let round = 0; round < 2; round++) {
    for (let at = 0, unsynced = 0; at < bytes; at += CHUNK_BYTES) {
      await handle.read(Buffer.allocUnsafeSlow(CHUNK_BYTES), 0, CHUNK_BYTES, at)
      if (round === 0 || (at / CHUNK_BYTES) % 2 === 0) continue
      await copy.write([chunk], at / 2)
      unsynced += CHUNK_BYTES
      if (unsynced < 8 * MIB) continue
      await copy.datasync()
      unsynced = 0
    }
  }
  await copy.datasync()
  const tookMs = performance.now() - startedMs
  await Promise.all([handle.close(), copy.close()])
  return bytes / 1e3 / tookMs
}

/** How long the event loop is held up: the time this thread works from one turn that compaction gives to others to the next. Other processes do not count. */
class Turns {
  readonly runtime: Pick<Runtime, 'clock' | 'timers'>
  readonly #lengthsMs: number[] = []
  #begun = process.threadCpuUsage()

  constructor({ clock, timers }: Runtime) {
    const nextTurn = (run: () => void): void => {
      const { user, system } = process.threadCpuUsage(this.#begun)
      this.#lengthsMs.push((user + system) / 1000)
      timers.nextTurn(() => {
        this.#begun = process.threadCpuUsage()
        run()
      })
    }
    this.runtime = { clock, timers: { ...timers, nextTurn } }
  }

  get longestMs(): number {
    return Math.max(0, ...this.#lengthsMs)
  }

  percentile(share: number): number {
    return this.#lengthsMs.toSorted((a, b) => a - b)[Math.floor(this.#lengthsMs.length * share)] ?? 0
  }
}

async function collectGarbage(): Promise<void> {
  for (let round = 0; round < 3; round++) {
    globalThis.gc?.()
    // Memory outside the heap is given back a little later.
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

function usedBytes(): number {
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

async function measure(one: Case): Promise<void> {
  const path = mkdtempSync(join(values.dir, 'tidemark-compaction-'))
  try {
    const runtime = nodeRuntime()
    const dir = await DataDir.open(path, { runtime, tailCacheBytes: 0, openFilesMax: 100, diskMinFreeBytes: 0 })
    const config = { ...DEFAULT_TOPIC_CONFIG, cleanupPolicy: 'delete' as const, segmentBytes: 32 * MIB, segmentMs: 1 }
    const log = await dir.openLog({ topic: 'bench', topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partition: 0, config })
    const count = await fill(log, one)
    await log.applyRetention(log.flushedOffset)
    const { sizeBytes } = log.describe()
    const plainMbPerSecond = await copyPlainly(path, sizeBytes)
    await collectGarbage()
    const before = usedBytes()
    let peak = before
    const watch = setInterval(() => {
      globalThis.gc?.()
      peak = Math.max(peak, usedBytes())
    }, 250)
    const cpu = process.cpuUsage()
    const startedMs = performance.now()
    const turns = new Turns(runtime)
    const done = await log.compactor.run(log.flushedOffset, { pace: new CompactionPace(turns.runtime, 0), memoryBytes: one.memoryBytes })
    const seconds = (performance.now() - startedMs) / 1000
    const used = process.cpuUsage(cpu)
    clearInterval(watch)
    const mbPerSecond = sizeBytes / 1e6 / seconds
    const cpuSeconds = (used.user + used.system) / 1e6
    console.log(
      [
        one.name.padEnd(32),
        `${(sizeBytes / MIB).toFixed(0)} MiB, ${count} records, ${done.passCount} passes:`,
        `${mbPerSecond.toFixed(0)} MB/s (plain copy ${plainMbPerSecond.toFixed(0)}),`,
        `${(cpuSeconds / (sizeBytes / 1e9)).toFixed(1)} CPU-s/GB, ${(count / seconds / 1000).toFixed(0)}k records/s,`,
        `longest turn ${turns.longestMs.toFixed(1)} ms, p99 ${turns.percentile(0.99).toFixed(1)} ms,`,
        `memory +${((peak - before) / MIB).toFixed(0)} MiB`,
      ].join(' '),
    )
    await dir.close()
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
}

for (const one of CASES) await measure(one)
