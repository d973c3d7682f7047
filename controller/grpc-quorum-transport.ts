/**
 * Messages among controllers over gRPC: one stream to each, opened when there is something to say. What cannot be
 * sent at once is dropped, Raft says it again; a snapshot goes in pieces.
 */
import type * as grpc from '@grpc/grpc-js'
import type { TidemarkError } from '../protocol/errors.ts'
import type { VoterDescription } from '../protocol/gen/tidemark/v1/controller.ts'
import { type QuorumMessage, type QuorumSendResponse, QuorumService } from '../protocol/gen/tidemark/v1/quorum.ts'
import type { Clock } from '../runtime/runtime.ts'
import type { PeerChannels } from './peer-channels.ts'
import { messageToWire } from './quorum-codec.ts'
import type { QuorumReceiver, QuorumSender, QuorumTransport } from './quorum-transport.ts'
import type { Message } from './raft/messages.ts'

/** Messages that may wait for the network, per node. */
const WAITING_MAX = 256

/** Of a snapshot, in one message. */
export const SNAPSHOT_PIECE_BYTES = 1024 * 1024

/** After a stream broke. */
const RETRY_AFTER_MS = 100

interface Peer {
  readonly host: string
  readonly port: number
  stream: grpc.ClientWritableStream<QuorumMessage> | undefined
  /** Monotonic; before then no stream is opened. */
  retryAtMs: number
}

export class GrpcQuorumTransport implements QuorumTransport {
  readonly #receiver: QuorumReceiver
  readonly #clock: Clock
  readonly #loadChannels: () => Promise<PeerChannels>
  readonly #peers = new Map<number, Peer>()
  #channels: PeerChannels | undefined
  #loading: Promise<void> | undefined
  #isClosed = false

  /** `loadChannels` is called when there is a first message: a quorum of one has none. */
  constructor(receiver: QuorumReceiver, clock: Clock, loadChannels: () => Promise<PeerChannels>) {
    this.#receiver = receiver
    this.#clock = clock
    this.#loadChannels = loadChannels
  }

  send(to: VoterDescription, message: Message, sender: QuorumSender): void {
    const stream = this.#streamTo(to)
    if (stream === undefined || stream.writableLength > WAITING_MAX) {
      // Told later: the core is in the middle of handing out messages.
      queueMicrotask(() => this.#lost(to.nodeId, message))
      return
    }
    const wire = { ...messageToWire(message), ...sender, snapshot: Buffer.alloc(0), snapshotBytes: 0 }
    if (message.snapshot === undefined) {
      stream.write(wire)
      return
    }
    const data = Buffer.from(message.snapshot.data)
    for (let at = 0; at < data.length; at += SNAPSHOT_PIECE_BYTES)
      stream.write({ ...wire, snapshot: data.subarray(at, at + SNAPSHOT_PIECE_BYTES), snapshotBytes: data.length })
    queueMicrotask(() => this.#receiver.snapshotSent(to.nodeId, true))
  }

  async close(): Promise<void> {
    this.#isClosed = true
    for (const { stream } of this.#peers.values()) stream?.cancel()
    this.#peers.clear()
    await this.#loading
  }

  #streamTo({ nodeId, host, port }: VoterDescription): Peer['stream'] {
    const channels = this.#channelsNow()
    if (channels === undefined || host === '') return undefined
    let peer = this.#peers.get(nodeId)
    if (peer === undefined || peer.host !== host || peer.port !== port) {
      peer?.stream?.cancel()
      peer = { host, port, stream: undefined, retryAtMs: 0 }
      this.#peers.set(nodeId, peer)
    }
    if (peer.stream === undefined && this.#clock.monotonic() >= peer.retryAtMs) this.#open(nodeId, peer, channels)
    return peer.stream
  }

  #open(nodeId: number, peer: Peer, channels: PeerChannels): void {
    const { path, requestSerialize, responseDeserialize } = QuorumService.send
    const client = channels.client(peer)
    const stream: grpc.ClientWritableStream<QuorumMessage> = client.makeClientStreamRequest<QuorumMessage, QuorumSendResponse>(
      path,
      requestSerialize,
      responseDeserialize,
      (error) => {
        if (peer.stream !== stream) return
        peer.stream = undefined
        peer.retryAtMs = this.#clock.monotonic() + RETRY_AFTER_MS
        if (!this.#isClosed) this.#receiver.disconnected(nodeId, refusalOf(error, channels))
      },
    )
    // The callback above has it; without a listener it would end the process.
    stream.on('error', () => {})
    peer.stream = stream
  }

  #channelsNow(): PeerChannels | undefined {
    if (this.#channels === undefined && !this.#isClosed) {
      this.#loading ??= this.#loadChannels().then((channels) => {
        this.#channels = channels
      })
    }
    return this.#channels
  }

  #lost(nodeId: number, { type }: Message): void {
    if (this.#isClosed) return
    this.#receiver.unreachable(nodeId)
    if (type === 'snapshot') this.#receiver.snapshotSent(nodeId, false)
  }
}

/** What the other node has against us; undefined when it was merely not reached. */
function refusalOf(error: grpc.ServiceError | null, channels: PeerChannels): TidemarkError | undefined {
  if (error === null) return undefined
  const known = channels.errorOf(error)
  return known.code === 'DATA_DIR_INVALID' || known.code === 'INCONSISTENT_CLUSTER_ID' ? known : undefined
}
