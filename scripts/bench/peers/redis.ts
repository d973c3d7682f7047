/** Redis Streams: XADD, pipelined by the client within a turn of the event loop, read with XREAD in portions. */
import { createClient, RESP_TYPES } from 'redis'
import { freePort } from '../../node-process.ts'
import { type Mode, outputOf, type Peer, type PeerClient, ServerProcess, TOPIC, windowed } from './peer.ts'

const IN_FLIGHT = 2000
const READ_COUNT = 2000

const ALWAYS: Mode = { name: 'appendfsync always', isDurable: true, means: 'on disk' }
const EVERYSEC: Mode = { name: 'appendfsync everysec', isDurable: false, means: 'in the page cache, synced every second' }
const SHIPPED: Mode = { name: 'as shipped', isDurable: false, means: 'in memory; a snapshot now and then' }

const SETTINGS = new Map([
  [ALWAYS, ['--appendonly', 'yes', '--appendfsync', 'always', '--save', '']],
  [EVERYSEC, ['--appendonly', 'yes', '--appendfsync', 'everysec', '--save', '']],
  [SHIPPED, []],
])

export const redis: Peer = {
  name: 'Redis Streams',
  client: `redis (node-redis), ${IN_FLIGHT} XADD in flight`,
  version: () => /v=(\d+\.\d+\.\d+)/.exec(outputOf('redis-server', '--version') ?? '')?.[1],
  modes: () => [ALWAYS, EVERYSEC, SHIPPED],
  async prepare(directory, mode) {
    const port = await freePort()
    const args = ['--bind', '127.0.0.1', '--port', String(port), '--dir', directory, ...(SETTINGS.get(mode) ?? [])]
    return { port, start: () => new ServerProcess([['redis-server', ...args]]), connect: () => openClient(port) }
  },
}

async function openClient(port: number): Promise<PeerClient> {
  const client = createClient({ socket: { host: '127.0.0.1', port, reconnectStrategy: false } })
  client.on('error', () => {}) // what fails rejects
  await client.connect()
  const binary = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer })
  const add = (value: Buffer): Promise<unknown> => client.xAdd(TOPIC, '*', { value })
  return {
    sendOne: add,
    sendAll: (count, value) => windowed(count, IN_FLIGHT, () => add(value)),
    async readAll(count) {
      let last = '0'
      for (let seen = 0; seen < count; ) {
        const [stream] = (await binary.xRead({ key: TOPIC, id: last }, { COUNT: READ_COUNT })) as unknown as {
          messages: { id: Buffer }[]
        }[]
        const messages = stream?.messages ?? []
        seen += messages.length
        last = messages.at(-1)?.id.toString() ?? last
      }
    },
    close: () => client.close(),
  }
}
