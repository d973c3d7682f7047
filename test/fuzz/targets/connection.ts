/** The bytes of a connection, in front of every decoder of ours: HTTP/2 frames, header blocks and the framing of gRPC, against the port of a real node. */
import net from 'node:net'
import v8 from 'node:v8'
import vm from 'node:vm'
import { FetchRequest } from '../../../protocol/gen/tidemark/v1/log.ts'
import { DescribeTopicsRequest } from '../../../protocol/gen/tidemark/v1/cluster.ts'
import { type Chance, pick, streamOf } from '../../../scripts/random.ts'
import { startTidemark, type TestTidemark } from '../../../testing/index.ts'
import { must, type Target } from '../target.ts'

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

const TYPE = { data: 0, headers: 1, priority: 2, reset: 3, settings: 4, push: 5, ping: 6, goaway: 7, window: 8, continuation: 9 } as const
const END_STREAM = 0x1
const END_HEADERS = 0x4

/** `length`: what the frame claims; default: the truth. */
function frame(type: number, flags: number, stream: number, payload: Buffer, length = payload.length): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(length & 0xffffff, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream >>> 0, 5)
  return Buffer.concat([head, payload])
}

function uint32(value: number): Buffer {
  const out = Buffer.alloc(4)
  out.writeUInt32BE(value >>> 0)
  return out
}

/** A string of a header block, not compressed. */
function plain(text: string): Buffer {
  const length = Buffer.byteLength(text)
  const rest = length - 127
  const prefix = rest < 0 ? [length] : rest < 128 ? [127, rest] : [127, 128 | (rest & 127), rest >> 7]
  return Buffer.concat([Buffer.from(prefix), Buffer.from(text)])
}

/** A header that names itself. */
function header(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0]), plain(name), plain(value)])
}

const PATHS = ['Cluster/DescribeTopics', 'Log/Fetch', 'Log/Produce', 'Log/FetchStream', 'Groups/Heartbeat', 'Quorum/Send', 'Log/Nothing']

const MESSAGES = [
  Buffer.alloc(0),
  Buffer.from(DescribeTopicsRequest.encode(DescribeTopicsRequest.fromPartial({ topics: ['orders'] })).finish()),
  Buffer.from(FetchRequest.encode(FetchRequest.fromPartial({ correlationId: 1, maxWaitMs: 10 })).finish()),
  Buffer.alloc(300, 0xff),
]

/** `isOdd`: with headers that nobody sends. */
function headerBlock(chance: Chance, isOdd: boolean): Buffer {
  const odd = [
    () => header('x'.repeat(20), 'y'.repeat(Math.floor(chance() * 6000))),
    () => header('grpc-timeout', pick(chance, ['1S', '99999999999H', '-1S', '', '1'])),
    () => header('grpc-encoding', pick(chance, ['gzip', 'deflate', 'identity', 'nothing'])),
    () => header('content-length', '5'),
    () => header('connection', 'close'),
    () => header('UPPER', 'case'),
    () => header(':late', 'pseudo'),
    () => header('grpc-trace-bin', '!!!'),
    // An index of the table that nobody filled, and a table larger than was offered.
    () => Buffer.from('ff8080808008', 'hex'),
    () => Buffer.from('3fffffff0f', 'hex'),
  ]
  const more = Array.from({ length: isOdd ? 1 + Math.floor(chance() ** 3 * 8) : 0 }, () => pick(chance, odd)())
  return Buffer.concat([
    // :method POST, :scheme http, :authority, :path
    Buffer.from([0x83, 0x86, 0x01]),
    plain('node'),
    Buffer.concat([Buffer.from([0x04]), plain(`/tidemark.v1.${pick(chance, PATHS)}`)]),
    ...(isOdd && chance() < 0.1 ? [] : [header('content-type', 'application/grpc'), header('te', 'trailers')]),
    ...more,
  ])
}

/** A message as gRPC frames it, or nearly so. */
function framed(chance: Chance): Buffer {
  const message = pick(chance, MESSAGES)
  const claimed = chance() < 0.6 ? message.length : pick(chance, [0, 1, message.length + 1, 1 << 20, 2 ** 31, 2 ** 32 - 1])
  return Buffer.concat([Buffer.from([chance() < 0.8 ? 0 : pick(chance, [1, 2, 255])]), uint32(claimed), message])
}

/** In pieces, as large as chance has it. */
function pieces(chance: Chance, bytes: Buffer): Buffer[] {
  const cut = chance() < 0.6 ? bytes.length : Math.floor(chance() * (bytes.length + 1))
  return cut === bytes.length ? [bytes] : [bytes.subarray(0, cut), bytes.subarray(cut)]
}

/** Most of them only lie to gRPC: HTTP/2 ends a connection at its first mistake. */
function call(chance: Chance, stream: number): Buffer[] {
  const isOdd = chance() < 0.2
  const [block = Buffer.alloc(0), ...others] = isOdd ? pieces(chance, headerBlock(chance, true)) : [headerBlock(chance, false)]
  const flags = (others.length === 0 ? END_HEADERS : 0) | (isOdd && chance() < 0.3 ? END_STREAM : 0)
  const frames = [frame(TYPE.headers, flags, stream, block)]
  for (const other of others) frames.push(frame(TYPE.continuation, chance() < 0.9 ? END_HEADERS : 0, stream, other))
  const messages = Array.from({ length: 1 + Math.floor(chance() * 2) }, () => framed(chance))
  for (const piece of pieces(chance, Buffer.concat(messages))) frames.push(frame(TYPE.data, 0, stream, piece))
  if (chance() < 0.8) frames.push(frame(TYPE.data, END_STREAM, stream, Buffer.alloc(0)))
  // After the end, too.
  if (isOdd && chance() < 0.3) frames.push(frame(TYPE.data, 0, stream, framed(chance)))
  return frames
}

function anyFrame(chance: Chance): Buffer {
  const stream = pick(chance, [0, 1, 3, 2, 2 ** 31 - 1])
  const number = uint32(pick(chance, [0, 1, 65_535, 2 ** 31 - 1, 2 ** 32 - 1]))
  const [type, payload] = pick<() => readonly [number, Buffer]>(chance, [
    () => [TYPE.settings, Buffer.concat([Buffer.from([0, Math.floor(chance() * 8)]), number])],
    () => [TYPE.settings, Buffer.alloc(Math.floor(chance() * 20))],
    () => [TYPE.window, number],
    () => [TYPE.ping, Buffer.alloc(pick(chance, [8, 7]))],
    () => [TYPE.reset, number],
    () => [TYPE.goaway, Buffer.concat([number, number])],
    () => [TYPE.priority, Buffer.concat([number, Buffer.from([1])])],
    () => [TYPE.push, headerBlock(chance, false)],
    () => [TYPE.continuation, headerBlock(chance, false)],
    () => [Math.floor(chance() * 256), Buffer.alloc(Math.floor(chance() * 40))],
  ])()
  return frame(type, Math.floor(chance() * 256), stream, payload, chance() < 0.9 ? payload.length : pick(chance, [0, 16_384, 0xffffff]))
}

/** All that a client sends on a connection. */
function conversation(chance: Chance): Buffer {
  const parts: Buffer[] = [PREFACE, frame(TYPE.settings, 0, 0, Buffer.alloc(0))]
  const isSound = chance() < 0.5
  for (let count = 1 + Math.floor(chance() * 3), stream = 1; count > 0; count--) {
    parts.push(...call(chance, stream))
    if (!isSound && chance() < 0.5) parts.push(...Array.from({ length: 1 + Math.floor(chance() ** 3 * 30) }, () => anyFrame(chance)))
    if (isSound || chance() < 0.9) stream += 2
  }
  if (!isSound && chance() < 0.1) parts.splice(Math.floor(chance() * parts.length), 1)
  return Buffer.concat(parts)
}

const SOUND = Buffer.concat([PREFACE, frame(TYPE.settings, 0, 0, Buffer.alloc(0)), ...call(() => 0.3, 1)])
const HTTP1 = [
  'GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n',
  'POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\n',
  'HELO\r\n',
].map((text) => Buffer.from(text))

/** Connections between two looks at the node. */
const LOOK_EVERY = 512
/** When a client ends its connection: by then most of what it asked is answered. */
const SAYS_NO_MORE_MS = 30
/** What connections may leave behind, all of them together. */
const KEPT_BYTES_MAX = 64 * 1024 * 1024

v8.setFlagsFromString('--expose-gc')
const collect = vm.runInNewContext('gc') as () => void

class PortUnderFire {
  #node: TestTidemark | undefined
  #count = 0
  #keptBytes = 0
  #mostBytes = 0
  #crash: unknown
  readonly #frames = new Map<string, number>()
  readonly #crashed = (error: unknown): void => {
    this.#crash ??= error
  }

  async open(): Promise<void> {
    // Some connections in which nothing makes sense any more are closed by the node only when it looks after them.
    const limits = { fetchMaxWaitMs: 20, requestBytesMax: 1024 * 1024, keepaliveIntervalMs: 2000, keepaliveTimeoutMs: 1000 }
    this.#node = await startTidemark({ config: { limits } })
    this.#crash = undefined
    this.#keptBytes = 0
    process.on('uncaughtException', this.#crashed).on('unhandledRejection', this.#crashed)
  }

  async close(): Promise<void> {
    process.off('uncaughtException', this.#crashed).off('unhandledRejection', this.#crashed)
    await this.#node?.close()
  }

  figures(): Record<string, string | number> {
    return { ...Object.fromEntries(this.#frames), 'kept at most': `${(this.#mostBytes / 1024 / 1024).toFixed(0)} MiB` }
  }

  async run(input: Buffer): Promise<void> {
    const answer = await this.#send(input)
    this.#note(answer)
    must(this.#crash === undefined, `the node lives: ${this.#crash instanceof Error ? this.#crash.stack : String(this.#crash)}`)
    if (this.#count++ % LOOK_EVERY === 0) await this.#look()
  }

  /** What comes back until the connection is gone. The node closes it when there comes no more, if not before. */
  #send(input: Buffer): Promise<Buffer> {
    const { promise, resolve } = Promise.withResolvers<Buffer>()
    const chunks: Buffer[] = []
    const socket = net.connect(this.#node?.port ?? 0, '127.0.0.1')
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    // What is reset is closed.
    socket.on('error', () => {})
    socket.on('close', () => resolve(Buffer.concat(chunks)))
    socket.write(input)
    setTimeout(() => socket.end(), SAYS_NO_MORE_MS)
    return promise
  }

  /** The kinds of frames that came, each once. */
  #note(answer: Buffer): void {
    const names = Object.keys(TYPE)
    const seen = new Set<string>()
    for (let at = 0; at + 9 <= answer.length; at += 9 + answer.readUIntBE(at, 3)) seen.add(names[answer[at + 3] ?? 0] ?? 'text')
    if (answer.length === 0) seen.add('nothing')
    for (const one of seen) this.#frames.set(one, (this.#frames.get(one) ?? 0) + 1)
  }

  /** The node answers others, and has kept nothing of it all. */
  async #look(): Promise<void> {
    const tm = await this.#node?.connect()
    const { nodes } = (await tm?.admin.describeCluster()) ?? { nodes: [] }
    await tm?.close()
    must(nodes.length === 1, 'the node answers')
    collect()
    const { heapUsed, arrayBuffers, external } = process.memoryUsage()
    const bytes = heapUsed + Math.max(arrayBuffers, external)
    if (this.#keptBytes === 0) this.#keptBytes = bytes
    this.#mostBytes = Math.max(this.#mostBytes, bytes - this.#keptBytes)
    must(bytes - this.#keptBytes < KEPT_BYTES_MAX, `connections that are gone keep nothing; these keep ${bytes - this.#keptBytes} bytes`)
  }
}

const port = new PortUnderFire()

export const connectionTargets: readonly Target[] = [
  {
    name: 'connection',
    what: 'the bytes of a connection to a real node: it lives, closes what it must, answers others and keeps nothing',
    open: () => port.open(),
    close: () => port.close(),
    seeds: (seed) => [SOUND, ...HTTP1, ...Array.from({ length: 100 }, (_, at) => conversation(streamOf(seed, `connection ${at}`)))],
    fresh: conversation,
    run: (input) => port.run(input),
    figures: () => port.figures(),
    concurrency: 128,
    weight: 0.01,
  },
]
