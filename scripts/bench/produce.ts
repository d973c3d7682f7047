/** Produce: megabytes a second of values, acknowledged, against the disk and the wire. */
import type { CompressionName, Durability, Tidemark } from '../../client/index.ts'
import { loadCodec } from '../../protocol/compression.ts'
import type { NodeProcess } from '../node-process.ts'
import { diskWriteMbs, streamUpMbs, tcpCopyMbs } from './baselines.ts'
import { type Case, MIB, measured, medianOf, type Result, ratioResult, timed, withCost, withNode } from './harness.ts'
import { type Load, makeValues, produceMbs } from './workload.ts'

const RUNS = 5
const TOTAL_BYTES = 256 * MIB
const COMPRESSED_BYTES = 64 * MIB

export const produceFsync: Case = { name: 'produce, durability fsync', run: () => produceCases('fsync') }
export const produceReplicated: Case = { name: 'produce, durability replicated', run: () => produceCases('replicated') }
export const produceCompressed: Case = { name: 'produce, compression', run: compressedCases }

async function produceCases(durability: Durability): Promise<Result[]> {
  const results: Result[] = []
  const batches = [64 * 1024, 256 * 1024, MIB - 2048]
  for (const load of [...batches.map((batchBytes) => loadOf(1024, batchBytes)), loadOf(100, 256 * 1024)])
    results.push(await withNode((tm, node) => (durability === 'fsync' ? durable(tm, node, load) : stored(tm, node, load))))
  return results
}

function loadOf(recordBytes: number, batchBytes: number, totalBytes = TOTAL_BYTES): Load {
  return { recordBytes, batchBytes, recordCount: Math.floor(totalBytes / recordBytes) }
}

function nameOf(durability: Durability, { recordBytes, batchBytes }: Load): string {
  const size = recordBytes === 1024 ? '1 KiB' : `${recordBytes} B`
  return `produce ${durability}, ${size} records, ${Math.round(batchBytes / 1024)} KiB batches`
}

/** Against the disk alone, with as many bytes to a sync as the node had: it gathers what came while the last one ran. */
async function durable(tm: Tidemark, node: NodeProcess, load: Load): Promise<Result> {
  const bytes = load.recordBytes * load.recordCount
  await warmUp(tm, load, 'fsync')
  const syncsBefore = await syncCount(node)
  const { done, figures } = await produceRuns(tm, node, load, 'fsync')
  const bytesPerSync = Math.round((RUNS * bytes) / Math.max(1, (await syncCount(node)) - syncsBefore))
  const against = `the same bytes, fdatasync every ${Math.round(bytesPerSync / 1024)} KiB as the node did`
  const baseline = await medianOf(RUNS, () => diskWriteMbs(bytesPerSync, bytes, true))
  return ratioResult({ name: nameOf('fsync', load), ...done, baseline, unit: 'MB/s', against, budget: '≥ 0.60', atLeast: 0.6, figures })
}

/** Against the same batches through grpc-js, nothing stored. */
async function stored(tm: Tidemark, node: NodeProcess, load: Load): Promise<Result> {
  const bytes = load.recordBytes * load.recordCount
  await warmUp(tm, load, 'replicated')
  const { done, figures } = await produceRuns(tm, node, load, 'replicated')
  const against = 'grpc-js stream of the same batches, nothing stored'
  const baseline = await medianOf(RUNS, () => streamUpMbs(load.batchBytes, bytes, 16))
  const tcp = await medianOf(3, () => tcpCopyMbs('up', bytes))
  return ratioResult({
    name: nameOf('replicated', load),
    ...done,
    baseline,
    unit: 'MB/s',
    against,
    budget: '≥ 0.60',
    atLeast: 0.6,
    figures: { ...figures, 'TCP copy MB/s': tcp },
  })
}

async function warmUp(tm: Tidemark, load: Load, durability: Durability): Promise<void> {
  await produceMbs(tm, 'warm', { ...load, recordCount: Math.floor(load.recordCount / 4) }, { durability })
}

function produceRuns(
  tm: Tidemark,
  node: NodeProcess,
  load: Load,
  durability: Durability,
): ReturnType<typeof withCost<Awaited<ReturnType<typeof measured>>>> {
  return withCost([node.pid], { count: RUNS * load.recordCount, bytes: load.recordBytes }, () =>
    measured(RUNS, () => produceMbs(tm, 't', load, { durability })),
  )
}

/** How often the node has made data durable so far. */
async function syncCount(node: NodeProcess): Promise<number> {
  const text = await (await fetch(`http://${node.address}/metrics`)).text()
  return Number(/^tidemark_storage_syncs_total (\d+)$/m.exec(text)?.[1])
}

/** Megabytes count before compression. The limit is the codec alone, on one core. */
async function compressedCases(): Promise<Result[]> {
  const results: Result[] = []
  for (const compression of ['zstd', 'lz4'] as const)
    for (const recordBytes of [100, 1024]) {
      const load = { ...loadOf(recordBytes, 256 * 1024, COMPRESSED_BYTES), compression }
      results.push(
        await withNode(async (tm, node) => {
          await warmUp(tm, load, 'fsync')
          const { done, figures } = await produceRuns(tm, node, load, 'fsync')
          const codec = await codecMbs(compression, load)
          return ratioResult({
            name: `${nameOf('fsync', load)}, ${compression}`,
            ...done,
            baseline: codec.mbs,
            unit: 'MB/s',
            against: `${compression} alone over the same values, one core`,
            figures: { ...figures, 'compressed to %': codec.percent },
          })
        }),
      )
    }
  return results
}

async function codecMbs(compression: CompressionName, load: Load): Promise<{ readonly mbs: number; readonly percent: number }> {
  const codec = await loadCodec(compression)
  const values = makeValues(load.recordBytes)
  const count = Math.floor(load.batchBytes / load.recordBytes)
  const batch = Buffer.concat(Array.from({ length: count }, (_, index) => values[index % values.length] as Buffer))
  const rounds = Math.ceil(COMPRESSED_BYTES / batch.length)
  let packedBytes = 0
  const mbs = await medianOf(RUNS, async () => {
    const elapsedMs = await timed(async () => {
      for (let round = 0; round < rounds; round++) packedBytes = codec.compress(batch).length
    })
    return (rounds * batch.length) / 1e6 / (elapsedMs / 1000)
  })
  return { mbs, percent: (packedBytes / batch.length) * 100 }
}
