import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import http2 from 'node:http2'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { defaultNodeConfig, loadNodeConfig } from '../../broker/config.ts'
import { startNode } from '../../broker/server.ts'
import { connect, type Tidemark, TidemarkError } from '../../client/index.ts'
import { createGrpcTransport } from '../../client/grpc-transport.ts'
import { MemoryRaftStore } from '../../controller/memory-raft-store.ts'
import { BatchBuilder } from '../../protocol/batch-builder.ts'
import { decodeErrorDetail, ERROR_TRAILER } from '../../protocol/error-wire.ts'
import { FetchRequest } from '../../protocol/gen/tidemark/v1/log.ts'
import { encodeProduceRequest, type ProduceResponseMessage } from '../../protocol/log-codec.ts'
import { nodeClock, nodeRuntime } from '../../runtime/node.ts'
import { startTidemark, type TestTidemark } from '../../testing/index.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'

let node: TestTidemark
let tm: Tidemark

beforeEach(async () => {
  node = await startTidemark({ config: { limits: { handshakeTimeoutMs: 300, requestBytesMax: 1024 * 1024 } } })
  tm = await node.connect()
  await tm.admin.createTopic('t', { partitions: 1 })
})

afterEach(() => node.close())

/** The node still does its work: a record goes in and comes out. */
async function expectNodeWorks(): Promise<void> {
  const { offset } = await tm.producer().send('t', { value: 'still here' })
  const [message] = await Array.fromAsync(tm.consumer('t', { start: { offset: () => offset }, end: 'now' }))
  expect(String(message?.value)).toBe('still here')
}

async function rawConnection(): Promise<net.Socket> {
  const socket = net.connect(node.port, node.host)
  await once(socket, 'connect')
  socket.on('error', () => {})
  return socket
}

async function readToEnd(socket: net.Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(socket, 'close')
  return Buffer.concat(chunks)
}

/** A call on a connection of its own, as bytes. */
function openCall(call: string): http2.ClientHttp2Stream {
  const session = http2.connect(`http://${node.address}`)
  session.on('error', () => {})
  const stream = session.request({
    ':method': 'POST',
    ':path': `/tidemark.v1.${call}`,
    'content-type': 'application/grpc',
    te: 'trailers',
  })
  stream.on('error', () => {})
  stream.on('close', () => session.destroy())
  return stream
}

function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}

interface Refusal {
  readonly status: number
  readonly error: TidemarkError | undefined
}

async function refusalOf(call: string, message: Uint8Array): Promise<Refusal> {
  const stream = openCall(call)
  stream.end(framed(message))
  return refusalFrom(stream)
}

/** The status that ends a call, wherever it stands, and the error in its trailer. */
async function refusalFrom(stream: http2.ClientHttp2Stream): Promise<Refusal> {
  const ended = Promise.withResolvers<http2.IncomingHttpHeaders>()
  const look = (headers: http2.IncomingHttpHeaders): void => {
    if (headers['grpc-status'] !== undefined) ended.resolve(headers)
  }
  stream.on('response', look)
  stream.on('trailers', look)
  stream.on('close', () => ended.reject(new Error('the call ended without a status')))
  stream.resume()
  const headers = await ended.promise.finally(() => stream.close())
  const detail = headers[ERROR_TRAILER]
  return {
    status: Number(headers['grpc-status']),
    error: typeof detail === 'string' ? decodeErrorDetail(Buffer.from(detail, 'base64')) : undefined,
  }
}

async function parkedCount(): Promise<number> {
  const text = await (await fetch(`http://${node.address}/metrics`)).text()
  return Number(/^tidemark_fetch_parked (\d+)$/m.exec(text)?.[1])
}

function aBatch(): Buffer {
  const builder = new BatchBuilder()
  builder.append(Buffer.from('k'), Buffer.from('some value'), 1_700_000_000_000)
  return Buffer.from(builder.buildSync())
}

/** Sends one batch as it is and returns the code of the answer. */
async function produceRaw(batch: Buffer, topic = 't'): Promise<string> {
  const transport = createGrpcTransport(nodeClock)
  const answered = Promise.withResolvers<ProduceResponseMessage>()
  const stream = transport.connection(node.address).openProduce({ message: answered.resolve, closed: answered.reject })
  stream.send({
    correlationId: 1,
    acks: 0,
    timeoutMs: 0,
    partitions: [{ topic, topicId: Buffer.alloc(0), partition: 0, leaderEpochPlusOne: 0, batch }],
  })
  const { partitions } = await answered.promise.finally(() => transport.close())
  return partitions[0]?.error?.code ?? 'none'
}

describe('E07 E08 bytes on the port that are no protocol', () => {
  it.each([
    ['a line of text', Buffer.from('hello there\r\n')],
    ['a TLS greeting', Buffer.from('16030100c8010000c40303', 'hex')],
    ['zeros', Buffer.alloc(64)],
    ['a Kafka frame that claims 2 GiB', Buffer.from('7fffffff00120000', 'hex')],
  ])('%s: the connection is closed with a word of explanation', async (_what, bytes) => {
    const socket = await rawConnection()
    socket.write(bytes)
    expect(String(await readToEnd(socket))).toContain('this port speaks gRPC')
    await expectNodeWorks()
  })

  it('silence: the connection is closed after the handshake time-out', async () => {
    const socket = await rawConnection()
    expect(await readToEnd(socket)).toHaveLength(0)
    await expectNodeWorks()
  })

  it('an HTTP/2 preface with garbage behind it: the connection is closed', async () => {
    const socket = await rawConnection()
    socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
    socket.write(Buffer.alloc(4096, 0xff))
    await readToEnd(socket)
    await expectNodeWorks()
  })
})

describe('S05 calls as bytes', () => {
  const settings = Buffer.from('000000040000000000', 'hex')
  const reset = Buffer.from('00000403000000000100000008', 'hex')

  /** The headers of a call on stream 1, none of them compressed. */
  function headersOf(path: string, contentType: string, more = ''): Buffer {
    const text = (value: string): Buffer => Buffer.concat([Buffer.from([value.length]), Buffer.from(value, 'latin1')])
    const block = Buffer.concat([
      Buffer.from('838601', 'hex'),
      text('node'),
      Buffer.from([0x04]),
      text(path),
      Buffer.from([0x00]),
      text('content-type'),
      text(contentType),
      ...(more === '' ? [] : [Buffer.from([0x00]), text('x'), text(more)]),
    ])
    return Buffer.concat([Buffer.from([0, 0, block.length, 0x01, 0x04, 0, 0, 0, 1]), block])
  }

  it.each([
    ['a name it does not know', '/tidemark.v1.Log/Nothing', 'application/grpc'],
    ['another content type', '/tidemark.v1.Log/Fetch', 'text/plain'],
    ['nothing against it', '/tidemark.v1.Log/Fetch', 'application/grpc'],
  ])('over before the node hears of it, with %s: the node lives', async (_what, path, contentType) => {
    const socket = await rawConnection()
    socket.end(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), settings, headersOf(path, contentType), reset]))
    await readToEnd(socket)
    await expectNodeWorks()
  })

  it('headers with bytes that gRPC has no room for are answered, and written nowhere', async () => {
    const said = vi.spyOn(console, 'error').mockImplementation(() => {})
    const socket = await rawConnection()
    socket.write(
      Buffer.concat([
        Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
        settings,
        headersOf('/tidemark.v1.Log/Fetch', 'application/grpc', '\xff'),
      ]),
    )
    // An empty message, and the end.
    socket.end(Buffer.from('00000500010000000100000000' + '00', 'hex'))
    const answer = await readToEnd(socket)
    // A frame of headers for the call.
    expect(answer.includes(Buffer.from('010500000001', 'hex')) || answer.includes(Buffer.from('010400000001', 'hex'))).toBe(true)
    expect(said).not.toHaveBeenCalled()
    said.mockRestore()
    await expectNodeWorks()
  })
})

describe('E07 messages that claim more than they are', () => {
  it('a gRPC message that claims 2 GiB is refused before it is buffered', async () => {
    const stream = openCall('Log/Produce')
    const rssBefore = process.memoryUsage().rss
    stream.write(Buffer.concat([Buffer.from([0, 0x7f, 0xff, 0xff, 0xff]), Buffer.alloc(1000)]))
    expect(await refusalFrom(stream)).toMatchObject({ status: 8 })
    expect(process.memoryUsage().rss - rssBefore).toBeLessThan(64 * 1024 * 1024)
    await expectNodeWorks()
  })

  it.each([
    ['Log/Produce', '22ffffffff07'],
    ['Log/ProduceStream', '22ffffffff07'],
    ['Log/Fetch', '2affffffff07'],
    ['Log/FetchStream', '2affffffff07'],
    ['Cluster/CreateTopics', '0affffffff07'],
    ['Controller/RegisterNode', '0affffffff07'],
    ['Quorum/Send', '0affffffff07'],
    ['Cluster/DescribeCluster', 'ffffffffffffffffffffff'],
  ])('a field of %s that claims 2 GiB, or no field at all: INVALID_REQUEST', async (call, hex) => {
    expect(await refusalOf(call, Buffer.from(hex, 'hex'))).toMatchObject({
      status: 3,
      error: { code: 'INVALID_REQUEST', message: expect.stringContaining(call) },
    })
    await expectNodeWorks()
  })

  it('a request of very many very small partitions is refused before they are made', async () => {
    const rssBefore = process.memoryUsage().rss
    const partitions = Buffer.alloc(1_000_000 / 2, Buffer.from('2a00', 'hex'))
    for (const call of ['Log/Fetch', 'Log/FetchStream', 'Cluster/DescribeTopics'])
      expect(await refusalOf(call, partitions)).toMatchObject({ status: 8, error: { code: 'LIMIT_EXCEEDED' } })
    expect(process.memoryUsage().rss - rssBefore).toBeLessThan(64 * 1024 * 1024)
    await expectNodeWorks()
  })

  it('garbage behind a fetch that is parked ends the stream and frees what it held', async () => {
    const fetchRequest = FetchRequest.encode(
      FetchRequest.fromPartial({ correlationId: 1, maxWaitMs: 300_000, minBytes: 1, partitions: [{ topic: 't' }] }),
    ).finish()
    const stream = openCall('Log/FetchStream')
    stream.write(framed(fetchRequest))
    await expect.poll(parkedCount).toBe(1)
    stream.write(framed(Buffer.from('2affffffff07', 'hex')))
    expect(await refusalFrom(stream)).toMatchObject({ error: { code: 'INVALID_REQUEST' } })
    await expect.poll(parkedCount).toBe(0)
    await expectNodeWorks()
  })
})

describe('batches that are not what they should be', () => {
  it('accepts the sound one that the others are made from', async () => {
    expect(await produceRaw(aBatch())).toBe('none')
  })

  it('a flipped bit anywhere is noticed', async () => {
    for (let bit = 8 * 8; bit < aBatch().length * 8; bit += 37) {
      const batch = aBatch()
      batch[bit >> 3] = (batch[bit >> 3] as number) ^ (1 << (bit & 7))
      const isLeaderEpoch = bit >> 3 >= 12 && bit >> 3 < 16
      expect.soft(await produceRaw(batch), `bit ${bit}`).toBe(isLeaderEpoch ? 'none' : 'CORRUPT_BATCH')
    }
  })

  it('a cut batch, two batches in one, nothing at all', async () => {
    expect(await produceRaw(aBatch().subarray(0, 40))).toBe('CORRUPT_BATCH')
    expect(await produceRaw(aBatch().subarray(0, 65))).toBe('CORRUPT_BATCH')
    expect(await produceRaw(Buffer.concat([aBatch(), aBatch()]))).toBe('CORRUPT_BATCH')
    expect(await produceRaw(Buffer.alloc(0))).toBe('CORRUPT_BATCH')
    expect(await tm.admin.offsets('t')).toMatchObject([{ highWatermark: 0n }])
  })

  it('a timestamp far in the future', async () => {
    const error: unknown = await tm
      .producer()
      .send('t', { value: 'x', timestamp: Date.now() + 365 * 86_400_000 })
      .catch((caught: unknown) => caught)
    expect(TidemarkError.is(error) && error.code).toBe('INVALID_TIMESTAMP')
    await expectNodeWorks()
  })
})

describe('E08 clients that vanish', () => {
  it('in the middle of a message: nothing of it is written', async () => {
    const socket = await rawConnection()
    const session = http2.connect(`http://${node.address}`, { createConnection: () => socket })
    session.on('error', () => {})
    const stream = session.request({
      ':method': 'POST',
      ':path': '/tidemark.v1.Log/Produce',
      'content-type': 'application/grpc',
      te: 'trailers',
    })
    stream.on('error', () => {})
    const scattered = encodeProduceRequest({
      correlationId: 1,
      acks: 0,
      timeoutMs: 0,
      partitions: [{ topic: 't', topicId: Buffer.alloc(0), partition: 0, leaderEpochPlusOne: 0, batch: aBatch() }],
    })
    const message = Buffer.alloc(scattered.length)
    scattered.copy(message)
    stream.write(Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message.subarray(0, message.length - 5)]))
    await new Promise<void>((resolve) => session.ping(() => resolve()))
    socket.destroy()
    await expectNodeWorks()
    expect(await tm.admin.offsets('t')).toMatchObject([{ highWatermark: 1n }])
  })

  it('while their fetch is parked: the parked fetch goes with them', async () => {
    const transport = createGrpcTransport(nodeClock)
    const stream = transport.connection(node.address).openFetch({ message: () => {}, closed: () => {} })
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
    await expect.poll(parkedCount).toBe(1)
    transport.close()
    await expect.poll(parkedCount).toBe(0)
  })
})

describe('E01 a full disk', () => {
  it('refuses writes with DISK_FULL, goes on reading, and recovers by itself', async () => {
    const files = new MemoryFiles()
    const config = defaultNodeConfig({ dataDir: '/data', listen: { host: '127.0.0.1', port: 0 }, limits: { diskMinFreeBytes: 0 } })
    const full = await startNode(config, { ...nodeRuntime(), files }, { quorumStore: new MemoryRaftStore() })
    const client = await connect(`127.0.0.1:${full.port}`)
    try {
      await client.admin.createTopic('t')
      await client.producer().send('t', { value: 'before' })
      files.capacityBytes = 0
      const impatient = client.producer({ deliveryTimeout: '1s' })
      const error: unknown = await impatient.send('t', { value: Buffer.alloc(10_000) }).catch((caught: unknown) => caught)
      expect(error).toMatchObject({ code: 'DELIVERY_TIMED_OUT', cause: { code: 'DISK_FULL' } })
      const [message] = await Array.fromAsync(client.consumer('t', { start: 'earliest', end: 'now' }))
      expect(String(message?.value)).toBe('before')
      const patient = client.producer({ deliveryTimeout: '60s' }).send('t', { value: 'after' })
      files.capacityBytes = Number.MAX_SAFE_INTEGER
      expect((await patient).offset).toBe(1n)
    } finally {
      await client.close()
      await full.close()
    }
  })
})

describe('what there is not', () => {
  const codeOf = async (work: () => unknown): Promise<unknown> => {
    try {
      await work()
      return 'none'
    } catch (error) {
      return TidemarkError.is(error) ? error.code : error
    }
  }

  it('a topic: UNKNOWN_TOPIC, whoever asks for it and how', async () => {
    expect(await codeOf(() => tm.producer().send('nowhere', { value: 'x' }))).toBe('UNKNOWN_TOPIC')
    expect(await codeOf(() => Array.fromAsync(tm.consumer('nowhere', { start: 'earliest', end: 'now' })))).toBe('UNKNOWN_TOPIC')
    expect(await codeOf(() => tm.admin.describeTopic('nowhere'))).toBe('UNKNOWN_TOPIC')
    expect(await codeOf(() => tm.admin.offsets('nowhere'))).toBe('UNKNOWN_TOPIC')
    expect(await codeOf(() => tm.admin.deleteTopic('nowhere'))).toBe('UNKNOWN_TOPIC')
    await expectNodeWorks()
  })

  it('an option of the library, or a setting of a topic: USAGE or INVALID_CONFIG, with the one that was perhaps meant', async () => {
    const misspelt = (name: string): object => ({ [name]: '1s' })
    await expect(connect(node.address, misspelt('requestTimout'))).rejects.toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(/requestTimeout\?$/),
    })
    expect(() => tm.producer(misspelt('deliveryTimout'))).toThrow(/did you mean deliveryTimeout\?/)
    expect(() => tm.consumer('t', { start: 'earliest', ...misspelt('maxWiat') })).toThrow(/did you mean maxWait\?/)
    await expect(tm.admin.createTopic('u', misspelt('retentoin'))).rejects.toMatchObject({ code: 'USAGE' })
    await expect(tm.admin.createTopic('u', { configs: { 'retentoin.ms': '1' } })).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringContaining('did you mean retention.ms?'),
    })
  })

  it('a name that cannot be one: INVALID_TOPIC_NAME', async () => {
    for (const name of ['', '.', '..', 'a b', 'ä', 'a/b', '../t', 'x'.repeat(250)])
      expect.soft(await codeOf(() => tm.admin.createTopic(name)), name).toBe('INVALID_TOPIC_NAME')
    expect(await codeOf(() => tm.admin.createTopic('a.b'))).toBe('none')
    expect(await codeOf(() => tm.admin.createTopic('a_b'))).toBe('INVALID_TOPIC_NAME')
    await expectNodeWorks()
  })

  it('E07 a record larger than its topic takes: RECORD_TOO_LARGE, from the client and from the node', async () => {
    const large = Buffer.alloc(2 * 1024 * 1024)
    expect(await codeOf(() => tm.producer().send('t', { value: large }))).toBe('RECORD_TOO_LARGE')
    await tm.admin.createTopic('small', { configs: { 'max.message.bytes': '1KiB' } })
    const builder = new BatchBuilder()
    builder.append(null, Buffer.alloc(2000), 1_700_000_000_000)
    expect(await produceRaw(Buffer.from(builder.buildSync()), 'small')).toBe('RECORD_TOO_LARGE')
    await expectNodeWorks()
  })
})

describe('E14 starting where one cannot start', () => {
  it('a port that is taken: ADDRESS_IN_USE, and the data directory is free again', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'tidemark-'))
    try {
      const config = defaultNodeConfig({ dataDir, listen: { host: node.host, port: node.port } })
      await expect(startNode(config, nodeRuntime())).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' })
      const other = await startNode({ ...config, listen: { host: '127.0.0.1', port: 0 } }, nodeRuntime())
      await other.close()
    } finally {
      await rm(dataDir, { recursive: true })
    }
  })

  it('K25 a data directory that is in use: DATA_DIR_LOCKED', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'tidemark-'))
    try {
      const config = defaultNodeConfig({ dataDir, listen: { host: '127.0.0.1', port: 0 } })
      const first = await startNode(config, nodeRuntime())
      await expect(startNode(config, nodeRuntime())).rejects.toMatchObject({ code: 'DATA_DIR_LOCKED' })
      await first.close()
    } finally {
      await rm(dataDir, { recursive: true })
    }
  })

  it('beyond this machine without authentication: INSECURE_LISTEN, unless it is meant', () => {
    expect(() => loadNodeConfig({ flags: { listen: '0.0.0.0:9092' } })).toThrow(expect.objectContaining({ code: 'INSECURE_LISTEN' }))
    expect(loadNodeConfig({ flags: { listen: '0.0.0.0:9092', insecure: 'true' } }).config.listen.host).toBe('0.0.0.0')
  })

  it('an unknown setting: INVALID_CONFIG with the nearest one', () => {
    expect(() => loadNodeConfig({ flags: { listne: ':1' } })).toThrow(/did you mean listen/)
  })
})
