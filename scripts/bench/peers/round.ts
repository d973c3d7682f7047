/**
 * One round with one peer, in a process of its own: its client shares no heap with the others'. Prints what it measured as JSON.
 *
 *   node round.ts <name of the peer> <name of the mode>
 */
import net from 'node:net'
import { cpuSeconds, inDirectory, residentMib, timed } from '../harness.ts'
import { latenciesOf } from '../latencies.ts'
import { type Launch, type PeerClient, type ServerProcess } from './peer.ts'
import { PEERS } from './peers.ts'

export interface Round {
  readonly startMs: number
  readonly idleMib: number
  readonly sendP50Ms: number
  readonly sendP99Ms: number
  readonly produceMbs: number
  readonly serverCpuPerGb: number
  readonly consumeMbs: number
}

const RECORD_BYTES = 1024
const READY_TIMEOUT_MS = 60_000
const IDLE_MS = 4000
const WARM_SENDS = 200
const SENDS = 1000
/** What sets how many records make a run of about this long. */
const WARM_RECORDS = 4096
const PRODUCE_SECONDS = 3
const RECORDS_MAX = 256 * 1024

async function play(launch: Launch): Promise<Round> {
  const value = Buffer.alloc(RECORD_BYTES, 'an ordinary value ')
  let server: ServerProcess | undefined
  let client: PeerClient | undefined
  try {
    const startMs = await timed(async () => {
      server = launch.start()
      client = await firstAcknowledgement(launch, server, value)
    })
    if (server === undefined || client === undefined) throw new Error('not started')
    await new Promise((resolve) => setTimeout(resolve, IDLE_MS))
    const idleMib = server.pids.reduce((sum, pid) => sum + residentMib(pid), 0)
    const sends = await oneAtATime(client, value)
    const produced = await produce(client, server, value)
    await client.readAll(produced.total)
    const consumeMs = await timed(() => (client as PeerClient).readAll(produced.total))
    const consumeMbs = (produced.total * RECORD_BYTES) / 1e6 / (consumeMs / 1000)
    return { startMs, idleMib, ...sends, produceMbs: produced.mbs, serverCpuPerGb: produced.cpuPerGb, consumeMbs }
  } finally {
    await client?.close()
    await server?.stop()
  }
}

/** Tries until the server takes a record. */
async function firstAcknowledgement(launch: Launch, server: ServerProcess, value: Buffer): Promise<PeerClient> {
  const deadlineMs = performance.now() + READY_TIMEOUT_MS
  let why: unknown
  while (performance.now() < deadlineMs) {
    server.checkAlive()
    if (await isListening(launch.port)) {
      try {
        const client = await launch.connect()
        await client.sendOne(value)
        return client
      } catch (error) {
        why = error
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  throw new Error('not ready', { cause: why })
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

async function oneAtATime(client: PeerClient, value: Buffer): Promise<Pick<Round, 'sendP50Ms' | 'sendP99Ms'>> {
  await latenciesOf(WARM_SENDS, () => client.sendOne(value))
  const { p50, p99 } = await latenciesOf(SENDS, () => client.sendOne(value))
  return { sendP50Ms: p50, sendP99Ms: p99 }
}

async function produce(
  client: PeerClient,
  server: ServerProcess,
  value: Buffer,
): Promise<{ readonly total: number; readonly mbs: number; readonly cpuPerGb: number }> {
  const warmMs = await timed(() => client.sendAll(WARM_RECORDS, value))
  const wanted = Math.min(RECORDS_MAX, (WARM_RECORDS / warmMs) * PRODUCE_SECONDS * 1000)
  const count = Math.ceil(wanted / 1024) * 1024
  const { pids } = server
  const used = (): number => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0)
  const before = used()
  const elapsedMs = await timed(() => client.sendAll(count, value))
  const bytes = count * RECORD_BYTES
  return {
    total: WARM_RECORDS + count,
    mbs: bytes / 1e6 / (elapsedMs / 1000),
    cpuPerGb: (used() - before) / (bytes / 1e9),
  }
}

if (import.meta.main) {
  // A process that a signal ends does not say `exit`, and its server would stay.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
  const [peerName, modeName] = process.argv.slice(2)
  const peer = PEERS.find(({ name }) => name === peerName)
  const mode = peer?.modes().find(({ name }) => name === modeName)
  if (peer === undefined || mode === undefined) throw new Error(`there is no ${peerName} ${modeName}`)
  const round = await inDirectory(async (directory) => play(await peer.prepare(directory, mode)))
  process.stdout.write(JSON.stringify(round))
}
