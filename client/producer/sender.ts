/**
 * The produce stream to one node: requests out, answers matched to them by number.
 *
 * A stream that breaks, or leaves a request unanswered for too long, gives back everything unanswered; the
 * next request opens a new one.
 */
import { fromErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { Acks as WireAcks } from '../../protocol/gen/tidemark/v1/log.ts'
import type { ProduceRequestMessage, ProduceResponseMessage } from '../../protocol/log-codec.ts'
import type { Timer } from '../../runtime/runtime.ts'
import type { ClusterClient } from '../cluster-client.ts'
import { type MessageStream, STREAM_IDLE_MS } from '../transport.ts'
import type { Acks } from '../types.ts'
import type { OutBatch, PartitionQueue } from './partition-queue.ts'

export interface SentBatch {
  readonly queue: PartitionQueue
  readonly batch: OutBatch
  readonly topicId: Buffer
  readonly leaderEpoch: number
}

/** Told what became of each batch, once. */
export interface SenderEvents {
  acknowledged(sent: SentBatch, baseOffset: number, appendTimeMs: number): void
  /** The node answered with an error. */
  refused(sent: SentBatch, error: TidemarkError): void
  /** Nothing more will be heard of the batch; it may have been written. */
  lost(sent: SentBatch, error: TidemarkError): void
  /** The node has not answered for a while: perhaps another one leads by now. Told again and again while it lasts. */
  silent(sent: readonly SentBatch[]): void
}

interface Request {
  readonly sent: readonly SentBatch[]
  readonly sentMs: number
}

const WIRE_ACKS: Readonly<Record<Acks, WireAcks>> = { all: WireAcks.ALL, leader: WireAcks.LEADER, none: WireAcks.NONE }

/** Added to the node's own time-out before an unanswered request counts as lost. */
const ANSWER_GRACE_MS = 5000
/** After so long without an answer the metadata is looked at, again and again: the node may hang, and another one lead by now. */
const SILENCE_MS = 500

/** A node holds a request whole before it knows what is in it, and refuses one that is too large. A batch alone may be larger than this. */
const REQUEST_BYTES_MAX = 4 * 1024 * 1024

export class Sender {
  readonly #client: ClusterClient
  readonly #address: string
  readonly #acks: Acks
  readonly #requestTimeoutMs: number
  readonly #events: SenderEvents
  readonly #open = new Map<number, Request>()
  #stream: MessageStream<ProduceRequestMessage> | undefined
  #nextId = 1
  #usedMs = 0
  #watch: Timer | undefined

  constructor(parts: {
    readonly client: ClusterClient
    readonly address: string
    readonly acks: Acks
    readonly requestTimeoutMs: number
    readonly events: SenderEvents
  }) {
    this.#client = parts.client
    this.#address = parts.address
    this.#acks = parts.acks
    this.#requestTimeoutMs = parts.requestTimeoutMs
    this.#events = parts.events
  }

  /** Sends one batch of each of several partitions, in as many requests as they need. */
  send(sent: readonly SentBatch[]): void {
    let from = 0
    let bytes = 0
    for (const [at, { batch }] of sent.entries()) {
      const more = batch.bytes?.length ?? 0
      if (at > from && bytes + more > REQUEST_BYTES_MAX) {
        this.#sendOne(sent.slice(from, at))
        from = at
        bytes = 0
      }
      bytes += more
    }
    this.#sendOne(from === 0 ? sent : sent.slice(from))
  }

  #sendOne(sent: readonly SentBatch[]): void {
    const id = this.#nextId++
    this.#usedMs = this.#client.runtime.clock.monotonic()
    this.#open.set(id, { sent, sentMs: this.#usedMs })
    this.#stream ??= this.#client.connection(this.#address).openProduce({
      message: (response) => this.#receive(response),
      closed: (error) => this.#lose(error),
    })
    this.#stream.send({
      correlationId: id,
      acks: WIRE_ACKS[this.#acks],
      timeoutMs: this.#requestTimeoutMs,
      partitions: sent.map(({ queue, batch, topicId, leaderEpoch }) => ({
        topic: queue.topic,
        topicId,
        partition: queue.partition,
        leaderEpochPlusOne: leaderEpoch + 1,
        batch: batch.bytes as Buffer,
      })),
    })
    this.#watchAnswers()
  }

  /** True when no answer is awaited and nothing was sent for a while. */
  isIdle(nowMs: number): boolean {
    return this.#open.size === 0 && nowMs - this.#usedMs > STREAM_IDLE_MS
  }

  /** Awaits no answer any more: everything unanswered is lost. */
  abandon(error: TidemarkError): void {
    this.#stream?.close()
    this.#lose(error)
  }

  close(): void {
    this.#stream?.close()
    this.#stream = undefined
    this.#watch?.cancel()
    this.#watch = undefined
  }

  #receive(response: ProduceResponseMessage): void {
    const request = this.#open.get(response.correlationId)
    if (request === undefined) return
    this.#open.delete(response.correlationId)
    for (const [index, sent] of request.sent.entries()) {
      const result = response.partitions[index]
      if (result === undefined)
        this.#events.lost(sent, new TidemarkError('INTERNAL', `${this.#address} left a partition out of its answer`))
      else if (result.error !== undefined) this.#events.refused(sent, fromErrorDetail(result.error))
      else this.#events.acknowledged(sent, result.baseOffset, result.logAppendTimeMs)
    }
  }

  #lose(error: TidemarkError): void {
    this.#stream = undefined
    const lost = [...this.#open.values()]
    this.#open.clear()
    const retriable = error.retriable ? error : new TidemarkError(error.code, error.message, { cause: error, retriable: true })
    for (const request of lost) for (const sent of request.sent) this.#events.lost(sent, retriable)
  }

  /** One timer for all requests: the oldest of them was sent first. */
  #watchAnswers(): void {
    if (this.#watch !== undefined) return
    const oldestMs = this.#oldestMs()
    if (oldestMs === undefined) return
    const { clock, timers } = this.#client.runtime
    const longestMs = this.#requestTimeoutMs + ANSWER_GRACE_MS
    const ageMs = clock.monotonic() - oldestMs
    this.#watch = timers.after(Math.max(1, ageMs < SILENCE_MS ? SILENCE_MS - ageMs : Math.min(SILENCE_MS, longestMs - ageMs)), () => {
      this.#watch = undefined
      const silentMs = clock.monotonic() - (this.#oldestMs() ?? clock.monotonic())
      if (silentMs >= longestMs) this.abandon(new TidemarkError('REQUEST_TIMED_OUT', `${this.#address} did not answer in time`))
      else if (silentMs >= SILENCE_MS) this.#events.silent([...this.#open.values()].flatMap(({ sent }) => sent))
      this.#watchAnswers()
    })
  }

  #oldestMs(): number | undefined {
    const [oldest] = this.#open.values()
    return oldest?.sentMs
  }
}
