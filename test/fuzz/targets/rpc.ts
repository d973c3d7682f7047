/** Every call: requests to a real node over its port, and answers of a node that lies to a real client. */
import http2 from 'node:http2'
import type { MethodDefinition } from '@grpc/grpc-js'
import { decodeRequest } from '../../../broker/transport/grpc/requests.ts'
import { ClusterClient } from '../../../client/cluster-client.ts'
import { Tidemark } from '../../../client/connect.ts'
import type { Connection, StreamEvents, Transport } from '../../../client/transport.ts'
import { decodeErrorDetail, ERROR_TRAILER } from '../../../protocol/error-wire.ts'
import { TidemarkError } from '../../../protocol/errors.ts'
import {
  ClusterService,
  DescribeClusterResponse,
  DescribeTopicsResponse,
  InitProducerResponse,
} from '../../../protocol/gen/tidemark/v1/cluster.ts'
import { FindCoordinatorsResponse, GroupsService } from '../../../protocol/gen/tidemark/v1/groups.ts'
import { ControllerService } from '../../../protocol/gen/tidemark/v1/controller.ts'
import { QuorumService } from '../../../protocol/gen/tidemark/v1/quorum.ts'
import { ReplicaService } from '../../../protocol/gen/tidemark/v1/replica.ts'
import { logService } from '../../../protocol/log-codec.ts'
import { startTidemark, type TestTidemark } from '../../../testing/index.ts'
import { fastRuntime } from '../../client/support.ts'
import { batchOf } from '../../log/support.ts'
import { contract, fieldsOf, noteFields, sampleMessage, sampleMessages, type Vocabulary } from '../messages.ts'
import type { Chance } from '../../../scripts/random.ts'
import { must, type Target } from '../target.ts'

/** Every call of the contract. */
const ALL_CALLS = [...contract]
  .flatMap((one) => (one.kind === 'service' ? one.methods : []))
  .filter(({ parent }) => parent.typeName.startsWith('tidemark.v1.'))

/** Those that applications make. What nodes answer each other is decoded by the same generated code, and they trust each other. */
const CLIENT_CALLS = ALL_CALLS.filter(({ parent }) => /\.(Cluster|Log|Groups)$/.test(parent.typeName))

type Call = (typeof ALL_CALLS)[number]

const METHODS_MAX = 64

/** The first byte says which call, the rest is the message. */
function callOf(input: Buffer, calls: readonly Call[]): { readonly method: Call; readonly message: Buffer } {
  return { method: calls[(input[0] ?? 0) % calls.length] as Call, message: input.subarray(1) }
}

type Side = 'input' | 'output'

function samples(calls: readonly Call[], side: Side, seed: number, each: number, vocabulary: Vocabulary): Buffer[] {
  must(calls.length <= METHODS_MAX, 'a byte tells the calls apart')
  return calls.flatMap((method, at) =>
    sampleMessages(method[side].typeName, seed, each, vocabulary).map((message) => Buffer.concat([Buffer.from([at]), message])),
  )
}

/** A sound message of any of the calls. */
function sample(calls: readonly Call[], side: Side, chance: Chance, vocabulary: Vocabulary): Buffer {
  const at = Math.floor(chance() * calls.length)
  return Buffer.concat([Buffer.from([at]), sampleMessage((calls[at] as Call)[side], chance, vocabulary)])
}

/** Fields of all calls, and those of them that were given a value. */
class FieldCount {
  readonly #calls: readonly Call[]
  readonly #side: Side
  readonly #seen = new Set<string>()

  constructor(calls: readonly Call[], side: Side) {
    this.#calls = calls
    this.#side = side
  }

  note(method: Call, message: Buffer): void {
    try {
      noteFields(method[this.#side], message, this.#seen)
    } catch {
      // As far as it can be read.
    }
  }

  figures(): Record<string, string | number> {
    const all = new Set<string>()
    for (const method of this.#calls) fieldsOf(method[this.#side], all)
    const missing = [...all].filter((field) => !this.#seen.has(field))
    const share = ((100 * (all.size - missing.length)) / all.size).toFixed(1)
    return {
      calls: this.#calls.length,
      fields: all.size,
      'fields reached': `${share} %`,
      ...(missing.length > 0 && { missing: missing.join(' ') }),
    }
  }
}

/** When a node is to end a call, whatever it waits for: fetches and heartbeats park for as long as they ask for. */
const DEADLINE_S = 5
/** What is not ended by then is a call that was forgotten. */
const CALL_TIMEOUT_MS = 20_000
const DEADLINE_EXCEEDED = '4'

/** Of the messages that cannot be decoded one in so many goes over the connection all the same. */
const SENT_ANYWAY_EVERY = 16

/** The decoders of the node, by path. */
const REQUESTS = new Map(
  [logService, ClusterService, GroupsService, ReplicaService, ControllerService, QuorumService]
    .flatMap((service) => Object.values(service))
    .map((method: Pick<MethodDefinition<unknown, unknown>, 'path' | 'requestDeserialize'>) => [method.path, method]),
)

/** What the node's decoder throws of a message. */
function refusalOf(path: string, message: Buffer): TidemarkError | undefined {
  const method = REQUESTS.get(path)
  must(method !== undefined, `${path} has a decoder`)
  try {
    decodeRequest(method, message)
    return undefined
  } catch (error) {
    if (TidemarkError.is(error)) return error
    throw error
  }
}

class NodeUnderFire {
  readonly #fields = new FieldCount(ALL_CALLS, 'input')
  readonly #codes = new Map<string, number>()
  #node: TestTidemark | undefined
  #session: http2.ClientHttp2Session | undefined
  #topicId: Buffer = Buffer.alloc(16)
  #vocabulary: Vocabulary = { texts: [], bytes: [] }
  #undecodable = 0
  #timedOut = 0

  async open(): Promise<void> {
    const limits = { fetchMaxWaitMs: 20, requestBytesMax: 1024 * 1024, handshakeTimeoutMs: 60_000 }
    this.#node = await startTidemark({ config: { limits } })
    const tm = await this.#node.connect()
    await tm.admin.createTopic('orders', { partitions: 2 })
    const { topicId } = await tm.admin.describeTopic('orders')
    this.#topicId = Buffer.from(topicId, 'base64url')
    await tm.producer().send('orders', { value: 'x' })
    this.#session = http2.connect(`http://${this.#node.address}`)
    this.#session.on('error', () => {})
  }

  async close(): Promise<void> {
    this.#session?.destroy()
    await this.#node?.close()
  }

  seeds(seed: number): Buffer[] {
    this.#vocabulary = this.#words()
    return samples(ALL_CALLS, 'input', seed, 40, this.#vocabulary)
  }

  fresh(chance: Chance): Buffer {
    return sample(ALL_CALLS, 'input', chance, this.#vocabulary)
  }

  #words(): Vocabulary {
    return {
      texts: [
        'orders',
        'orders',
        'new',
        '',
        '__consumer_offsets',
        'g',
        'm',
        this.#topicId.toString('base64url'),
        'uniform',
        '.*',
        'retention.ms',
        '1000',
        this.#node?.clusterId ?? '',
        '127.0.0.1',
        'x'.repeat(300),
      ],
      bytes: [batchOf(['a', 'b']), this.#topicId, Buffer.alloc(0), Buffer.alloc(16, 1), Buffer.from('ff', 'hex')],
    }
  }

  figures(): Record<string, string | number> {
    const codes = [...this.#codes].sort(([, a], [, b]) => b - a)
    return {
      ...this.#fields.figures(),
      'ended by their deadline': this.#timedOut,
      answers: codes.map(([code, count]) => `${code} ${count}`).join(' '),
    }
  }

  async run(input: Buffer): Promise<void> {
    const { method, message } = callOf(input, ALL_CALLS)
    this.#fields.note(method, message)
    const path = `/${method.parent.typeName}/${method.name}`
    const refusal = refusalOf(path, message)
    // What the decoder of the node refuses comes no further: that it is answered so is looked at often enough.
    if (refusal !== undefined && this.#undecodable++ % SENT_ANYWAY_EVERY !== 0) throw refusal
    const error = await this.#ask(path, message)
    must(refusal === undefined || error?.code === refusal.code, `the answer to what cannot be decoded is ${refusal?.code}`)
    const code = error?.code ?? 'OK'
    this.#codes.set(code, (this.#codes.get(code) ?? 0) + 1)
    if (error !== undefined) throw error
  }

  /** The error in the status of a call; undefined when there is none. */
  #ask(path: string, message: Buffer): Promise<TidemarkError | undefined> {
    const session = this.#session
    must(session !== undefined && !session.destroyed, 'the node keeps its connection')
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      'grpc-timeout': `${DEADLINE_S}S`,
    })
    const head = Buffer.alloc(5)
    head.writeUInt32BE(message.length, 1)
    stream.end(Buffer.concat([head, message]))
    stream.resume()
    return new Promise((resolve, reject) => {
      const look = (headers: http2.IncomingHttpHeaders): void => {
        if (headers['grpc-status'] === undefined) return
        const detail = headers[ERROR_TRAILER]
        if (headers['grpc-status'] === '0') resolve(undefined)
        else if (headers['grpc-status'] === DEADLINE_EXCEEDED) {
          this.#timedOut++
          resolve(undefined)
        } else if (typeof detail === 'string') resolve(decodeErrorDetail(Buffer.from(detail, 'base64')))
        else reject(new Error(`${path} ends with the bare status ${JSON.stringify([headers['grpc-status'], headers['grpc-message']])}`))
      }
      stream.on('headers', look).on('response', look).on('trailers', look)
      stream.on('error', (error) => reject(new Error(`${path}: the stream failed: ${error.message}`)))
      stream.on('close', () => reject(new Error(`${path} ends without a status`)))
      stream.setTimeout(CALL_TIMEOUT_MS, () => {
        reject(new Error(`${path} has no answer within ${CALL_TIMEOUT_MS} ms`))
        stream.close()
      })
    })
  }
}

const node = new NodeUnderFire()

/** A client whose every call is answered with whatever message the run has for it. */
class ClientUnderFire {
  readonly #fields = new FieldCount(CLIENT_CALLS, 'output')

  figures(): Record<string, string | number> {
    return this.#fields.figures()
  }

  async run(input: Buffer): Promise<void> {
    const { method, message } = callOf(input, CLIENT_CALLS)
    this.#fields.note(method, message)
    const hostile = hostileTransport(method.localName, message)
    // A second of theirs is a millisecond: an answer that makes a client try again for its thirty seconds.
    const runtime = fastRuntime(2000)
    const tm = new Tidemark(new ClusterClient({ runtime, transport: hostile, bootstrap: ['127.0.0.1:1'], requestTimeoutMs: 500 }))
    try {
      const results = await Promise.allSettled(USES[method.localName]?.map((use) => use(tm)) ?? [])
      for (const result of results) if (result.status === 'rejected' && !isClientError(result.reason)) throw result.reason
    } finally {
      await tm.close()
    }
  }
}

/** What an application does that leads to a call. */
const USES: Readonly<Record<string, readonly ((tm: Tidemark) => Promise<unknown>)[]>> = {
  describeCluster: [({ admin }) => admin.describeCluster()],
  describeTopics: [
    ({ admin }) => admin.listTopics(),
    ({ admin }) => admin.describeTopic('orders'),
    (tm) => tm.producer({ deliveryTimeout: 500 }).send('orders', { key: 'k', value: 'v' }),
  ],
  createTopics: [({ admin }) => admin.createTopic('orders')],
  deleteTopics: [({ admin }) => admin.deleteTopic('orders')],
  growTopics: [({ admin }) => admin.growTopic('orders', 4)],
  describeConfigs: [({ admin }) => admin.describeConfigs('orders'), ({ admin }) => admin.describeNodeConfigs()],
  alterConfigs: [({ admin }) => admin.alterConfigs('orders', { set: { 'retention.ms': '1' } })],
  initProducer: [(tm) => tm.producer({ deliveryTimeout: 500 }).send('orders', { value: 'v' })],
  electLeaders: [({ admin }) => admin.cluster.electLeaders([{ topic: 'orders', partitions: [0] }])],
  reassign: [({ admin }) => admin.cluster.reassign('orders', 0, [1])],
  listReassignments: [({ admin }) => admin.cluster.reassignments()],
  alterNodes: [({ admin }) => admin.cluster.drainNode(1)],
  describeQuorum: [({ admin }) => admin.cluster.describeQuorum()],
  alterQuorum: [({ admin }) => admin.cluster.removeController(1)],
  findCoordinators: [({ admin }) => admin.groups.offsets('g')],
  commitOffsets: [],
  fetchOffsets: [({ admin }) => admin.groups.offsets('g')],
  listGroups: [({ admin }) => admin.groups.list()],
  describeGroups: [({ admin }) => admin.groups.describe('g')],
  resetOffsets: [({ admin }) => admin.groups.resetOffsets('g', 'earliest')],
  deleteGroups: [({ admin }) => admin.groups.delete('g')],
  deleteOffsets: [({ admin }) => admin.groups.deleteOffsets('g', [{ topic: 'orders' }])],
  listOffsets: [({ admin }) => admin.offsetsForTimestamp('orders', 1)],
  deleteRecords: [({ admin }) => admin.deleteRecords('orders', 0, 5n)],
  describeLogs: [({ admin }) => admin.offsets('orders')],
  produce: [(tm) => tm.producer({ deliveryTimeout: 500 }).send('orders', { value: 'v' })],
  produceStream: [(tm) => tm.producer({ deliveryTimeout: 500 }).send('orders', { value: 'v' })],
  fetchStream: [firstMessage],
  fetch: [firstMessage],
}

/** Stops at a message, at the end of patience, or where the answers lead to nothing. */
async function firstMessage(tm: Tidemark): Promise<unknown> {
  const abort = AbortSignal.timeout(100)
  for await (const message of tm.consumer('orders', { start: { offset: () => 0n }, partitions: [0], stallTimeout: 500, signal: abort }))
    return message
  return undefined
}

type Decoder = { readonly responseDeserialize: (bytes: Buffer) => unknown }

const DECODERS = { ...ClusterService, ...GroupsService, ...logService } as unknown as Readonly<Record<string, Decoder>>

const NODE = { nodeId: 1, host: '127.0.0.1', port: 1 }
const PARTITIONS = [0, 1].map((partition) => ({ partition, leader: 1, leaderEpoch: 0, replicas: [1], isr: [1] }))
const TOPIC = {
  name: 'orders',
  topicId: Buffer.alloc(16, 1),
  partitions: PARTITIONS,
  partitioner: 'murmur3',
  replicas: 1,
  maxMessageBytes: 1_000_000,
}

/** What the calls that are not the one under test are answered with: one node, and a topic of two partitions. */
const SOUND: Readonly<Record<string, unknown>> = {
  describeCluster: DescribeClusterResponse.fromPartial({ clusterId: 'c', controllerId: 1, metadataVersion: 1, nodes: [NODE] }),
  describeTopics: DescribeTopicsResponse.fromPartial({ metadataVersion: 1, nodes: [NODE], topics: [TOPIC] }),
  initProducer: InitProducerResponse.fromPartial({ producerId: 1 }),
  findCoordinators: FindCoordinatorsResponse.fromPartial({ coordinators: [{ group: 'g', ...NODE }] }),
}

function hostileTransport(name: string, message: Buffer): Transport {
  /** As grpc-js does: what cannot be decoded fails the call with a bare INTERNAL. */
  const answer = (): unknown => {
    try {
      return (DECODERS[name] as Decoder).responseDeserialize(message)
    } catch {
      throw new TidemarkError('INTERNAL', 'undecodable')
    }
  }
  const open = <In, Out extends { readonly correlationId: number }>(
    stream: string,
    events: StreamEvents<In>,
  ): { send(request: Out): void; close(): void } => ({
    send({ correlationId }) {
      setImmediate(() => {
        if (name !== stream && `${name}Stream` !== stream) return events.closed(new TidemarkError('UNAVAILABLE'))
        try {
          const response = answer() as object
          // An answer to another request than was asked is passed over: most of these answer the one that was.
          events.message((message.length % 8 === 0 ? response : { ...response, correlationId }) as In)
        } catch (error) {
          events.closed(TidemarkError.from(error))
        }
      })
    },
    close() {},
  })
  const connection: Connection = {
    call: async (called) => {
      await new Promise(setImmediate)
      if (called === name) return answer() as never
      const sound = SOUND[called]
      if (sound === undefined) throw new TidemarkError('UNAVAILABLE')
      return sound as never
    },
    openProduce: (events) => open('produceStream', events),
    openFetch: (events) => open('fetchStream', events),
  }
  return { connection: () => connection, close() {} }
}

const client = new ClientUnderFire()

/** What answers say. */
const ANSWERS: Vocabulary = {
  texts: ['orders', 'g', '', 'm', '127.0.0.1', 'murmur3', 'x'.repeat(300), 'UNAVAILABLE', 'NOT_CONTROLLER', 'DISK_FULL', 'NEW_CODE'],
  bytes: [batchOf(['a', 'b']), Buffer.alloc(16, 1), Buffer.alloc(0), Buffer.from('ff', 'hex')],
}

export const rpcTargets: readonly Target[] = [
  {
    name: 'rpc-requests',
    what: 'every call of the contract with any message, over a real connection to a real node: each is answered, with a code of ours',
    open: () => node.open(),
    close: () => node.close(),
    seeds: (seed) => node.seeds(seed),
    fresh: (chance) => node.fresh(chance),
    run: (input) => node.run(input),
    figures: () => node.figures(),
    concurrency: 200,
    weight: 0.04,
  },
  {
    name: 'rpc-responses',
    what: 'every call of a client, answered with any message: it ends with a result or an error of ours',
    seeds: (seed) => samples(CLIENT_CALLS, 'output', seed, 40, ANSWERS),
    fresh: (chance) => sample(CLIENT_CALLS, 'output', chance, ANSWERS),
    run: (input) => client.run(input),
    isTyped: isClientError,
    figures: () => client.figures(),
    concurrency: 128,
    weight: 0.04,
  },
]

/** A code of a newer node, and an answer that cannot be decoded, are INTERNAL as well; what the client stumbles over has a cause. */
function isClientError(error: unknown): boolean {
  if (!TidemarkError.is(error)) return false
  return error.code !== 'INTERNAL' || error.cause === undefined || isClientError(error.cause)
}
