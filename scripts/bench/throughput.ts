/** Produce and consume: megabytes a second against the disk, the wire and the page cache. */
import { createReadStream } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { connect, type Durability, type Tidemark } from '../../client/index.ts'
import { NodeProcess } from '../node-process.ts'
import { diskWriteMbs, streamDownMbs, streamUpMbs } from './baselines.ts'
import { type Case, cpuSeconds, inDirectory, MIB, medianOf, type Result, ratioResult, timed, withNode } from './harness.ts'

const RUNS = 5
const TOTAL_BYTES = 256 * MIB
const RECORD_BYTES = 1024

export const produceFsync: Case = { name: 'produce, durability fsync', run: () => produceCases('fsync') }
export const produceReplicated: Case = { name: 'produce, durability replicated', run: () => produceCases('replicated') }

async function produceCases(durability: Durability): Promise<Result[]> {
  const results: Result[] = []
  for (const batchBytes of [64 * 1024, 256 * 1024, MIB - 2048]) {
    results.push(
      await withNode(async (tm, node) => {
        await produce(tm, 'warm', durability, batchBytes, TOTAL_BYTES / 4)
        const cpuBefore = cpuSeconds(node.pid)
        const syncsBefore = await syncCount(node)
        const ours = await medianOf(RUNS, () => produce(tm, 't', durability, batchBytes, TOTAL_BYTES))
        const cpuPerGb = (cpuSeconds(node.pid) - cpuBefore) / ((RUNS * TOTAL_BYTES) / 1e9)
        // The node gathers what came while the last sync ran: the baseline syncs as often as it did.
        const bytesPerSync = Math.round((RUNS * TOTAL_BYTES) / Math.max(1, (await syncCount(node)) - syncsBefore))
        const isDisk = durability === 'fsync'
        const baseline = await medianOf(RUNS, () =>
          isDisk ? diskWriteMbs(bytesPerSync, TOTAL_BYTES, true) : streamUpMbs(batchBytes, TOTAL_BYTES, 16),
        )
        return ratioResult({
          name: `produce ${durability}, 1 KiB records, ${Math.round(batchBytes / 1024)} KiB batches`,
          ours,
          baseline,
          unit: 'MB/s',
          against: isDisk
            ? `the same bytes, fdatasync every ${Math.round(bytesPerSync / 1024)} KiB as the node did`
            : 'grpc-js stream of the same batches, nothing stored',
          budget: '≥ 0.60',
          atLeast: 0.6,
          note: `node ${cpuPerGb.toFixed(1)} CPU-s/GB`,
        })
      }),
    )
  }
  return results
}

/** How often the node has made data durable so far. */
async function syncCount(node: NodeProcess): Promise<number> {
  const text = await (await fetch(`http://${node.address}/metrics`)).text()
  return Number(/^tidemark_storage_syncs_total (\d+)$/m.exec(text)?.[1])
}

/** Sends the bytes into a fresh topic; megabytes a second until the last is acknowledged. */
async function produce(tm: Tidemark, topic: string, durability: Durability, batchBytes: number, totalBytes: number): Promise<number> {
  await tm.admin.createTopic(topic, { partitions: 1, durability })
  const elapsedMs = await timed(() => fill(tm, topic, batchBytes, totalBytes))
  await tm.admin.deleteTopic(topic)
  return totalBytes / 1e6 / (elapsedMs / 1000)
}

async function fill(tm: Tidemark, topic: string, batchBytes: number, totalBytes: number): Promise<void> {
  const value = Buffer.alloc(RECORD_BYTES, 7)
  await using producer = tm.producer({ batchBytes, bufferBytes: '32MiB' })
  await producer.ready({ topic })
  for (let sent = 0; sent < totalBytes; sent += RECORD_BYTES) while (!producer.enqueue(topic, { value })) await producer.ready()
  await producer.flush()
}

async function drain(tm: Tidemark, topic: string): Promise<number> {
  let bytes = 0
  const elapsedMs = await timed(async () => {
    for await (const { messages } of tm.consumer(topic, { start: 'earliest', end: 'now' }).batches())
      bytes += messages.length * RECORD_BYTES
  })
  return bytes / 1e6 / (elapsedMs / 1000)
}

export const consume: Case = {
  name: 'consume from the page cache',
  run: () =>
    withNode(async (tm) => {
      await tm.admin.createTopic('t', { partitions: 1, durability: 'replicated' })
      await fill(tm, 't', 256 * 1024, TOTAL_BYTES)
      await drain(tm, 't')
      const baseline = await medianOf(RUNS, () => streamDownMbs(8 * MIB, TOTAL_BYTES, 2))
      const ours = await medianOf(RUNS, () => drain(tm, 't'))
      return [
        ratioResult({
          name: 'consume, 1 KiB records',
          ours,
          baseline,
          unit: 'MB/s',
          against: 'grpc-js stream of 8 MiB answers, nothing read',
          budget: '≥ 0.60',
          atLeast: 0.6,
        }),
      ]
    }),
}

export const consumeCold: Case = {
  name: 'consume after a restart',
  run: () =>
    inDirectory(async (directory) => {
      const dataDir = join(directory, 'data')
      const node = await NodeProcess.start(dataDir, ['--log-level', 'warn', '--set', 'limits.tail_cache=0B'])
      try {
        const tm = await connect(node.address)
        await tm.admin.createTopic('t', { partitions: 1, durability: 'replicated' })
        await fill(tm, 't', 256 * 1024, TOTAL_BYTES)
        const files = (await readdir(join(dataDir, 'topics/t-0'))).filter((name) => name.endsWith('.log'))
        const baseline = await medianOf(RUNS, async () => {
          const elapsedMs = await timed(async () => {
            for (const file of files)
              for await (const _chunk of createReadStream(join(dataDir, 'topics/t-0', file), { highWaterMark: MIB }));
          })
          return TOTAL_BYTES / 1e6 / (elapsedMs / 1000)
        })
        const ours = await medianOf(RUNS, () => drain(tm, 't'))
        await tm.close()
        return [
          ratioResult({
            name: 'consume, tail cache off',
            ours,
            baseline,
            unit: 'MB/s',
            against: 'reading the files in one process',
            budget: '≥ 0.50',
            atLeast: 0.5,
            note: 'files in the page cache',
          }),
        ]
      } finally {
        await node.stop()
      }
    }),
}
