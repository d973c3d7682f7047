/**
 * How cost grows with partitions, clients, batches, parked fetches and data.
 *
 *   node scripts/run.mjs scripts/bench/scale.ts [word] [--json out.json] [--svg directory]
 *
 * A point is the median of three runs where it is a rate. Whatever grows faster than its cause is a defect.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { connect, type Tidemark } from '../../client/index.ts'
import { createGrpcTransport } from '../../client/grpc-transport.ts'
import { nodeClock } from '../../runtime/node.ts'
import type { NodeProcess } from '../node-process.ts'
import { MIB, medianOf, residentMib, timed, withNode } from './harness.ts'
import { type Plot, svgOf } from './plot.ts'
import { recoveryTimes } from './recovery.ts'
import { beginReport } from './report.ts'
import { fill, produceMbs } from './workload.ts'

type Point = Plot['points'][number]

const RUNS = 3
const TOTAL_BYTES = 32 * MIB
const RECORD_BYTES = 1024
const RECORD_COUNT = TOTAL_BYTES / RECORD_BYTES
const BATCH_BYTES = 64 * 1024
const SETTLE_MS = 2000
const LOOKS_MAX = 30
const CALL_TIMEOUT = { requestTimeout: '5m' } as const

interface Study extends Omit<Plot, 'points'> {
  readonly name: string
  readonly measure: () => Promise<Point[]>
}

const STUDIES: readonly Study[] = [
  {
    name: 'partitions',
    title: 'Produce against partitions, durability replicated, one client',
    x: 'partitions',
    y: 'MB/s',
    measure: () => each([1, 10, 100, 1000, 10_000], (partitions) => withNode((_, node) => acrossPartitions(node, partitions))),
  },
  {
    name: 'clients',
    title: 'Produce against clients, durability replicated, ten partitions',
    x: 'clients',
    y: 'MB/s',
    measure: () => each([1, 10, 100, 1000], (clients) => withNode((tm, node) => fromClients(tm, node, clients))),
  },
  {
    name: 'batch',
    title: 'Produce against batch size, durability fsync, one client',
    x: 'KiB of a batch',
    y: 'MB/s',
    measure: () =>
      each([4, 16, 64, 256, 1000], (kib) =>
        withNode((tm) => {
          const load = { recordBytes: RECORD_BYTES, recordCount: RECORD_COUNT / 2, batchBytes: kib * 1024 }
          return medianOf(RUNS, () => produceMbs(tm, 't', load))
        }),
      ),
  },
  {
    name: 'parked',
    title: 'Memory against parked fetches, 1,000 to a stream',
    x: 'parked fetches',
    y: 'KiB each',
    measure: () => each([1000, 5000, 10_000, 50_000], (count) => withNode((tm, node) => parkedKib(tm, node, count))),
  },
  {
    name: 'connections',
    title: 'Memory against connections, idle',
    x: 'connections',
    y: 'KiB each',
    measure: () => each([10, 100, 1000], (count) => withNode((_, node) => connectionKib(node, count))),
  },
  {
    name: 'recovery',
    title: 'Ready after kill -9, against data',
    x: 'MiB held',
    y: 'ms',
    measure: () => each([16, 64, 256, 1024], async (mebibytes) => (await recoveryTimes(mebibytes * MIB, RUNS)).firstMs),
  },
]

async function each(values: readonly number[], measure: (value: number) => Promise<number>): Promise<Point[]> {
  const points: Point[] = []
  for (const x of values) {
    points.push({ x, y: await measure(x) })
    process.stderr.write(`  ${x}: ${points.at(-1)?.y.toFixed(2)}\n`)
  }
  return points
}

/** Records without keys fill one partition's batch after the other's. The topic is there before the clock starts. */
async function acrossPartitions(node: NodeProcess, partitions: number): Promise<number> {
  await using tm = await connect(node.address, CALL_TIMEOUT)
  await tm.admin.createTopic('t', { partitions, durability: 'replicated' })
  const send = (): Promise<void> => fill(tm, 't', { recordBytes: RECORD_BYTES, recordCount: RECORD_COUNT, batchBytes: BATCH_BYTES })
  await send()
  // The client closes at the end of the block, not before the last run.
  return await medianOf(RUNS, async () => TOTAL_BYTES / 1e3 / (await timed(send)))
}

async function fromClients(tm: Tidemark, node: NodeProcess, count: number): Promise<number> {
  await tm.admin.createTopic('t', { partitions: 10, durability: 'replicated' })
  const clients = await Promise.all(Array.from({ length: count }, () => connect(node.address, CALL_TIMEOUT)))
  const load = { recordBytes: RECORD_BYTES, recordCount: Math.ceil(RECORD_COUNT / count), batchBytes: BATCH_BYTES }
  const send = (): Promise<unknown> => Promise.all(clients.map((client) => fill(client, 't', load)))
  await send()
  const mbs = await medianOf(RUNS, async () => TOTAL_BYTES / 1e3 / (await timed(send)))
  await Promise.all(clients.map((client) => client.close()))
  return mbs
}

function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
}

/** Requests on streams of one connection, so that memory is theirs and not the connection's. */
async function parkedKib(tm: Tidemark, node: NodeProcess, count: number): Promise<number> {
  await tm.admin.createTopic('t', { partitions: 1 })
  await settle()
  const before = residentMib(node.pid)
  const transport = createGrpcTransport(nodeClock)
  const streams = Array.from({ length: Math.ceil(count / PARKED_PER_STREAM) }, () =>
    transport.connection(node.address).openFetch({ message() {}, closed() {} }),
  )
  for (let id = 0; id < count; id++) streams[id % streams.length]?.send({ ...PARKED_REQUEST, correlationId: id + 1 })
  for (let looks = 0; (await metric(node, 'tidemark_fetch_parked')) < count; looks++) {
    if (looks === LOOKS_MAX) throw new Error(`${count} fetches were sent, fewer are parked`)
    await settle()
  }
  await settle()
  const grownKib = (residentMib(node.pid) - before) * 1024
  transport.close()
  return grownKib / count
}

const PARKED_PER_STREAM = 1000
const PARKED_PARTITION = { topic: 't', topicId: Buffer.alloc(0), partition: 0, leaderEpochPlusOne: 0, lastEpochPlusOne: 0 }
const PARKED_REQUEST = {
  maxWaitMs: 300_000,
  minBytes: 1,
  maxBytes: 0,
  partitions: [{ ...PARKED_PARTITION, suspect: false, offset: 0, maxBytes: 0 }],
}

async function connectionKib(node: NodeProcess, count: number): Promise<number> {
  await settle()
  const before = residentMib(node.pid)
  const clients = await Promise.all(Array.from({ length: count }, () => connect(node.address, CALL_TIMEOUT)))
  await settle()
  const grownKib = (residentMib(node.pid) - before) * 1024
  await Promise.all(clients.map((client) => client.close()))
  return grownKib / count
}

async function metric(node: NodeProcess, name: string): Promise<number> {
  const text = await (await fetch(`http://${node.address}/metrics`)).text()
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1])
}

const { values, positionals } = parseArgs({ options: { json: { type: 'string' }, svg: { type: 'string' } }, allowPositionals: true })
const report = beginReport()
console.log(report.heading)
if (values.svg !== undefined) mkdirSync(values.svg, { recursive: true })
const plots: (Plot & { readonly name: string })[] = []
for (const { name, measure, ...labels } of STUDIES) {
  if (positionals.length > 0 && !positionals.some((word) => name.includes(word))) continue
  process.stderr.write(`${name} …\n`)
  const points = await measure()
  plots.push({ name, ...labels, points })
  if (values.svg !== undefined) writeFileSync(join(values.svg, `scale-${name}.svg`), svgOf({ ...labels, points }))
  console.log(`${name}, ${labels.y}: ${points.map(({ x, y }) => `${x}: ${y.toFixed(1)}`).join(', ')}`)
}
const { results: _, ...machine } = report.finish([])
console.log(`load ${machine.load.before.toFixed(1)} before, ${machine.load.after.toFixed(1)} after`)
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ ...machine, plots }, undefined, 2)}\n`)
