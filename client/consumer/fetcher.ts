/**
 * Keeps batches coming: long polls to every leader, many in flight, within a byte budget.
 *
 * A partition is in at most one request at a time. Partitions that become free in the same turn share a
 * request; one that is free while another's request is parked gets a request of its own, so that
 * an idle partition never holds up a busy one. A partition is asked again as soon as its answer
 * is in and the budget allows, while the application still works on that answer.
 */
import { readBaseOffset, readLastOffset } from '../../protocol/batch-header.ts'
import { splitBatches } from '../../protocol/batch-reader.ts'
import { fromErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { FetchRequestMessage, FetchResponseMessage, PartitionFetchResultMessage } from '../../protocol/log-codec.ts'
import type { Timer } from '../../runtime/runtime.ts'
import type { ClusterClient } from '../cluster-client.ts'
import { backoffMs } from '../retry.ts'
import type { FetchedBatch, PartitionFetch } from './partition-fetch.ts'
import type { MessageStream } from '../transport.ts'

/** Added to the longest park before a request counts as lost. */
const ANSWER_GRACE_MS = 30_000

export interface FetcherSettings {
  readonly prefetchBytes: number
  readonly fetchBytes: number
  readonly maxWaitMs: number
  readonly minBytes: number
}

/** What the fetcher tells its consumer. */
export interface FetcherEvents {
  /** Something came, or a high watermark moved. */
  arrived(): void
  /** The position of a partition is gone from the log. */
  outOfRange(partition: PartitionFetch, error: TidemarkError): void
  /** A partition cannot be read. */
  failed(partition: PartitionFetch, error: TidemarkError): void
}

interface Asked {
  readonly partition: PartitionFetch
  readonly generation: number
}

interface Request {
  readonly asked: readonly Asked[]
  readonly deadlineMs: number
}

export class Fetcher {
  readonly #client: ClusterClient
  readonly #settings: FetcherSettings
  readonly #events: FetcherEvents
  readonly #partitions = new Set<PartitionFetch>()
  readonly #nodes = new Map<string, NodeFetch>()
  readonly #timers = new Set<Timer>()
  #bufferedBytes = 0
  #isDue = false
  #isClosed = false

  constructor(client: ClusterClient, settings: FetcherSettings, events: FetcherEvents) {
    this.#client = client
    this.#settings = settings
    this.#events = events
  }

  add(partition: PartitionFetch): void {
    this.#partitions.add(partition)
    this.schedule()
  }

  /** The application took the oldest batch of a partition. */
  took(batch: FetchedBatch, partition: PartitionFetch): void {
    partition.bufferedBytes -= batch.buffer.length
    this.#bufferedBytes -= batch.buffer.length
    this.schedule()
  }

  seek(partition: PartitionFetch, offset: number): void {
    this.#bufferedBytes -= partition.seek(offset, this.#client.runtime.clock.monotonic())
    // Its request, if any, is answered in its own time and then dropped; the next one need not wait for it.
    partition.isFetching = false
    this.schedule()
  }

  /** Asks for whatever may be asked for, once this turn's changes are all made. */
  schedule(): void {
    if (this.#isDue || this.#isClosed) return
    this.#isDue = true
    queueMicrotask(() => {
      this.#isDue = false
      if (!this.#isClosed) this.#ask()
    })
  }

  close(): void {
    this.#isClosed = true
    for (const node of this.#nodes.values()) node.close()
    for (const timer of this.#timers) timer.cancel()
  }

  #ask(): void {
    const byNode = new Map<string, Asked[]>()
    const shareBytes = this.#settings.prefetchBytes / Math.max(1, this.#partitions.size)
    for (const partition of this.#partitions) {
      if (!this.#isAskable(partition, shareBytes)) continue
      const address = this.#client.knownTopic(partition.topic)?.partitions[partition.partition]?.address
      if (address === undefined) {
        this.#findLeader(partition)
        continue
      }
      partition.isFetching = true
      const asked = { partition, generation: partition.generation }
      const group = byNode.get(address)
      if (group === undefined) byNode.set(address, [asked])
      else group.push(asked)
    }
    for (const [address, asked] of byNode) this.#nodeOf(address).ask(asked)
  }

  #isAskable(partition: PartitionFetch, shareBytes: number): boolean {
    if (partition.isFetching || partition.isPaused || partition.isWaiting || partition.fetchOffset >= partition.endOffset) return false
    // A partition with nothing read ahead is always asked, so that none starves beside full ones.
    return partition.bufferedBytes === 0 || (partition.bufferedBytes < shareBytes && this.#bufferedBytes < this.#settings.prefetchBytes)
  }

  #nodeOf(address: string): NodeFetch {
    let node = this.#nodes.get(address)
    if (node === undefined) {
      node = new NodeFetch(this.#client, address, this.#settings, {
        answered: (asked, result) => this.#answered(asked, result),
        lost: (asked, error) => this.#failed(asked, error),
        done: () => {
          this.#events.arrived()
          this.schedule()
        },
      })
      this.#nodes.set(address, node)
    }
    return node
  }

  #answered(asked: Asked, result: PartitionFetchResultMessage): void {
    const { partition } = asked
    if (asked.generation !== partition.generation) return
    partition.isFetching = false
    if (result.error !== undefined) {
      this.#failed(asked, fromErrorDetail(result.error))
      return
    }
    partition.failureCount = 0
    partition.highWatermark = result.highWatermark
    try {
      for (const joined of result.batches) for (const buffer of splitBatches(joined)) this.#keep(partition, buffer)
    } catch (error) {
      this.#events.failed(partition, TidemarkError.from(error))
    }
  }

  #keep(partition: PartitionFetch, buffer: Buffer): void {
    const lastOffset = readLastOffset(buffer)
    if (lastOffset < partition.fetchOffset || readBaseOffset(buffer) >= partition.endOffset) return
    partition.buffered.push({ buffer, from: partition.fetchOffset })
    partition.bufferedBytes += buffer.length
    this.#bufferedBytes += buffer.length
    partition.fetchOffset = lastOffset + 1
  }

  #failed(asked: Asked, error: TidemarkError): void {
    const { partition } = asked
    if (asked.generation !== partition.generation || this.#isClosed) return
    partition.isFetching = false
    if (error.code === 'OFFSET_OUT_OF_RANGE') this.#events.outOfRange(partition, error)
    else if (error.code === 'UNKNOWN_TOPIC_ID') this.#checkTopic(asked, error)
    else if (error.retriable) this.#retryLater(partition, error)
    else this.#events.failed(partition, error)
  }

  /** The node does not know the topic by its id: it is gone, or the node has yet to hear of it. */
  #checkTopic({ partition }: Asked, error: TidemarkError): void {
    partition.isWaiting = true
    this.#client.refresh(partition.topic).then(
      (info) => {
        partition.isWaiting = false
        if (this.#isClosed) return
        if (partition.topicId?.equals(info.topicId) === true) this.#retryLater(partition, error)
        else this.#events.failed(partition, error)
      },
      (caught: unknown) => {
        partition.isWaiting = false
        if (!this.#isClosed) this.#events.failed(partition, TidemarkError.from(caught))
      },
    )
  }

  #retryLater(partition: PartitionFetch, error: TidemarkError): void {
    if (error.code !== 'BUSY') this.#client.forget(partition.topic)
    const { random, timers } = this.#client.runtime
    partition.isWaiting = true
    const timer = timers.after(backoffMs(++partition.failureCount, random, error.retryAfterMs), () => {
      this.#timers.delete(timer)
      partition.isWaiting = false
      this.schedule()
    })
    this.#timers.add(timer)
  }

  #findLeader(partition: PartitionFetch): void {
    partition.isWaiting = true
    this.#client.refresh(partition.topic).then(
      (info) => {
        partition.isWaiting = false
        if (info.partitions[partition.partition]?.address === undefined)
          this.#retryLater(partition, new TidemarkError('LEADER_NOT_AVAILABLE'))
        else this.schedule()
      },
      (caught: unknown) => {
        partition.isWaiting = false
        const error = TidemarkError.from(caught)
        if (this.#isClosed) return
        if (error.retriable) this.#retryLater(partition, error)
        else this.#events.failed(partition, error)
      },
    )
  }
}

interface NodeFetchEvents {
  answered(asked: Asked, result: PartitionFetchResultMessage): void
  lost(asked: Asked, error: TidemarkError): void
  /** An answer was worked off. */
  done(): void
}

/** The fetch stream to one node. */
class NodeFetch {
  readonly #client: ClusterClient
  readonly #address: string
  readonly #settings: FetcherSettings
  readonly #events: NodeFetchEvents
  readonly #open = new Map<number, Request>()
  #stream: MessageStream<FetchRequestMessage> | undefined
  #nextId = 1
  #watch: Timer | undefined

  constructor(client: ClusterClient, address: string, settings: FetcherSettings, events: NodeFetchEvents) {
    this.#client = client
    this.#address = address
    this.#settings = settings
    this.#events = events
  }

  ask(asked: readonly Asked[]): void {
    const { clock, random } = this.#client.runtime
    // Spread, so that a thousand idle consumers do not all come back in the same moment.
    const maxWaitMs = Math.round(this.#settings.maxWaitMs * (0.8 + random.float() * 0.2))
    const id = this.#nextId++
    this.#open.set(id, { asked, deadlineMs: clock.monotonic() + maxWaitMs + ANSWER_GRACE_MS })
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
          offset: partition.fetchOffset,
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
