/** Three nodes on this machine, acks=all, against one node: three copies share the same cores and the same disk. */
import { connect, type Durability, type Tidemark } from '../../client/index.ts'
import { ClusterProcess } from '../cluster-process.ts'
import { type Case, inDirectory, MIB, measured, median, type Result, ratioResult, withCost, withNode } from './harness.ts'
import { asFigures, latenciesOf } from './latencies.ts'
import { type Load, produceMbs } from './workload.ts'

const RUNS = 5
const TOTAL_BYTES = 32 * MIB
const SENDS = 1000
const REPLICAS = 3

export const replication: Case = {
  name: 'replication',
  run: () =>
    withNode((single) =>
      withCluster(async (tm, pids) => {
        const results: Result[] = []
        for (const durability of ['fsync', 'replicated'] as const)
          for (const batchBytes of [64 * 1024, MIB - 2048]) results.push(await throughput(single, tm, pids, durability, batchBytes))
        results.push(await oneAtATime(single, tm))
        return results
      }),
    ),
}

function withCluster<T>(work: (tm: Tidemark, pids: readonly number[]) => Promise<T>): Promise<T> {
  return inDirectory(async (directory) => {
    const cluster = await ClusterProcess.start(directory, REPLICAS, { TIDEMARK_LOG_LEVEL: 'warn' })
    const tm = await connect(cluster.addresses)
    try {
      return await work(
        tm,
        cluster.nodes.map(({ pid }) => pid),
      )
    } finally {
      await tm.close()
      await cluster.stop()
    }
  })
}

async function throughput(
  single: Tidemark,
  tm: Tidemark,
  pids: readonly number[],
  durability: Durability,
  batchBytes: number,
): Promise<Result> {
  const load: Load = { recordBytes: 1024, recordCount: TOTAL_BYTES / 1024, batchBytes }
  const alone = (): Promise<number> => produceMbs(single, 't', load, { durability })
  const copied = (): Promise<number> => produceMbs(tm, 't', load, { durability, replicas: REPLICAS })
  await alone()
  await copied()
  const alones: number[] = []
  // The one node takes its turn between the runs of the three, and idles during them.
  const { done, figures } = await withCost(pids, { count: RUNS * load.recordCount, bytes: load.recordBytes }, () =>
    measured(RUNS, async () => {
      alones.push(await alone())
      return copied()
    }),
  )
  return ratioResult({
    name: `${REPLICAS} nodes, acks=all, ${durability}, 1 KiB records, ${Math.round(batchBytes / 1024)} KiB batches`,
    ...done,
    baseline: median(alones) / REPLICAS,
    unit: 'MB/s',
    against: `one node ÷ ${REPLICAS}`,
    budget: '≥ 0.80',
    atLeast: 0.8,
    figures: { 'node CPU-s/GB': figures['node CPU-s/GB'] as number, 'node CPU-s/M records': figures['node CPU-s/M records'] as number },
    note: 'CPU of the three together',
  })
}

/** Every replica that counts has the record on disk before the send resolves. */
async function oneAtATime(single: Tidemark, tm: Tidemark): Promise<Result> {
  const sender = async (to: Tidemark, replicas: number): Promise<() => Promise<unknown>> => {
    await to.admin.createTopic('one', { partitions: 1, replicas })
    const value = Buffer.alloc(1024)
    const send = (): Promise<unknown> => to.producer().send('one', { value })
    await latenciesOf(SENDS, send)
    return send
  }
  const baseline = await latenciesOf(SENDS, await sender(single, 1))
  const ours = await latenciesOf(SENDS, await sender(tm, REPLICAS))
  return ratioResult({
    name: `durable send of 1 KiB to ${REPLICAS} nodes, p50`,
    ours: ours.p50,
    baseline: baseline.p50,
    unit: 'ms',
    against: 'the same to one node',
    figures: asFigures(ours),
  })
}
