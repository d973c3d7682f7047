/** A node with many partitions and many clients that is killed, and they all come back at once. `TIDEMARK_FAULTS_PARTITIONS` says how many partitions. */
import { once } from 'node:events'
import { join } from 'node:path'
import net from 'node:net'
import { expect, it } from 'vitest'
import type { Tidemark } from '../../../client/index.ts'
import { healthOf, residentBytes, showFigures, usePlace } from '../support.ts'

const PARTITIONS = Number(process.env['TIDEMARK_FAULTS_PARTITIONS'] ?? 5000)
const CLIENTS = 200
/** How long the port refuses everybody before the node is started again, and what one client may ask for meanwhile: one attempt at once, one after each pause. */
const REFUSING_MS = 3000
const ATTEMPTS_MAX = 30
/** Of all attempts, in the tenth of a second that had the most. */
const PEAK_MS = 100

const place = usePlace()

/** Sends to its own partition, one record after the other, and reads it. */
class Client {
  readonly tm: Tidemark
  readonly partition: number
  readonly acknowledged: string[] = []
  readonly read: string[] = []

  constructor(tm: Tidemark, partition: number) {
    this.tm = tm
    this.partition = partition
  }

  async work(stop: AbortSignal): Promise<void> {
    const producer = this.tm.producer()
    for (let n = 0; !stop.aborted; n++) {
      await producer.send('many', { value: `${n}`, partition: this.partition })
      this.acknowledged.push(`${n}`)
    }
  }

  async follow(stop: AbortSignal): Promise<void> {
    const consumer = this.tm.consumer('many', { start: 'earliest', partitions: [this.partition], signal: stop })
    await consumer.run(({ value }) => void this.read.push(String(value)))
  }
}

/** Accepts and cuts connections on a port for a while; when they came. */
async function refuse(port: number): Promise<number[]> {
  const attempts: number[] = []
  const server = net.createServer((socket) => {
    attempts.push(performance.now())
    socket.on('error', () => {})
    socket.destroy()
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  await new Promise((resolve) => setTimeout(resolve, REFUSING_MS))
  server.close()
  await once(server, 'close')
  return attempts
}

function peakOf(attempts: readonly number[]): number {
  return Math.max(...attempts.map((from) => attempts.filter((at) => at >= from && at < from + PEAK_MS).length))
}

it(`E12 a node that is killed with ${PARTITIONS} partitions and ${CLIENTS} clients: all of them get on, nothing is lost or twice, and they come back spread`, async (context) => {
  if (process.platform !== 'linux') return context.skip('reads memory from /proc')
  const node = await place.node(join(await place.directory(), 'data'))
  await node.start()
  const admin = await place.connect(node.address)
  await admin.admin.createTopic('many', { partitions: PARTITIONS })
  // Each has something to recover.
  const seeds = admin.producer()
  await Promise.all(Array.from({ length: PARTITIONS - CLIENTS }, (_, at) => seeds.send('many', { value: 'seed', partition: CLIENTS + at })))

  const stop = new AbortController()
  const clients = await Promise.all(Array.from({ length: CLIENTS }, async (_, at) => new Client(await place.connect(node.address), at)))
  const working = clients.map((client) => client.work(stop.signal))
  const reading = clients.map((client) => client.follow(stop.signal))
  /** Who is not there yet, with what it has had acknowledged and read. */
  const everyone = (isThere: (client: Client) => boolean): Promise<void> =>
    expect
      .poll(
        () =>
          clients
            .filter((client) => !isThere(client))
            .map(({ partition, acknowledged, read }) => [partition, acknowledged.length, read.length]),
        {
          timeout: 240_000,
        },
      )
      .toEqual([])
  await everyone(({ read }) => read.length >= 3)

  await node.stop('SIGKILL')
  const before = new Map(clients.map((client) => [client, client.acknowledged.length]))
  const attempts = await refuse(node.port)
  const startedMs = performance.now()
  await node.start()
  const readyMs = performance.now() - startedMs
  // Beyond what was under way when the node was killed.
  await everyone((client) => client.read.length > (before.get(client) ?? 0) + 2)
  const onAgainMs = performance.now() - startedMs
  expect(await healthOf(node.address)).toMatchObject({ status: 'healthy', partitionCount: PARTITIONS })

  stop.abort()
  await Promise.all([...working, ...reading])
  for (const { tm, partition, acknowledged } of clients) {
    const stored = await Array.fromAsync(tm.consumer('many', { start: 'earliest', end: 'now', partitions: [partition] }))
    expect(stored.map(({ value }) => String(value))).toEqual(acknowledged)
  }
  const kept = await Array.fromAsync(admin.consumer('many', { start: 'earliest', end: 'now' }))
  expect(kept.filter(({ value }) => String(value) === 'seed')).toHaveLength(PARTITIONS - CLIENTS)

  // Pauses between attempts grow, and clients do not keep step.
  expect(attempts.length).toBeLessThan(CLIENTS * ATTEMPTS_MAX)
  const seconds = (ms: number): string => (ms / 1000).toFixed(1)
  showFigures(
    context,
    `ready in ${seconds(readyMs)} s, all on in ${seconds(onAgainMs)} s; ${attempts.length} attempts in ${seconds(REFUSING_MS)} s, at most ${peakOf(attempts)} in ${PEAK_MS} ms; ${Math.round(residentBytes(node.pid).peak / 1024 / 1024)} MiB`,
  )
}, 600_000)
