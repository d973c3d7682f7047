/** Streams to leaders over gRPC. */
import type * as grpc from '@grpc/grpc-js'
import type { PeerAddress, PeerChannels } from '../../controller/peer-channels.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { type ReplicaFetchRequest, type ReplicaFetchResponse, ReplicaService } from '../../protocol/gen/tidemark/v1/replica.ts'
import type { ReplicaChannel, ReplicaStream, ReplicaStreamEvents } from './channel.ts'

export class GrpcReplicaChannel implements ReplicaChannel {
  readonly #addressOf: (nodeId: number) => PeerAddress | undefined
  readonly #channels: () => Promise<PeerChannels>

  constructor(addressOf: (nodeId: number) => PeerAddress | undefined, channels: () => Promise<PeerChannels>) {
    this.#addressOf = addressOf
    this.#channels = channels
  }

  open(nodeId: number, events: ReplicaStreamEvents): ReplicaStream {
    const stream = new GrpcReplicaStream(events)
    const address = this.#addressOf(nodeId)
    if (address === undefined) queueMicrotask(() => stream.break(new TidemarkError('UNAVAILABLE', `nobody knows where node ${nodeId} is`)))
    else
      this.#channels().then(
        (channels) => stream.connect(channels, address),
        (error: unknown) => stream.break(TidemarkError.from(error)),
      )
    return stream
  }
}

class GrpcReplicaStream implements ReplicaStream {
  readonly #events: ReplicaStreamEvents
  /** Before there is a call. */
  #early: ReplicaFetchRequest[] = []
  #call: grpc.ClientDuplexStream<ReplicaFetchRequest, ReplicaFetchResponse> | undefined
  #isOver = false

  constructor(events: ReplicaStreamEvents) {
    this.#events = events
  }

  connect(channels: PeerChannels, address: PeerAddress): void {
    if (this.#isOver) return
    const { path, requestSerialize, responseDeserialize } = ReplicaService.fetch
    const call: grpc.ClientDuplexStream<ReplicaFetchRequest, ReplicaFetchResponse> = channels
      .client(address)
      .makeBidiStreamRequest(path, requestSerialize, responseDeserialize)
    this.#call = call
    call.on('data', (response: ReplicaFetchResponse) => {
      if (!this.#isOver) this.#events.answered(response)
    })
    call.on('error', (error: grpc.ServiceError) => this.break(channels.errorOf(error)))
    call.on('end', () => this.break(new TidemarkError('UNAVAILABLE', 'the leader ended the stream')))
    for (const request of this.#early.splice(0)) call.write(request)
  }

  send(request: ReplicaFetchRequest): void {
    if (this.#isOver) return
    if (this.#call === undefined) this.#early.push(request)
    else this.#call.write(request)
  }

  close(): void {
    this.#isOver = true
    this.#early = []
    this.#call?.cancel()
  }

  break(error: Error): void {
    if (this.#isOver) return
    this.close()
    this.#events.broken(error)
  }
}
