/** Apache Kafka, one node in KRaft mode with the heap its own scripts give it; arrays of records, five requests in flight. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Admin, Consumer, Producer, type Message } from '@platformatic/kafka'
import { freePort } from '../../node-process.ts'
import { type Mode, outputOf, type Peer, type PeerClient, ServerProcess, TOPIC, windowed } from './peer.ts'

/** With records of 1 KiB as large as tidemark's batches. */
const SEND_RECORDS = 256
const IN_FLIGHT = 5

const EVERY: Mode = { name: 'log.flush.interval.messages=1', isDurable: true, means: 'on disk' }
const SHIPPED: Mode = { name: 'as shipped', isDurable: false, means: 'in the page cache' }

const libraries = join(import.meta.dirname, 'kafka')
/** What its start scripts set. */
const JAVA = ['-Xmx1G', '-Xms1G', '-server', '-XX:+UseG1GC', '-XX:MaxGCPauseMillis=20', '-XX:InitiatingHeapOccupancyPercent=35']

export const kafka: Peer = {
  name: 'Apache Kafka',
  client: `@platformatic/kafka, ${SEND_RECORDS} records a request, ${IN_FLIGHT} in flight`,
  version() {
    if (!existsSync(libraries) || outputOf('java', '-version') === undefined) return undefined
    return readdirSync(libraries).flatMap((name) => /^kafka_[\d.]+-([\d.]+)\.jar$/.exec(name)?.[1] ?? [])[0]
  },
  modes: () => [EVERY, SHIPPED],
  async prepare(directory, mode) {
    const [port, controller] = (await Promise.all([freePort(), freePort()])) as [number, number]
    const settings = [
      'process.roles=broker,controller',
      'node.id=1',
      `controller.quorum.voters=1@127.0.0.1:${controller}`,
      `listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}`,
      `advertised.listeners=PLAINTEXT://127.0.0.1:${port}`,
      'controller.listener.names=CONTROLLER',
      `log.dirs=${join(directory, 'data')}`,
      'offsets.topic.replication.factor=1',
      ...(mode === EVERY ? ['log.flush.interval.messages=1'] : []),
    ]
    const file = join(directory, 'server.properties')
    writeFileSync(file, `${settings.join('\n')}\n`)
    const classes = ['-cp', join(libraries, '*')]
    execFileSync('java', [...classes, 'kafka.tools.StorageTool', 'format', '-t', 'AAAAAAAAAAAAAAAAAAAAAQ', '-c', file], { stdio: 'ignore' })
    return {
      port,
      start: () => new ServerProcess([['java', ...JAVA, ...classes, 'kafka.Kafka', file]]),
      connect: () => openClient(`127.0.0.1:${port}`),
    }
  },
}

async function openClient(address: string): Promise<PeerClient> {
  const options = { clientId: 'bench', bootstrapBrokers: [address] }
  const admin = new Admin(options)
  if (!(await admin.listTopics()).includes(TOPIC)) await admin.createTopics({ topics: [TOPIC], partitions: 1, replicas: 1 })
  await admin.close()
  const producer = new Producer<Buffer, Buffer, Buffer, Buffer>({ ...options, acks: -1 })
  return {
    sendOne: (value) => producer.send({ messages: [{ topic: TOPIC, value }] }),
    sendAll(count, value) {
      const messages = Array.from({ length: SEND_RECORDS }, () => ({ topic: TOPIC, value }))
      return windowed(Math.ceil(count / SEND_RECORDS), IN_FLIGHT, () => producer.send({ messages }))
    },
    readAll: (count) => readFromStart(options, count),
    close: () => producer.close(),
  }
}

let groups = 0

async function readFromStart(options: { readonly clientId: string; readonly bootstrapBrokers: string[] }, count: number): Promise<void> {
  const consumer = new Consumer<Buffer, Buffer, Buffer, Buffer>({ ...options, groupId: `bench-${++groups}` })
  const stream = await consumer.consume({
    topics: [TOPIC],
    mode: 'earliest',
    autocommit: false,
    maxWaitTime: 100,
    maxBytes: 16 * 1024 * 1024,
  })
  const done = Promise.withResolvers<void>()
  let seen = 0
  stream.on('data', (_message: Message<Buffer, Buffer, Buffer, Buffer>) => {
    if (++seen === count) done.resolve()
  })
  stream.on('error', done.reject)
  await done.promise
  await stream.close()
  await consumer.close()
}
