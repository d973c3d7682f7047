/**
 * A broker for the tests of the client: real gRPC over loopback sockets, logs in memory, and faults by script.
 *
 * It keeps the rules that a client relies on: batches of one partition in the order of the requests, duplicates found by the very
 * code the real node uses, whole batches to readers, long polls. It may run as several nodes that share their data. What it leaves
 * out is everything a client cannot see. Faults:
 *
 * - `refuse`: answer for one batch or one partition of a fetch with an error, nothing written;
 * - `produceFault`: for a whole request: lose the connection before or after writing, never answer, or answer late;
 * - `cut`: drop every connection of a node now;
 * - `setDown`, `hung`: a node that is gone, or answers nothing;
 * - `moveLeader`, `forgetProducers`, `deleteRecords`.
 */
import { once } from 'node:events'
import net from 'node:net'
import * as grpc from '@grpc/grpc-js'
import {
  patchBatch,
  readBaseSequence,
  readLastOffset,
  readProducerEpoch,
  readProducerId,
  readRecordCount,
  stampAppendTime,
  validateProducedBatch,
} from '../../protocol/batch-header.ts'
import { toErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { ClusterService } from '../../protocol/gen/tidemark/v1/cluster.ts'
import type { PartitionProduceResult } from '../../protocol/gen/tidemark/v1/log.ts'
import {
  type FetchRequestMessage,
  type FetchResponseMessage,
  logService,
  type PartitionFetchResultMessage,
  type PartitionProduceMessage,
  type ProduceRequestMessage,
  type ProduceResponseMessage,
} from '../../protocol/log-codec.ts'
import { unaryHandlers } from './fake-broker-calls.ts'
import { type FakePartition, FakeState } from './fake-state.ts'

/** One batch of a request, as the script of a test sees it. */
export interface ProduceAttempt {
  readonly node: number
  readonly topic: string
  readonly partition: number
  readonly producerId: number
  readonly baseSequence: number
  readonly recordCount: number
  readonly bytes: number
}

export interface FetchAttempt {
  readonly node: number
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly maxBytes: number
  readonly maxWaitMs: number
  /** -1: the client did not say. */
  readonly leaderEpoch: number
}

/**
 * `drop`: the connection goes before or after the batches are written. `hang`: no answer, ever. `until`: the answer comes late.
 * `lie`: the batches are written and the answer says they failed.
 */
export type ProduceFault =
  | { readonly drop: 'before' | 'after' }
  | { readonly hang: 'before' | 'after' }
  | { readonly until: Promise<unknown> }
  | { readonly lie: TidemarkError }

interface Node {
  readonly id: number
  readonly server: grpc.Server
  readonly listener: net.Server
  readonly sockets: Set<net.Socket>
  /** Refuses connections, as a host whose process is gone. */
  isDown: boolean
}

type ProduceCall = grpc.ServerDuplexStream<ProduceRequestMessage, ProduceResponseMessage>
type FetchCall = grpc.ServerDuplexStream<FetchRequestMessage, FetchResponseMessage>

export class FakeBroker extends FakeState implements AsyncDisposable {
  readonly nodes: Node[] = []
  /** Every batch that arrived, in order. */
  readonly produced: ProduceAttempt[] = []
  /** Every partition of every fetch that arrived, in order. */
  readonly fetched: FetchAttempt[] = []
  refuse: ((attempt: ProduceAttempt) => TidemarkError | undefined) | undefined
  refuseFetch: ((attempt: FetchAttempt) => TidemarkError | undefined) | undefined
  produceFault: ((attempts: readonly ProduceAttempt[]) => ProduceFault | undefined) | undefined
  /** Changes an answer on its way out, as a damaged or hostile node would. */
  fetchAnswer: ((answer: FetchResponseMessage) => FetchResponseMessage) | undefined
  readonly #parked = new Set<() => void>()
  readonly #timers = new Set<NodeJS.Timeout>()

  static async start(nodeCount = 1): Promise<FakeBroker> {
    const broker = new FakeBroker()
    for (let id = 0; id < nodeCount; id++) await broker.#startNode(id)
    return broker
  }

  override get addresses(): string[] {
    return this.nodes.map(({ listener }) => `127.0.0.1:${(listener.address() as net.AddressInfo).port}`)
  }

  /** Drops every connection, or those of one node. */
  cut(node?: number): void {
    for (const one of this.nodes) if (node === undefined || one.id === node) for (const socket of one.sockets) socket.destroy()
  }

  setDown(node: number, isDown: boolean): void {
    const found = this.nodes[node]
    if (found === undefined) throw new Error(`the test has no node ${node}`)
    found.isDown = isDown
    if (isDown) this.cut(node)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer)
    for (const { server, listener } of this.nodes) {
      server.forceShutdown()
      listener.close()
    }
    this.cut()
  }

  async #startNode(id: number): Promise<void> {
    const server = new grpc.Server({ 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 })
    const { cluster, log } = unaryHandlers(this, id)
    server.addService(ClusterService, cluster)
    server.addService(logService, {
      ...log,
      produceStream: (call: ProduceCall) => this.#produceStream(id, call),
      fetchStream: (call: FetchCall) => this.#fetchStream(id, call),
    })
    const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure())
    const sockets = new Set<net.Socket>()
    const listener = net.createServer((socket) => {
      if (this.nodes[id]?.isDown === true) {
        socket.destroy()
        return
      }
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => sockets.delete(socket))
      injector.injectConnection(socket)
    })
    listener.listen(0, '127.0.0.1')
    await once(listener, 'listening')
    this.nodes.push({ id, server, listener, sockets, isDown: false })
  }

  #produceStream(node: number, call: ProduceCall): void {
    call.on('error', () => {})
    call.on('end', () => call.end())
    call.on('data', (request: ProduceRequestMessage) => {
      const attempts = request.partitions.map((entry) => attemptOf(node, entry))
      this.produced.push(...attempts)
      if (this.hung.has(node)) return
      const fault = this.produceFault?.(attempts)
      if (fault !== undefined && 'drop' in fault) {
        if (fault.drop === 'after') this.#appendAll(node, request)
        this.cut(node)
      } else if (fault !== undefined && 'hang' in fault) {
        if (fault.hang === 'after') this.#appendAll(node, request)
      } else {
        const results = this.#appendAll(node, request)
        const lie = fault !== undefined && 'lie' in fault ? toErrorDetail(fault.lie) : undefined
        const partitions = lie === undefined ? results : results.map((result) => ({ ...result, error: result.error ?? lie }))
        const answer = (): void => void call.write({ correlationId: request.correlationId, partitions })
        if (fault !== undefined && 'until' in fault) void fault.until.then(answer)
        else answer()
      }
    })
  }

  #appendAll(node: number, request: ProduceRequestMessage): PartitionProduceResult[] {
    const results = request.partitions.map((entry) => {
      const base = {
        topic: entry.topic,
        partition: entry.partition,
        error: undefined,
        baseOffset: 0,
        logStartOffset: 0,
        logAppendTimeMs: 0,
      }
      try {
        const refused = this.refuse?.(attemptOf(node, entry))
        if (refused !== undefined) throw refused
        return { ...base, baseOffset: this.#append(node, entry), logAppendTimeMs: this.topic(entry.topic).appendTimeMs ?? 0 }
      } catch (error) {
        return { ...base, error: toErrorDetail(TidemarkError.from(error)) }
      }
    })
    for (const wake of [...this.#parked]) wake()
    return results
  }

  #append(node: number, entry: PartitionProduceMessage): number {
    const partition = this.#led(node, entry)
    const { batch } = entry
    const { maxMessageBytes, appendTimeMs } = this.topic(entry.topic)
    if (batch.length > maxMessageBytes) throw new TidemarkError('RECORD_TOO_LARGE')
    validateProducedBatch(batch, { timestampMaxMs: Number.MAX_SAFE_INTEGER })
    const recordCount = readRecordCount(batch)
    const stamp = { producerId: readProducerId(batch), epoch: readProducerEpoch(batch), baseSequence: readBaseSequence(batch), recordCount }
    const seen = stamp.producerId < 0 ? undefined : partition.producers.check(stamp)
    if (seen !== undefined) return seen.baseOffset
    const baseOffset = partition.end
    const stored = Buffer.from(batch)
    patchBatch(stored, 0, baseOffset, partition.leaderEpoch)
    if (appendTimeMs !== undefined) stampAppendTime(stored, 0, appendTimeMs)
    partition.batches.push(stored)
    partition.end += recordCount
    if (stamp.producerId >= 0) partition.producers.update(stamp, baseOffset, 0, partition.end)
    return baseOffset
  }

  #fetchStream(node: number, call: FetchCall): void {
    call.on('error', () => {})
    call.on('end', () => call.end())
    call.on('data', (request: FetchRequestMessage) => {
      for (const one of request.partitions) this.fetched.push(fetchAttemptOf(node, request.maxWaitMs, one))
      const attempt = (isLast: boolean): boolean => {
        if (this.hung.has(node)) return false
        const partitions = this.#read(node, request)
        const isReady = partitions.some(({ error, batches }) => error !== undefined || batches.length > 0)
        if (!isReady && !isLast) return false
        const answer = { correlationId: request.correlationId, partitions }
        call.write(this.fetchAnswer?.(answer) ?? answer)
        return true
      }
      if (!attempt(request.maxWaitMs === 0)) this.#park(call, request.maxWaitMs, attempt)
    })
  }

  #park(call: FetchCall, maxWaitMs: number, attempt: (isLast: boolean) => boolean): void {
    const done = (): void => {
      clearTimeout(timer)
      this.#timers.delete(timer)
      this.#parked.delete(wake)
    }
    const wake = (): void => {
      if (attempt(false)) done()
    }
    const timer = setTimeout(() => {
      done()
      attempt(true)
    }, maxWaitMs)
    this.#timers.add(timer)
    this.#parked.add(wake)
    call.on('cancelled', done)
  }

  get parkedCount(): number {
    return this.#parked.size
  }

  /** Puts records that somebody else wrote at the end of a partition. */
  append(name: string, partition: number, batch: Buffer): void {
    const found = this.partition(name, partition)
    const stored = Buffer.from(batch)
    patchBatch(stored, 0, found.end, found.leaderEpoch)
    found.batches.push(stored)
    found.end += readRecordCount(batch)
    for (const wake of [...this.#parked]) wake()
  }

  #read(node: number, request: FetchRequestMessage): PartitionFetchResultMessage[] {
    let leftBytes = request.maxBytes === 0 ? Number.POSITIVE_INFINITY : request.maxBytes
    let isFirst = true
    return request.partitions.map((wanted) => {
      const { topic, partition, offset, maxBytes } = wanted
      const empty = { topic, partition, error: undefined, highWatermark: 0, logStartOffset: 0, batches: [] }
      try {
        const refused = this.refuseFetch?.(fetchAttemptOf(node, request.maxWaitMs, wanted))
        if (refused !== undefined) throw refused
        const log = this.#led(node, wanted)
        if (offset < log.logStart || offset > log.end) throw new TidemarkError('OFFSET_OUT_OF_RANGE', `offset ${offset} is gone`)
        const batches: Buffer[] = []
        let ownBytes = maxBytes === 0 ? Number.POSITIVE_INFINITY : maxBytes
        for (const batch of log.batches) {
          if (readLastOffset(batch) < offset) continue
          if (!isFirst && (batch.length > leftBytes || batch.length > ownBytes)) break
          isFirst = false
          leftBytes -= batch.length
          ownBytes -= batch.length
          batches.push(batch)
        }
        return { ...empty, highWatermark: log.end, logStartOffset: log.logStart, batches }
      } catch (error) {
        return { ...empty, error: toErrorDetail(TidemarkError.from(error)) }
      }
    })
  }

  /** The partition, if this node leads it in the epoch that is meant, and the topic is the one that is meant. */
  #led(node: number, asked: PartitionAsked): FakePartition {
    const topic = this.topics.get(asked.topic)
    if (topic === undefined) throw new TidemarkError('UNKNOWN_TOPIC')
    if (asked.topicId.length > 0 && !asked.topicId.equals(topic.topicId)) throw new TidemarkError('UNKNOWN_TOPIC_ID')
    const partition = topic.partitions[asked.partition]
    if (partition === undefined) throw new TidemarkError('UNKNOWN_PARTITION')
    if (partition.leader !== node) throw this.notLeader(partition)
    const epoch = asked.leaderEpochPlusOne - 1
    if (epoch >= 0 && epoch < partition.leaderEpoch) throw new TidemarkError('FENCED_LEADER_EPOCH')
    if (epoch > partition.leaderEpoch) throw new TidemarkError('UNKNOWN_LEADER_EPOCH')
    return partition
  }
}

type PartitionAsked = Pick<PartitionProduceMessage, 'topic' | 'topicId' | 'partition' | 'leaderEpochPlusOne'>

function fetchAttemptOf(node: number, maxWaitMs: number, asked: FetchRequestMessage['partitions'][number]): FetchAttempt {
  const { topic, partition, offset, maxBytes, leaderEpochPlusOne } = asked
  return { node, topic, partition, offset, maxBytes, maxWaitMs, leaderEpoch: leaderEpochPlusOne - 1 }
}

function attemptOf(node: number, entry: PartitionProduceMessage): ProduceAttempt {
  const { topic, partition, batch } = entry
  return {
    node,
    topic,
    partition,
    producerId: readProducerId(batch),
    baseSequence: readBaseSequence(batch),
    recordCount: readRecordCount(batch),
    bytes: batch.length,
  }
}
