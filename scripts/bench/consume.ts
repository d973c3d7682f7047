/** Consume: megabytes a second of values from memory, from the page cache and from the disk, against the wire and against reading the files. */
import { execFileSync } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { connect, type CompressionName } from '../../client/index.ts'
import { NodeProcess } from '../node-process.ts'
import { streamDownMbs, tcpCopyMbs } from './baselines.ts'
import { type Case, inDirectory, MIB, measured, medianOf, type Result, ratioResult, timed, withCost, withNode } from './harness.ts'
import { drainMbs, fill, type Load } from './workload.ts'

const RUNS = 5
const TOTAL_BYTES = 256 * MIB
const BATCH_BYTES = 256 * 1024

/** What a consumer that keeps up reads: batches still in the node's memory. */
export const consumeTail: Case = {
  name: 'consume at the tail',
  run: async () => {
    const results: Result[] = []
    for (const compression of ['none', 'zstd', 'lz4'] as const)
      for (const recordBytes of [100, 1024]) results.push(await fromMemory(recordBytes, compression))
    return results
  },
}

function fromMemory(recordBytes: number, compression: CompressionName): Promise<Result> {
  const totalBytes = compression === 'none' ? TOTAL_BYTES : 64 * MIB
  const load: Load = { recordBytes, recordCount: Math.floor(totalBytes / recordBytes), batchBytes: BATCH_BYTES, compression }
  return withNode(
    async (tm, node) => {
      await tm.admin.createTopic('t', { partitions: 1, durability: 'replicated' })
      await fill(tm, 't', load)
      await drainMbs(tm, 't')
      const coldBefore = await coldReads(node)
      const { done, figures } = await withCost([node.pid], { count: RUNS * load.recordCount, bytes: recordBytes }, () =>
        measured(RUNS, () => drainMbs(tm, 't')),
      )
      const coldCount = (await coldReads(node)) - coldBefore
      const baseline = await medianOf(RUNS, () => streamDownMbs(8 * MIB, totalBytes, 2))
      const tcp = await medianOf(3, () => tcpCopyMbs('down', totalBytes))
      const size = recordBytes === 1024 ? '1 KiB' : `${recordBytes} B`
      return ratioResult({
        name: `consume from the tail cache, ${size} records${compression === 'none' ? '' : `, ${compression}`}`,
        ...done,
        baseline,
        unit: 'MB/s',
        against: 'grpc-js stream of 8 MiB answers, nothing read',
        ...(compression === 'none' && recordBytes === 1024 && { budget: '≥ 0.60', atLeast: 0.6 }),
        figures: { ...figures, 'TCP copy MB/s': tcp, 'reads from files': coldCount },
      })
    },
    ['--set', 'limits.tail_cache=512MiB'],
  )
}

/** How often the tail cache had not what was asked for. */
async function coldReads(node: NodeProcess): Promise<number> {
  const text = await (await fetch(`http://${node.address}/metrics`)).text()
  return Number(/^tidemark_fetch_cold_reads_total (\d+)$/m.exec(text)?.[1])
}

/** What a consumer far behind reads: files, in the page cache or not. */
export const consumeCold: Case = {
  name: 'consume cold',
  run: () =>
    inDirectory(async (directory) => {
      const dataDir = join(directory, 'data')
      const node = await NodeProcess.start(dataDir, ['--log-level', 'warn', '--set', 'limits.tail_cache=0B'])
      try {
        await using tm = await connect(node.address)
        await tm.admin.createTopic('t', { partitions: 1, durability: 'replicated' })
        const load = { recordBytes: 1024, recordCount: TOTAL_BYTES / 1024, batchBytes: BATCH_BYTES }
        await fill(tm, 't', load)
        const folder = join(dataDir, 'topics/t-0')
        const files = (await readdir(folder)).filter((name) => name.endsWith('.log')).map((name) => join(folder, name))
        const cases = [
          { name: 'consume, files in the page cache', prepare: async () => {} },
          { name: 'consume, files on the disk', prepare: () => evict(files) },
        ]
        const results: Result[] = []
        for (const { name, prepare } of cases) {
          const baseline = await medianOf(RUNS, () => prepare().then(() => readMbs(files)))
          const { done, figures } = await withCost([node.pid], { count: RUNS * load.recordCount, bytes: load.recordBytes }, () =>
            measured(RUNS, () => prepare().then(() => drainMbs(tm, 't'))),
          )
          const against = 'reading the files in one process'
          results.push(ratioResult({ name, ...done, baseline, unit: 'MB/s', against, budget: '≥ 0.50', atLeast: 0.5, figures }))
        }
        return results
      } finally {
        await node.stop()
      }
    }),
}

async function readMbs(files: readonly string[]): Promise<number> {
  const elapsedMs = await timed(async () => {
    for (const file of files) for await (const _chunk of createReadStream(file, { highWaterMark: MIB }));
  })
  return TOTAL_BYTES / 1e6 / (elapsedMs / 1000)
}

/** Takes the files out of the page cache; pages that are not on disk yet would stay. */
async function evict(files: readonly string[]): Promise<void> {
  for (const file of files) {
    const handle = await open(file, 'r')
    await handle.sync()
    await handle.close()
    execFileSync('dd', [`if=${file}`, 'iflag=nocache', 'count=0', 'status=none'])
  }
}
