/** What a node costs while it does nothing: time to start, memory, CPU with parked consumers, many partitions. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createGrpcTransport } from '../../client/grpc-transport.ts'
import { connect } from '../../client/index.ts'
import { nodeClock } from '../../runtime/node.ts'
import { freePort, NodeProcess } from '../node-process.ts'
import { BatchBuilder } from '../../protocol/batch-builder.ts'
import { runTool } from '../tools.ts'
import {
  type Case,
  cpuSeconds,
  differenceResult,
  inDirectory,
  medianOf,
  ratioResult,
  residentMib,
  type Result,
  timed,
  withNode,
} from './harness.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const RUNS = 7

/** From starting the process to the first acknowledged record of a topic that exists: of a clone, and of the package that is built from it. */
export const startUp: Case = {
  name: 'start-up',
  run: () =>
    inDirectory(async (directory) => {
      if (!runTool('scripts/build.ts')) throw new Error('the package cannot be built')
      const dataDir = join(directory, 'data')
      const first = await NodeProcess.start(dataDir)
      const tm = await connect(first.address)
      await tm.admin.createTopic('t')
      await tm.close()
      await first.stop()
      const programs = { clone: 'cli/tidemark.mjs', package: 'dist/cli/tidemark.mjs' }
      // The first start of each fills the compile cache.
      for (const program of Object.values(programs)) await startOnce(program, dataDir)
      const baseline = await medianOf(RUNS, () => timed(async () => execFileSync(process.execPath, ['-e', '0'])))
      const results: Result[] = []
      for (const [name, program] of Object.entries(programs)) {
        results.push(
          differenceResult({
            name: `process start → first acknowledged record, ${name}`,
            ours: await medianOf(RUNS, () => startOnce(program, dataDir)),
            baseline,
            unit: 'ms',
            against: 'node -e 0',
            budget: '≤ 150 ms above',
            atMost: 150,
          }),
        )
      }
      return results
    }),
}

async function startOnce(program: string, dataDir: string): Promise<number> {
  const port = await freePort()
  let child: ReturnType<typeof spawn> | undefined
  const elapsedMs = await timed(async () => {
    child = spawn(
      process.execPath,
      [join(root, program), 'serve', '--listen', `127.0.0.1:${port}`, '--data-dir', dataDir, '--log-level', 'warn'],
      { stdio: 'inherit' },
    )
    await firstAcknowledgement(port)
  })
  child?.kill('SIGTERM')
  if (child !== undefined) await once(child, 'exit')
  return elapsedMs
}

/** Looks for the port, then offers a record until the node takes it; on one connection, because a node that starts should not be kept busy with others. */
async function firstAcknowledgement(port: number): Promise<void> {
  while (!(await isListening(port))) await new Promise((resolve) => setTimeout(resolve, 2))
  const connection = createGrpcTransport(nodeClock)
  const builder = new BatchBuilder()
  builder.append(null, Buffer.from('x'), 1)
  const batch = builder.buildSync()
  const offer = (): Promise<boolean> =>
    new Promise((resolve) => {
      const stream = connection.connection(`127.0.0.1:${port}`).openProduce({
        message: ({ partitions }) => resolve(partitions[0]?.error === undefined),
        closed: () => resolve(false),
      })
      stream.send({
        correlationId: 1,
        acks: 0,
        timeoutMs: 0,
        partitions: [{ topic: 't', topicId: Buffer.alloc(0), partition: 0, leaderEpochPlusOne: 0, batch }],
      })
    })
  while (!(await offer())) await new Promise((resolve) => setTimeout(resolve, 4))
  connection.close()
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

export const idleMemory: Case = {
  name: 'idle memory',
  run: () =>
    withNode(async (tm, node) => {
      await tm.admin.createTopic('t')
      await tm.producer().send('t', { value: 'x' })
      const bare = spawn(process.execPath, [
        '--input-type=module',
        '-e',
        `await import(${JSON.stringify(join(root, 'node_modules/@grpc/grpc-js/build/src/index.js'))}); setInterval(() => {}, 1e6); console.log('up')`,
      ])
      await once(bare.stdout, 'data')
      await settled()
      const baseline = residentMib(bare.pid as number)
      const ours = residentMib(node.pid)
      bare.kill()
      return [
        differenceResult({
          name: 'resident memory, idle',
          ours,
          baseline,
          unit: 'MiB',
          against: 'node with grpc-js loaded',
          budget: '≤ 30 MiB above, < 90',
          atMost: Math.min(30, 90 - baseline),
        }),
      ]
    }),
}

/** A node that has been idle for this long has given back what starting took, which would otherwise fall into what is measured. */
const SETTLED_MS = 4000

function settled(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SETTLED_MS))
}

const WATCH_SECONDS = 10

/** Percent of a core that a process takes over the next seconds. */
async function cpuPercent(pid: number): Promise<number> {
  const before = cpuSeconds(pid)
  await new Promise((resolve) => setTimeout(resolve, WATCH_SECONDS * 1000))
  return ((cpuSeconds(pid) - before) / WATCH_SECONDS) * 100
}

export const idleCpu: Case = {
  name: 'idle CPU',
  run: () =>
    withNode(async (tm, node) => {
      await tm.admin.createTopic('t')
      await tm.producer().send('t', { value: 'x' })
      await settled()
      const bare = spawn(process.execPath, ['-e', 'setInterval(() => {}, 100)'])
      const baseline = await cpuPercent(bare.pid as number)
      bare.kill()
      const ours = await cpuPercent(node.pid)
      const against = 'bare node with a timer of 100 ms'
      return [differenceResult({ name: 'CPU of an idle node', ours, baseline, unit: '% of a core', against })]
    }),
}

const PARKED = 1000

export const parkedConsumers: Case = {
  name: 'parked consumers',
  run: () =>
    withNode(async (tm, node) => {
      await tm.admin.createTopic('t')
      await settled()
      const baseline = await cpuPercent(node.pid)
      const memoryBefore = residentMib(node.pid)
      const transports = Array.from({ length: PARKED / 100 }, () => createGrpcTransport(nodeClock))
      for (const transport of transports) {
        for (let index = 0; index < 100; index++) {
          const stream = transport.connection(node.address).openFetch({ message() {}, closed() {} })
          stream.send({
            correlationId: 1,
            maxWaitMs: 300_000,
            minBytes: 1,
            maxBytes: 0,
            partitions: [
              {
                topic: 't',
                topicId: Buffer.alloc(0),
                partition: 0,
                leaderEpochPlusOne: 0,
                lastEpochPlusOne: 0,
                suspect: false,
                offset: 0,
                maxBytes: 0,
              },
            ],
          })
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 3000))
      const memoryAfter = residentMib(node.pid)
      const ours = await cpuPercent(node.pid)
      for (const transport of transports) transport.close()
      return [
        differenceResult({
          name: `CPU with ${PARKED} parked consumers, each a stream of its own`,
          ours,
          baseline,
          unit: '% of a core',
          against: 'the same node without them',
          budget: 'no measurable difference (≤ 0.2)',
          atMost: 0.2,
          note: `${(((memoryAfter - memoryBefore) * 1024) / PARKED).toFixed(1)} KiB resident each, stream included`,
        }),
      ]
    }),
}

const MANY = 10_000

export const manyPartitions: Case = {
  name: 'many partitions',
  run: () =>
    inDirectory(async (directory) => {
      const node = await NodeProcess.start(join(directory, 'data'), ['--log-level', 'warn'])
      const tm = await connect(node.address, { requestTimeout: '5m' })
      await settled()
      const emptyMib = residentMib(node.pid)
      await tm.admin.createTopic('many', { partitions: MANY })
      await tm.close()
      await node.stop()
      const readyMs = await timed(() => node.start())
      await settled()
      const perPartitionKib = ((residentMib(node.pid) - emptyMib) * 1024) / MANY
      await node.stop()
      return [
        ratioResult({
          name: `clean restart with ${MANY} partitions`,
          ours: readyMs / 1000,
          baseline: 5,
          unit: 's',
          against: 'the budget',
          budget: '≤ 5 s',
          atMost: 1,
        }),
        ratioResult({
          name: 'memory of an idle partition',
          ours: perPartitionKib,
          baseline: 8,
          unit: 'KiB',
          against: 'the budget',
          budget: '≤ 8 KiB',
          atMost: 1,
          note: 'resident',
        }),
      ]
    }),
}
