/** Connections to other nodes, one per address, made when first needed; and calls over them. */
import * as grpc from '@grpc/grpc-js'
import { formatAddress } from '../protocol/addresses.ts'
import { decodeErrorDetail, ERROR_TRAILER, errorOfStatus } from '../protocol/error-wire.ts'
import type { TidemarkError } from '../protocol/errors.ts'
import { FORWARDED_HEADER, VERSION_TRAILER } from '../protocol/forwarding.ts'
import { type Dial, dialGrpc, type GrpcClient } from '../protocol/grpc-dial.ts'
import type { Clock } from '../runtime/runtime.ts'

const ANSWER_BYTES_MAX = 256 * 1024 * 1024

const CHANNEL_OPTIONS: grpc.ChannelOptions = {
  'grpc.max_receive_message_length': ANSWER_BYTES_MAX,
  'grpc.max_send_message_length': -1,
  'grpc-node.flow_control_window': 8 * 1024 * 1024,
  // A node that hangs is noticed while something is asked of it.
  'grpc.keepalive_time_ms': 5000,
  'grpc.keepalive_timeout_ms': 3000,
  'grpc.keepalive_permit_without_calls': 0,
  'grpc.enable_retries': 0,
  'grpc.enable_channelz': 0,
  'grpc.initial_reconnect_backoff_ms': 50,
  'grpc.max_reconnect_backoff_ms': 500,
  'grpc.use_local_subchannel_pool': 1,
}

export interface PeerAddress {
  readonly host: string
  readonly port: number
}

export interface UnaryAnswer<Response> {
  readonly response: Response
  /** Of the metadata with the change; 0: the answer does not say. */
  readonly version: number
}

export class PeerChannels {
  readonly #clock: Clock
  readonly #dial: Dial
  readonly #clients = new Map<string, GrpcClient>()
  #isClosed = false

  constructor(clock: Clock, dial: Dial = dialGrpc) {
    this.#clock = clock
    this.#dial = dial
  }

  client({ host, port }: PeerAddress): GrpcClient {
    const address = formatAddress(host, port)
    let client = this.#clients.get(address)
    if (client === undefined) {
      client = this.#dial(address, CHANNEL_OPTIONS)
      if (this.#isClosed) client.close()
      else this.#clients.set(address, client)
    }
    return client
  }

  /** Rejects with a `TidemarkError`. */
  call<Request, Response>(
    address: PeerAddress,
    { path, requestSerialize, responseDeserialize }: grpc.MethodDefinition<Request, Response>,
    request: Request,
    {
      timeoutMs,
      isForwarded = false,
      signal,
    }: { readonly timeoutMs: number; readonly isForwarded?: boolean; readonly signal?: AbortSignal },
  ): Promise<UnaryAnswer<Response>> {
    const metadata = new grpc.Metadata()
    if (isForwarded) metadata.set(FORWARDED_HEADER, '1')
    return new Promise((resolve, reject) => {
      let answer: Response | undefined
      const call = this.client(address).makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
        { deadline: this.#clock.now() + timeoutMs },
        (error, response) => {
          signal?.removeEventListener('abort', abort)
          if (error === null) answer = response
          else reject(this.errorOf(error))
        },
      )
      const abort = (): void => call.cancel()
      if (signal?.aborted) abort()
      signal?.addEventListener('abort', abort, { once: true })
      // The status comes after the answer.
      call.on('status', ({ metadata: trailers }) => {
        if (answer !== undefined) resolve({ response: answer, version: Number(trailers.get(VERSION_TRAILER)[0] ?? 0) })
      })
    })
  }

  /** What another node answered with, or what became of the call. */
  errorOf(error: grpc.ServiceError): TidemarkError {
    const [detail] = error.metadata?.get(ERROR_TRAILER) ?? []
    return (Buffer.isBuffer(detail) ? decodeErrorDetail(detail) : undefined) ?? errorOfStatus(error.code, error.details, error)
  }

  close(): void {
    this.#isClosed = true
    for (const client of this.#clients.values()) client.close()
    this.#clients.clear()
  }
}
