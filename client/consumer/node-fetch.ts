/** The fetch stream to one node: long polls out, answers matched to them by number. */
import { TidemarkError } from '../../protocol/errors.ts'
import type { FetchRequestMessage, FetchResponseMessage, PartitionFetchResultMessage } from '../../protocol/log-codec.ts'
import type { Timer } from '../../runtime/runtime.ts'
import type { ClusterClient } from '../cluster-client.ts'
import { type MessageStream, STREAM_IDLE_MS } from '../transport.ts'
import type { Asked } from './partition-fetch.ts'

/** Added to the longest park before a request counts as lost. */
const ANSWER_GRACE_MS = 30_000

export interface FetchSettings {
  readonly prefetchBytes: number
  readonly fetchBytes: number
  readonly maxWaitMs: number
  readonly minBytes: number
}

interface Request {
  readonly asked: readonly Asked[]
  readonly deadlineMs: number
}

export interface NodeFetchEvents {
  answered(asked: Asked, result: PartitionFetchResultMessage): void
  lost(asked: Asked, error: TidemarkError): void
  /** An answer was worked off. */
  done(): void
}

export class NodeFetch {
  readonly #client: ClusterClient
  readonly #address: string
  readonly #settings: FetchSettings
  readonly #events: NodeFetchEvents
  readonly #open = new Map<number, Request>()
  #stream: MessageStream<FetchRequestMessage> | undefined
  #nextId = 1
  #usedMs = 0
  #watch: Timer | undefined

  constructor(client: ClusterClient, address: string, settings: FetchSettings, events: NodeFetchEvents) {
    this.#client = client
    this.#address = address
    this.#settings = settings
    this.#events = events
  }

  /** True when no answer is awaited and nothing was asked for a while. */
  isIdle(nowMs: number): boolean {
    return this.#open.size === 0 && nowMs - this.#usedMs > STREAM_IDLE_MS
  }

  ask(asked: readonly Asked[]): void {
    const { clock, random } = this.#client.runtime
    // Spread, so that a thousand idle consumers do not all come back in the same moment.
    const maxWaitMs = Math.round(this.#settings.maxWaitMs * (0.8 + random.float() * 0.2))
    const id = this.#nextId++
    this.#usedMs = clock.monotonic()
    this.#open.set(id, { asked, deadlineMs: this.#usedMs + maxWaitMs + ANSWER_GRACE_MS })
    this.#stream ??= this.#client.connection(this.#address).openFetch({
      message: (response) => this.#receive(response),
      closed: (error) => this.#lose(error),
    })
    this.#stream.send({
      correlationId: id,
      maxWaitMs,
      minBytes: this.#settings.minBytes,
      maxBytes: this.#settings.fetchBytes,
      partitions: asked.map(({ partition }) => {
        const info = this.#client.knownTopic(partition.topic)
        partition.topicId ??= info?.topicId
        return {
          topic: partition.topic,
          topicId: partition.topicId ?? Buffer.alloc(0),
          partition: partition.partition,
          leaderEpochPlusOne: (info?.partitions[partition.partition]?.leaderEpoch ?? -1) + 1,
          lastEpochPlusOne: partition.lastEpoch + 1,
          offset: partition.fetchOffset,
          suspect: partition.isSuspect,
          maxBytes: Math.max(1, Math.floor(this.#settings.fetchBytes / asked.length)),
        }
      }),
    })
    this.#watchAnswers()
  }

  close(): void {
    this.#stream?.close()
    this.#watch?.cancel()
  }

  #receive(response: FetchResponseMessage): void {
    const request = this.#open.get(response.correlationId)
    if (request === undefined) return
    this.#open.delete(response.correlationId)
    for (const [index, asked] of request.asked.entries()) {
      const result = response.partitions[index]
      if (result === undefined) this.#events.lost(asked, new TidemarkError('UNAVAILABLE', 'the node left a partition out of its answer'))
      else this.#events.answered(asked, result)
    }
    this.#events.done()
  }

  #lose(error: TidemarkError): void {
    this.#stream = undefined
    const lost = [...this.#open.values()]
    this.#open.clear()
    const retriable = error.retriable ? error : new TidemarkError(error.code, error.message, { cause: error, retriable: true })
    for (const request of lost) for (const asked of request.asked) this.#events.lost(asked, retriable)
    this.#events.done()
  }

  #watchAnswers(): void {
    if (this.#watch !== undefined || this.#open.size === 0) return
    const { clock, timers } = this.#client.runtime
    const soonestMs = Math.min(...[...this.#open.values()].map(({ deadlineMs }) => deadlineMs))
    this.#watch = timers.after(Math.max(1, soonestMs - clock.monotonic()), () => {
      this.#watch = undefined
      if ([...this.#open.values()].some(({ deadlineMs }) => deadlineMs <= clock.monotonic())) {
        this.#stream?.close()
        this.#lose(new TidemarkError('REQUEST_TIMED_OUT', `${this.#address} did not answer in time`))
      }
      this.#watchAnswers()
    })
  }
}
