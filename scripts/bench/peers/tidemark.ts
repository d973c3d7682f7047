/** tidemark as its package is installed, on its defaults. */
import { join } from 'node:path'
import { connect } from '../../../client/index.ts'
import { VERSION } from '../../../protocol/version.ts'
import { freePort } from '../../node-process.ts'
import { root } from '../../tools.ts'
import { type Mode, type Peer, type PeerClient, ServerProcess, TOPIC } from './peer.ts'

const MODES = {
  fsync: { name: 'fsync', isDurable: true, means: 'on disk (as shipped)' },
  replicated: { name: 'replicated', isDurable: false, means: 'in the page cache' },
} as const satisfies Record<string, Mode>

export const tidemark: Peer = {
  name: 'tidemark',
  client: 'its own, `enqueue` on its defaults',
  version: () => VERSION,
  modes: () => Object.values(MODES),
  async prepare(directory, mode) {
    // The other clients are loaded whole; this one loads what speaks to a server when it first does.
    await import('../../../client/grpc-transport.ts')
    const port = await freePort()
    const program = join(root, 'dist/cli/tidemark.mjs')
    const args = ['serve', '--listen', `127.0.0.1:${port}`, '--data-dir', directory, '--log-level', 'warn']
    return {
      port,
      start: () => new ServerProcess([[process.execPath, program, ...args]]),
      connect: () => openClient(port, mode.name as keyof typeof MODES),
    }
  },
}

async function openClient(port: number, durability: keyof typeof MODES): Promise<PeerClient> {
  const tm = await connect(`127.0.0.1:${port}`)
  const topics = await tm.admin.listTopics()
  if (!topics.some(({ name }) => name === TOPIC)) await tm.admin.createTopic(TOPIC, { partitions: 1, durability })
  const producer = tm.producer()
  return {
    sendOne: (value) => producer.send(TOPIC, { value }),
    async sendAll(count, value) {
      await producer.ready({ topic: TOPIC })
      for (let sent = 0; sent < count; sent++) while (!producer.enqueue(TOPIC, { value })) await producer.ready()
      await producer.flush()
    },
    async readAll(count) {
      let seen = 0
      for await (const { messages } of tm.consumer(TOPIC, { start: 'earliest' }).batches()) {
        seen += messages.length
        if (seen >= count) return
      }
    },
    close: () => tm.close(),
  }
}
