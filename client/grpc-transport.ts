/** The real transport: one gRPC channel per node address. */
import * as grpc from '@grpc/grpc-js'
import { decodeErrorDetail, ERROR_TRAILER, errorOfStatus } from '../protocol/error-wire.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { type Dial, dialGrpc, type GrpcClient } from '../protocol/grpc-dial.ts'
import { ClusterService } from '../protocol/gen/tidemark/v1/cluster.ts'
import { GroupsService } from '../protocol/gen/tidemark/v1/groups.ts'
import {
  type FetchRequestMessage,
  type FetchResponseMessage,
  logService,
  type ProduceRequestMessage,
  type ProduceResponseMessage,
} from '../protocol/log-codec.ts'
import type { Clock } from '../runtime/runtime.ts'
import { uncopiedWriter } from './uncopied-requests.ts'
import { unreachableText } from './unreachable.ts'
import type { CallOptions, Connection, MessageStream, StreamEvents, Transport, UnaryCalls } from './transport.ts'

/** Credit a node has for what it sends us, per stream and connection; the default of 64 KiB halves the speed of large answers. */
const FLOW_CONTROL_WINDOW_BYTES = 8 * 1024 * 1024
/** The largest answer: the node's limit and one batch that may pass it. */
const ANSWER_BYTES_MAX = 256 * 1024 * 1024

/** A connection that nothing was asked on for so long may be dropped; its socket is closed by then. */
const IDLE_MS = 5 * 60_000

const CHANNEL_OPTIONS: grpc.ChannelOptions = {
  'grpc.max_receive_message_length': ANSWER_BYTES_MAX,
  'grpc.max_send_message_length': -1,
  'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc.keepalive_permit_without_calls': 0,
  // Retries are ours: only we know what may be sent again.
  'grpc.enable_retries': 0,
  'grpc.enable_channelz': 0,
  'grpc.initial_reconnect_backoff_ms': 50,
  'grpc.max_reconnect_backoff_ms': 2000,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.client_idle_timeout_ms': IDLE_MS,
}

const CALLS = { ...ClusterService, ...GroupsService, ...logService }

type Definition = grpc.MethodDefinition<unknown, unknown>

/** `clientId` names the application in the node's logs. */
export function createGrpcTransport(clock: Clock, clientId?: string, dial: Dial = dialGrpc): Transport {
  const options = clientId === undefined ? CHANNEL_OPTIONS : { ...CHANNEL_OPTIONS, 'grpc.primary_user_agent': clientId }
  const connections = new Map<string, GrpcConnection>()
  let isClosed = false
  return {
    connection(address) {
      if (isClosed) throw new TidemarkError('CLOSED', 'the client is closed')
      let connection = connections.get(address)
      if (connection === undefined) {
        dropIdle(connections, clock.monotonic())
        connection = new GrpcConnection(address, clock, dial(address, options))
        connections.set(address, connection)
      }
      return connection
    },
    close() {
      isClosed = true
      for (const connection of connections.values()) connection.close()
      connections.clear()
    },
  }
}

/** Nodes come and go; those that nothing was asked of for a while are dialled again when they are needed. */
function dropIdle(connections: Map<string, GrpcConnection>, nowMs: number): void {
  for (const [address, connection] of connections) {
    if (!connection.isIdle(nowMs)) continue
    connection.close()
    connections.delete(address)
  }
}

class GrpcConnection implements Connection {
  readonly #address: string
  readonly #clock: Clock
  readonly #client: GrpcClient
  readonly #streams = new Set<{ cancel(): void }>()
  #openCalls = 0
  #usedMs: number

  constructor(address: string, clock: Clock, client: GrpcClient) {
    this.#address = address
    this.#clock = clock
    this.#usedMs = clock.monotonic()
    this.#client = client
  }

  /** True when nothing is under way and was not for a while. */
  isIdle(nowMs: number): boolean {
    return this.#openCalls === 0 && this.#streams.size === 0 && nowMs - this.#usedMs > IDLE_MS
  }

  call<Name extends keyof UnaryCalls>(name: Name, request: UnaryCalls[Name][0], options: CallOptions): Promise<UnaryCalls[Name][1]> {
    this.#openCalls++
    const definition = CALLS[name] as unknown as Definition
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(
        definition.path,
        definition.requestSerialize,
        definition.responseDeserialize,
        request,
        { deadline: this.#clock.now() + options.timeoutMs },
        (error, response) => {
          options.signal?.removeEventListener('abort', abort)
          this.#openCalls--
          this.#usedMs = this.#clock.monotonic()
          if (error === null) resolve(response as UnaryCalls[Name][1])
          else reject(this.#errorOf(error, options.timeoutMs))
        },
      )
      const abort = (): void => call.cancel()
      if (options.signal?.aborted) abort()
      options.signal?.addEventListener('abort', abort, { once: true })
    })
  }

  openProduce(events: StreamEvents<ProduceResponseMessage>): MessageStream<ProduceRequestMessage> {
    const { path, requestSerialize, responseDeserialize } = logService.produceStream
    const call = this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize)
    return this.#open(call, events, uncopiedWriter(call, requestSerialize))
  }

  openFetch(events: StreamEvents<FetchResponseMessage>): MessageStream<FetchRequestMessage> {
    const { path, requestSerialize, responseDeserialize } = logService.fetchStream
    return this.#open(this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize), events)
  }

  /** Closing a channel lets its calls go on; a closed client has no use for them. */
  close(): void {
    for (const call of this.#streams) call.cancel()
    this.#client.close()
  }

  #open<Out, In>(
    call: grpc.ClientDuplexStream<Out, In>,
    events: StreamEvents<In>,
    write: (message: Out) => void = (message) => call.write(message),
  ): MessageStream<Out> {
    let isOver = false
    this.#streams.add(call)
    call.on('close', () => {
      this.#streams.delete(call)
      this.#usedMs = this.#clock.monotonic()
    })
    const over = (error: TidemarkError): void => {
      if (isOver) return
      isOver = true
      call.cancel()
      events.closed(error)
    }
    call.on('data', (message: In) => {
      if (!isOver) events.message(message)
    })
    call.on('error', (error: grpc.ServiceError) => over(this.#errorOf(error)))
    call.on('end', () => over(new TidemarkError('UNAVAILABLE', `${this.#address} ended the stream`)))
    return {
      send: (message) => {
        if (!isOver) write(message)
      },
      close: () => {
        isOver = true
        call.cancel()
      },
    }
  }

  #errorOf(error: grpc.ServiceError, timeoutMs?: number): TidemarkError {
    const [detail] = error.metadata?.get(ERROR_TRAILER) ?? []
    const known = Buffer.isBuffer(detail) ? decodeErrorDetail(detail) : undefined
    if (known !== undefined) return known
    return errorOfStatus(error.code, this.#detailsOf(error, timeoutMs), error)
  }

  /** What gRPC says of itself helps nobody. */
  #detailsOf({ code, details }: grpc.ServiceError, timeoutMs: number | undefined): string {
    if (code === grpc.status.UNAVAILABLE) return unreachableText(this.#address, details)
    if (code === grpc.status.DEADLINE_EXCEEDED && timeoutMs !== undefined)
      return `${this.#address} has not answered within ${(timeoutMs / 1000).toFixed(1)} s`
    return details
  }
}
