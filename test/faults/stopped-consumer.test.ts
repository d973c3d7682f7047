/** A consumer that asks for much and takes nothing. */
import http2 from 'node:http2'
import { afterEach, expect, it } from 'vitest'
import { FetchRequest } from '../../protocol/gen/tidemark/v1/log.ts'
import { startTidemark, type TestTidemark } from '../../testing/index.ts'

const RECORD = Buffer.alloc(100_000, 7)
/** What is asked for, all in all: far more than a node holds for one connection. */
const FETCHES = 200

let node: TestTidemark | undefined
let session: http2.ClientHttp2Session | undefined

afterEach(async () => {
  session?.destroy()
  await node?.close()
})

function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}

it('E05 a consumer that takes nothing costs no more than its share, and the others read on', async ({ task }) => {
  node = await startTidemark()
  const tm = await node.connect()
  await tm.admin.createTopic('t', { partitions: 1 })
  for (let i = 0; i < 50; i++) await tm.producer().send('t', { value: RECORD })
  session = http2.connect(`http://${node.address}`)
  session.on('error', () => {})
  const stream = session.request({
    ':method': 'POST',
    ':path': '/tidemark.v1.Log/FetchStream',
    'content-type': 'application/grpc',
    te: 'trailers',
  })
  stream.on('error', () => {})
  const ask = FetchRequest.encode(FetchRequest.fromPartial({ maxBytes: 4_000_000, partitions: [{ topic: 't' }] })).finish()
  const buffersBefore = process.memoryUsage().arrayBuffers
  // Never read from: what the node answers stays with it once the window is full.
  for (let i = 0; i < FETCHES; i++) stream.write(framed(ask))
  await new Promise<void>((resolve) => session?.ping(() => resolve()))
  for (let round = 0; round < 5; round++) {
    const messages = await Array.fromAsync(tm.consumer('t', { start: 'earliest', end: 'now' }))
    expect(messages).toHaveLength(50)
  }
  const grownMib = Math.round((process.memoryUsage().arrayBuffers - buffersBefore) / 1024 / 1024)
  // Asked for were 800 MB.
  expect(grownMib).toBeLessThan(200)
  Object.assign(task.meta, { figures: `${FETCHES} fetches of 4 MB unread, buffers grew by ${grownMib} MiB` })
})
