/**
 * NATS JetStream: a stream on files, published to asynchronously with as many acknowledgements outstanding as its Go client allows by default,
 * read with an ordered consumer.
 */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { freePort } from '../../node-process.ts'
import { type Mode, outputOf, type Peer, type PeerClient, ServerProcess, TOPIC, windowed } from './peer.ts'

const OUTSTANDING_MAX = 4000
/** The five seconds of the client are too few where thousands wait for a sync each. */
const PATIENCE_MS = 60_000
/** Messages that a consumer asks for ahead; the client's 100 is for small ones that take long to handle. */
const PULL_MESSAGES = 4000

/** One built here goes first: Debian's is older than the setting that syncs. */
const built = join(import.meta.dirname, 'bin/nats-server')
const program = existsSync(built) ? built : 'nats-server'

const ALWAYS: Mode = { name: 'sync_interval: always', isDurable: true, means: 'on disk' }
const SHIPPED: Mode = { name: 'as shipped', isDurable: false, means: 'in the page cache, synced every two minutes' }

function version(): string | undefined {
  return /v(\d+\.\d+\.\d+)/.exec(outputOf(program, '--version') ?? '')?.[1]
}

export const nats: Peer = {
  name: 'NATS JetStream',
  client: `@nats-io/jetstream, ${OUTSTANDING_MAX} publishes outstanding`,
  version,
  modes() {
    const [major = 0, minor = 0] = (version() ?? '').split('.').map(Number)
    return major > 2 || (major === 2 && minor >= 10) ? [ALWAYS, SHIPPED] : [SHIPPED]
  },
  async prepare(directory, mode) {
    const port = await freePort()
    const file = join(directory, 'nats.conf')
    const sync = mode === ALWAYS ? 'sync_interval: always' : ''
    writeFileSync(file, `listen: 127.0.0.1:${port}\njetstream { store_dir: "${directory}"\n ${sync}\n }\n`)
    return { port, start: () => new ServerProcess([[program, '-c', file]]), connect: () => openClient(port) }
  },
}

async function openClient(port: number): Promise<PeerClient> {
  const connection = await connect({ servers: `127.0.0.1:${port}`, reconnect: false })
  const manager = await jetstreamManager(connection)
  await manager.streams.add({ name: TOPIC, subjects: [TOPIC], storage: 'file' })
  const stream = jetstream(connection)
  return {
    sendOne: (value) => stream.publish(TOPIC, value, { timeout: PATIENCE_MS }),
    sendAll: (count, value) => windowed(count, OUTSTANDING_MAX, () => stream.publish(TOPIC, value, { timeout: PATIENCE_MS })),
    async readAll(count) {
      const consumer = await stream.consumers.get(TOPIC)
      const messages = await consumer.consume({ max_messages: PULL_MESSAGES })
      let seen = 0
      for await (const _message of messages) if (++seen === count) break
      await messages.close()
    },
    close: () => connection.close(),
  }
}
