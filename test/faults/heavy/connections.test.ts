/** Ten thousand connections that say nothing, a thousand that work, one node. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import net from 'node:net'
import { expect, it } from 'vitest'
import { connect, type Tidemark } from '../../../client/index.ts'
import { heapBytes, INSPECTED } from '../inspector.ts'
import { metricOf, residentBytes, showFigures, usePlace } from '../support.ts'

const IDLE = 10_000
const ACTIVE = 1000
/** Opened at the same time: fewer than the kernel lets wait to be accepted. */
const AT_ONCE = 200
/** Files of a process that has them all, on either end. */
const FILES = IDLE + 2 * ACTIVE

/** The preface of HTTP/2, settings that change nothing, and the acknowledgement of the node's. */
const HELLO = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.from('000000040000000000', 'hex'),
  Buffer.from('000000040100000000', 'hex'),
])

const place = usePlace()

async function inGroups<T>(count: number, work: (at: number) => Promise<T>): Promise<T[]> {
  const done: T[] = []
  for (let at = 0; at < count; at += AT_ONCE)
    done.push(...(await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - at) }, (_, n) => work(at + n)))))
  return done
}

async function openIdle(port: number): Promise<net.Socket> {
  const socket = net.connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.write(HELLO)
  // The node's own settings: it has taken it for what it is.
  await once(socket, 'data')
  return socket
}

function connectionCount(address: string): Promise<number> {
  return metricOf(address, 'tidemark_node_connections')
}

/** Each sends and reads what it sent; a few tens at a time, as so many clients do by chance. */
async function everyoneWorks(clients: readonly Tidemark[], round: string): Promise<void> {
  for (let at = 0; at < clients.length; at += AT_ONCE)
    await Promise.all(
      clients.slice(at, at + AT_ONCE).map(async (tm, n) => {
        const value = `${round} ${at + n}`
        const { partition, offset } = await tm.producer().send('t', { value })
        for await (const message of tm.consumer('t', { start: { offset: () => offset }, partitions: [partition] })) {
          expect(String(message.value)).toBe(value)
          break
        }
      }),
    )
}

it(`E09 ${IDLE} idle connections cost little, ${ACTIVE} others work beside them, and what they cost comes back`, async (context) => {
  if (process.platform !== 'linux') return context.skip('reads memory from /proc')
  const files = execFileSync('sh', ['-c', 'ulimit -Hn']).toString().trim()
  if (files !== 'unlimited' && Number(files) < FILES) return context.skip(`needs ${FILES} file descriptors, at most ${files} are allowed`)
  const limits = ['limits.connections=20000', 'limits.keepalive_interval=1h', 'limits.idle_timeout=1h'].flatMap((one) => ['--set', one])
  const node = await place.node(join(await place.directory(), 'data'), limits)
  node.environment = INSPECTED
  await node.start()
  await (await place.connect(node.address)).admin.createTopic('t', { partitions: 10 })
  const before = { heap: await heapBytes(node), resident: residentBytes(node.pid).now }

  const sockets = await inGroups(IDLE, () => openIdle(node.port))
  place.after(() => sockets.forEach((socket) => socket.destroy()))
  expect(await connectionCount(node.address)).toBeGreaterThanOrEqual(IDLE)
  const during = { heap: await heapBytes(node), resident: residentBytes(node.pid).now }

  const clients = await inGroups(ACTIVE, () => connect(node.address))
  place.after(() => Promise.all(clients.map((tm) => tm.close())))
  for (const round of ['first', 'second']) await everyoneWorks(clients, round)
  expect(await connectionCount(node.address)).toBeGreaterThanOrEqual(IDLE + ACTIVE)
  await Promise.all(clients.splice(0).map((tm) => tm.close()))

  for (const socket of sockets.splice(0)) socket.destroy()
  await expect.poll(() => connectionCount(node.address), { timeout: 60_000 }).toBeLessThan(10)
  const after = await heapBytes(node)
  const cost = during.heap - before.heap
  expect(after - before.heap).toBeLessThan(cost / 5)

  const kib = (bytes: number): string => `${(bytes / 1024).toFixed(1)} KiB`
  const resident = during.resident - before.resident
  showFigures(
    context,
    `an idle connection has ${kib(cost / IDLE)} of heap, ${kib(resident / IDLE)} resident; ${Math.round((100 * (after - before.heap)) / cost)} % of it is kept afterwards`,
  )
}, 300_000)
