/**
 * The `Log` service: decodes, calls the operations, encodes. One handler stands behind the unary call and the
 * stream of each kind.
 *
 * A stream is read only while its share of requests in hand and of unsent answers allows; beyond that its HTTP/2 window
 * closes and the sender waits. A stream that ends or breaks frees all it held.
 */
import type * as grpc from '@grpc/grpc-js'
import { toErrorDetail } from '../../../protocol/error-wire.ts'
import { TidemarkError } from '../../../protocol/errors.ts'
import { Acks } from '../../../protocol/gen/tidemark/v1/log.ts'
import type {
  FetchRequestMessage,
  FetchResponseMessage,
  LogHandlers,
  ProduceRequestMessage,
  ProduceResponseMessage,
} from '../../../protocol/log-codec.ts'
import type { ByteBudget } from '../../backpressure.ts'
import type { Broker } from '../../broker.ts'
import { deleteRecords, describeLogs, listOffsets } from '../../operations/logs.ts'
import { type FetchAnswer, type FetchRequest, fetch, type PendingFetch } from '../../operations/fetch.ts'
import { type Acks as AcksName, type ProduceRequest, type ProduceResult, produce } from '../../operations/produce.ts'
import { ResponseMemory } from '../../response-memory.ts'
import { statusOf, unary } from './status.ts'

export function createLogService(broker: Broker): LogHandlers {
  return {
    produce: (call, callback) => {
      handleProduce(
        broker,
        call.getPeer(),
        call.request,
        (response) => callback(null, response),
        (error) => callback(statusOf(error)),
      )
    },
    fetch: (call, callback) => {
      const memory = new ResponseMemory(broker.config.limits.fetchBytesMax, broker.responseMemory)
      const pending = handleFetch(
        broker,
        memory,
        call.request,
        (response, bytes) => {
          callback(null, response)
          memory.release(bytes)
        },
        (error) => callback(statusOf(error)),
      )
      call.on('cancelled', () => pending?.cancel())
    },
    produceStream: (call) => new ProduceStream(broker, call).start(),
    fetchStream: (call) => new FetchStream(broker, call).start(),
    listOffsets: unary((request) => listOffsets(broker, request)),
    deleteRecords: unary((request) => deleteRecords(broker, request)),
    describeLogs: unary((request) => describeLogs(broker, request)),
  }
}

type ProduceCall = grpc.ServerDuplexStream<ProduceRequestMessage, ProduceResponseMessage>
type FetchCall = grpc.ServerDuplexStream<FetchRequestMessage, FetchResponseMessage>

/** Reads a stream no faster than its requests are finished. */
class ProduceStream {
  readonly #broker: Broker
  readonly #call: ProduceCall
  #openCount = 0
  #isHalfClosed = false

  constructor(broker: Broker, call: ProduceCall) {
    this.#broker = broker
    this.#call = call
  }

  start(): void {
    const call = this.#call
    const peer = call.getPeer()
    const limit = this.#broker.config.limits.requestsPerStreamMax
    // What a stopping node has not read was not done; the client sends it again, elsewhere or later.
    const forget = this.#broker.onStop(() => {
      call.removeAllListeners('data')
      this.#isHalfClosed = true
      this.#endWhenDone()
    })
    call.on('close', forget)
    call.on('data', (message: ProduceRequestMessage) => {
      this.#openCount++
      if (this.#openCount >= limit) call.pause()
      handleProduce(
        this.#broker,
        peer,
        message,
        (response) => this.#answer(response, limit),
        (error) => this.#fail(error),
      )
    })
    call.on('end', () => {
      this.#isHalfClosed = true
      this.#endWhenDone()
    })
    // What was appended stays appended; there is nobody left to tell.
    call.on('error', () => {})
  }

  #answer(response: ProduceResponseMessage, limit: number): void {
    if (this.#openCount-- === limit) this.#call.resume()
    if (this.#call.destroyed) return
    this.#call.write(response)
    this.#endWhenDone()
  }

  #fail(error: TidemarkError): void {
    failCall(this.#call, error)
  }

  #endWhenDone(): void {
    if (this.#isHalfClosed && this.#openCount === 0) this.#call.end()
  }
}

class FetchStream {
  readonly #broker: Broker
  readonly #call: FetchCall
  readonly #memory: ResponseMemory
  readonly #pending = new Set<PendingFetch>()
  #isHalfClosed = false

  constructor(broker: Broker, call: FetchCall) {
    this.#broker = broker
    this.#call = call
    // Two answers: one on its way to the socket while the next is read.
    this.#memory = new ResponseMemory(2 * broker.config.limits.fetchBytesMax, broker.responseMemory)
  }

  start(): void {
    const call = this.#call
    const forget = this.#broker.onStop(() => {
      call.removeAllListeners('data')
      this.#isHalfClosed = true
      this.#endWhenDone()
    })
    call.on('close', forget)
    call.on('data', (message: FetchRequestMessage) => this.#begin(message))
    call.on('end', () => {
      this.#isHalfClosed = true
      this.#endWhenDone()
    })
    call.on('error', () => {})
    call.on('cancelled', () => this.#abandon())
    call.on('close', () => this.#abandon())
  }

  #begin(message: FetchRequestMessage): void {
    const limit = this.#broker.config.limits.requestsPerStreamMax
    // It may be answered before `handleFetch` returns.
    const begun: { pending: PendingFetch | undefined; isOver: boolean } = { pending: undefined, isOver: false }
    const over = (): void => {
      begun.isOver = true
      if (begun.pending !== undefined && this.#pending.delete(begun.pending) && this.#pending.size === limit - 1) this.#call.resume()
    }
    begun.pending = handleFetch(
      this.#broker,
      this.#memory,
      message,
      (response, bytes) => {
        over()
        this.#send(response, bytes)
      },
      (error) => {
        over()
        failCall(this.#call, error)
      },
    )
    if (begun.isOver || begun.pending === undefined) return
    this.#pending.add(begun.pending)
    if (this.#pending.size >= limit) this.#call.pause()
  }

  #send(response: FetchResponseMessage, bytes: number): void {
    if (this.#call.destroyed) {
      this.#memory.release(bytes)
      return
    }
    this.#call.write(response, () => this.#memory.release(bytes))
    this.#endWhenDone()
  }

  #endWhenDone(): void {
    if (this.#isHalfClosed && this.#pending.size === 0) this.#call.end()
  }

  #abandon(): void {
    for (const pending of this.#pending) pending.cancel()
    this.#pending.clear()
  }
}

/** Ends a stream with a status. (Destroying it would end it without one: grpc-js sends the status when the stream finishes.) */
function failCall(call: ProduceCall | FetchCall, error: TidemarkError): void {
  if (!call.destroyed) call.emit('error', Object.assign(new Error(error.message), statusOf(error)))
}

function handleProduce(
  broker: Broker,
  peer: string,
  message: ProduceRequestMessage,
  answer: (response: ProduceResponseMessage) => void,
  fail: (error: TidemarkError) => void,
): void {
  let request: ProduceRequest
  let connection: ByteBudget
  try {
    broker.checkServing()
    request = produceRequestOf(message)
    connection = broker.connectionBudget(peer)
  } catch (error) {
    fail(TidemarkError.from(error))
    return
  }
  produce(broker, connection, request, (results) =>
    answer({ correlationId: message.correlationId, partitions: results.map(produceResultMessage) }),
  )
}

function handleFetch(
  broker: Broker,
  memory: ResponseMemory,
  message: FetchRequestMessage,
  answer: (response: FetchResponseMessage, bytes: number) => void,
  fail: (error: TidemarkError) => void,
): PendingFetch | undefined {
  try {
    broker.checkServing()
  } catch (error) {
    fail(TidemarkError.from(error))
    return undefined
  }
  const { correlationId } = message // all that a parked fetch keeps of its message
  return fetch(broker, memory, fetchRequestOf(message), ({ results, bytes }: FetchAnswer) =>
    answer({ correlationId, partitions: results.map((result) => ({ ...result, error: errorDetailOf(result.error) })) }, bytes),
  )
}

function produceRequestOf(message: ProduceRequestMessage): ProduceRequest {
  return {
    acks: acksOf(message.acks),
    timeoutMs: message.timeoutMs,
    partitions: message.partitions.map((entry) => ({
      topic: entry.topic,
      topicId: topicIdOf(entry.topicId),
      partition: entry.partition,
      leaderEpoch: leaderEpochOf(entry.leaderEpochPlusOne),
      batch: entry.batch,
    })),
  }
}

function fetchRequestOf(message: FetchRequestMessage): FetchRequest {
  return {
    maxWaitMs: message.maxWaitMs,
    minBytes: message.minBytes,
    maxBytes: message.maxBytes,
    partitions: message.partitions.map((entry) => ({
      topic: entry.topic,
      topicId: topicIdOf(entry.topicId),
      partition: entry.partition,
      leaderEpoch: leaderEpochOf(entry.leaderEpochPlusOne),
      lastEpoch: leaderEpochOf(entry.lastEpochPlusOne),
      offset: entry.offset,
      maxBytes: entry.maxBytes,
      isSuspect: entry.suspect,
    })),
  }
}

function acksOf(acks: Acks): AcksName {
  switch (acks) {
    case Acks.ALL:
      return 'all'
    case Acks.LEADER:
      return 'leader'
    case Acks.NONE:
      return 'none'
    default:
      throw new TidemarkError('INVALID_ACKS', `acks is ${String(acks)}, expected 0 (all), 1 (leader) or 2 (none)`)
  }
}

/** Absent: any topic of that name. */
function topicIdOf(bytes: Buffer): string | undefined {
  return bytes.length === 0 ? undefined : bytes.toString('base64url')
}

function leaderEpochOf(leaderEpochPlusOne: number): number | undefined {
  return leaderEpochPlusOne === 0 ? undefined : leaderEpochPlusOne - 1
}

function produceResultMessage(result: ProduceResult): ProduceResponseMessage['partitions'][number] {
  return { ...result, error: errorDetailOf(result.error) }
}

function errorDetailOf(error: TidemarkError | undefined): ReturnType<typeof toErrorDetail> | undefined {
  return error === undefined ? undefined : toErrorDetail(error)
}
