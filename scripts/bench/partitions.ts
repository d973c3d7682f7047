/**
 * Measures what many partitions cost: heap of each when idle, time to open them all after a clean stop and after a kill.
 *
 *   node --expose-gc scripts/bench/partitions.ts [--dir /tmp] [--count 10000]
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { DataDir } from '../../log/data-dir.ts'
import type { PartitionLog } from '../../log/partition-log.ts'
import { BatchBuilder } from '../../protocol/batch-builder.ts'
import { DEFAULT_TOPIC_CONFIG } from '../../protocol/topic-config.ts'
import { nodeRuntime } from '../../runtime/node.ts'

const { values } = parseArgs({ options: { dir: { type: 'string', default: '/tmp' }, count: { type: 'string', default: '10000' } } })
const COUNT = Number(values.count)
/** As many as the broker opens at once. */
const CONCURRENCY = 32

function heapBytes(): number {
  globalThis.gc?.()
  return process.memoryUsage().heapUsed + process.memoryUsage().external
}

async function openAll(path: string): Promise<{ dir: DataDir; logs: PartitionLog[]; seconds: number; cpuSeconds: number }> {
  const startedMs = performance.now()
  const cpu = process.cpuUsage()
  const dir = await DataDir.open(path, { runtime: nodeRuntime(), tailCacheBytes: 0, openFilesMax: 500, diskMinFreeBytes: 0 })
  const logs: PartitionLog[] = []
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < COUNT)
      logs.push(await dir.openLog({ topic: 'many', topicId: 'AAAAAAAAAAAAAAAAAAAAAA', partition: next++, config: DEFAULT_TOPIC_CONFIG }))
  }
  await Promise.all(Array.from({ length: CONCURRENCY }, worker))
  const used = process.cpuUsage(cpu)
  return { dir, logs, seconds: (performance.now() - startedMs) / 1000, cpuSeconds: (used.user + used.system) / 1e6 }
}

async function fill(logs: readonly PartitionLog[]): Promise<void> {
  for (let at = 0; at < logs.length; at += 200) {
    await Promise.all(
      logs.slice(at, at + 200).map((log) => {
        const builder = new BatchBuilder()
        builder.append(null, Buffer.alloc(500), Date.now())
        log.append(Buffer.from(builder.buildSync()), { leaderEpoch: 0 })
        return log.flush()
      }),
    )
  }
}

function report(what: string, { seconds, cpuSeconds }: { readonly seconds: number; readonly cpuSeconds: number }): void {
  console.log(`${what.padEnd(28)} ${seconds.toFixed(2)} s, ${cpuSeconds.toFixed(2)} CPU-s for ${COUNT} partitions`)
}

const path = mkdtempSync(join(values.dir, 'tidemark-partitions-'))
try {
  const created = await openAll(path)
  report('create', created)
  await fill(created.logs)
  const closedMs = performance.now()
  await created.dir.close()
  console.log(`${'close'.padEnd(28)} ${((performance.now() - closedMs) / 1000).toFixed(2)} s`)
  created.logs.length = 0
  const before = heapBytes()
  const clean = await openAll(path)
  report('open after a clean stop', clean)
  console.log(
    `${'heap of an idle partition'.padEnd(28)} ${((heapBytes() - before) / COUNT).toFixed(0)} bytes, ${clean.dir.openFileCount} files open${globalThis.gc === undefined ? ' (run with --expose-gc)' : ''}`,
  )
  await fill(clean.logs)
  console.log(`${'heap after one append each'.padEnd(28)} ${((heapBytes() - before) / COUNT).toFixed(0)} bytes`)
  // A copy of the directory in use is what a kill leaves.
  cpSync(path, `${path}-killed`, { recursive: true, filter: (from) => !/\/lock\.\d+$/.test(from) })
  await clean.dir.close()
  const killed = await openAll(`${path}-killed`)
  report('open after a kill', killed)
  await killed.dir.close()
} finally {
  for (const used of [path, `${path}-killed`]) rmSync(used, { recursive: true, force: true })
}
