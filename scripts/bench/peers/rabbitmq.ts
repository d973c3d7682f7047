/** RabbitMQ streams: publishes confirmed by the server, as many on their way as its other clients allow, read with the client's credits. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import rabbit from 'rabbitmq-stream-js-client'
import { Connection } from 'rabbitmq-stream-js-client/dist/connection.js'
import { freePort } from '../../node-process.ts'
import { type Mode, outputOf, type Peer, type PeerClient, ServerProcess, TOPIC } from './peer.ts'

const PROGRAM = '/usr/lib/rabbitmq/bin/rabbitmq-server'
/** Of the Java client. */
const UNCONFIRMED_MAX = 10_000

/** There is no other: its documentation says that streams never sync by themselves. */
const SHIPPED: Mode = { name: 'as shipped', isDurable: false, means: 'in the page cache' }

// The server of Debian 12 is older than this part of the introduction, and closes the connection of whoever begins it. Nothing else depends on it.
Object.assign(Connection.prototype, { exchangeCommandVersions: () => Promise.resolve(true) })

export const rabbitmq: Peer = {
  name: 'RabbitMQ streams',
  client: `rabbitmq-stream-js-client, ${UNCONFIRMED_MAX} unconfirmed`,
  version() {
    if (!existsSync(PROGRAM)) return undefined
    return /^Version: (\d+\.\d+\.\d+)/m.exec(outputOf('dpkg', '-s', 'rabbitmq-server') ?? '')?.[1]
  },
  modes: () => [SHIPPED],
  async prepare(directory) {
    const [port, other, distribution, mapper] = (await Promise.all([freePort(), freePort(), freePort(), freePort()])) as [
      number,
      number,
      number,
      number,
    ]
    const at = (name: string): string => join(directory, name)
    for (const name of ['home', 'data', 'log']) mkdirSync(at(name))
    writeFileSync(at('plugins'), '[rabbitmq_stream].\n')
    const settings = [
      `listeners.tcp.1 = 127.0.0.1:${other}`,
      `stream.listeners.tcp.1 = 127.0.0.1:${port}`,
      'stream.advertised_host = 127.0.0.1',
      `stream.advertised_port = ${port}`,
    ]
    writeFileSync(at('rabbitmq.conf'), `${settings.join('\n')}\n`)
    const environment = {
      HOME: at('home'),
      RABBITMQ_NODENAME: `bench${port}@localhost`,
      RABBITMQ_MNESIA_BASE: at('data'),
      RABBITMQ_LOG_BASE: at('log'),
      RABBITMQ_CONFIG_FILE: at('rabbitmq.conf'),
      RABBITMQ_ENABLED_PLUGINS_FILE: at('plugins'),
      RABBITMQ_DIST_PORT: String(distribution),
      ERL_EPMD_PORT: String(mapper),
      ERL_EPMD_ADDRESS: '127.0.0.1',
    }
    // The port mapper would outlive the server that starts it.
    return { port, start: () => new ServerProcess([['epmd'], [PROGRAM]], { environment }), connect: () => openClient(port) }
  },
}

async function openClient(port: number): Promise<PeerClient> {
  const client = await rabbit.connect({ hostname: '127.0.0.1', port, username: 'guest', password: 'guest', vhost: '/', heartbeat: 60 })
  await client.createStream({ stream: TOPIC, arguments: {} })
  const publisher = await client.declarePublisher({ stream: TOPIC })
  const open = { count: 0 }
  let changed = Promise.withResolvers<void>()
  publisher.on('publish_confirm', (error, ids) => {
    if (error !== null && error !== 0) throw new Error(`refused: ${error}`)
    open.count -= ids.length
    changed.resolve()
    changed = Promise.withResolvers()
  })
  const untilBelow = async (count: number): Promise<void> => {
    while (open.count >= count) await changed.promise
  }
  return {
    async sendOne(value) {
      open.count++
      await publisher.send(value)
      await untilBelow(1)
    },
    async sendAll(count, value) {
      for (let sent = 0; sent < count; sent++) {
        await untilBelow(UNCONFIRMED_MAX)
        open.count++
        await publisher.send(value)
      }
      await untilBelow(1)
    },
    async readAll(count) {
      const done = Promise.withResolvers<void>()
      let seen = 0
      const consumer = await client.declareConsumer({ stream: TOPIC, offset: rabbit.Offset.first() }, () => {
        if (++seen === count) done.resolve()
      })
      await done.promise
      await consumer.close()
    },
    close: () => client.close(),
  }
}
