/**
 * Reads partitions of topics, without a group: the application chooses where to start, and keeps its positions itself.
 *
 * Within a partition records come in order; partitions take turns, a batch each.
 */
import { readLastOffset } from '../../protocol/batch-header.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { TopicPartition } from '../../protocol/ids.ts'
import { createDeferred, type Deferred } from '../../runtime/deferred.ts'
import type { Timer } from '../../runtime/runtime.ts'
import type { ClusterClient } from '../cluster-client.ts'
import { cancelled } from '../retry.ts'
import { refOf, type TopicLike, type TopicRef } from '../topic.ts'
import type { ConsumerOptions, Message, PartitionLag } from '../types.ts'
import { Fetcher } from './fetcher.ts'
import { decodeBatch, type MessageBatch } from './messages.ts'
import { PartitionFetch } from './partition-fetch.ts'
import { planReading, type Span } from './plan.ts'
import { askOffsets, EARLIEST, LATEST, toOffset } from './positions.ts'
import { findStalled } from './progress.ts'
import { type ConsumerSettings, consumerSettings } from './settings.ts'
import { Turns } from './turns.ts'

/** How often the topics are looked at for new partitions, and the watchdog looks for progress. */
const WATCH_EVERY_MS = 10_000

export type { MessageBatch } from './messages.ts'

export type Handler<K, V> = (message: Message<K, V>, context: { readonly signal: AbortSignal }) => void | Promise<void>

export class Consumer<K, V> implements AsyncIterable<Message<K, V>>, AsyncDisposable {
  readonly #client: ClusterClient
  readonly #refs: ReadonlyMap<string, TopicRef<K, V>>
  readonly #options: ConsumerOptions
  readonly #settings: ConsumerSettings
  readonly #fetcher: Fetcher
  readonly #turns = new Turns()
  #started: Promise<void> | undefined
  #watch: Timer | undefined
  #arrival: Deferred<void> | undefined
  /** Where the last batch came from, as it was then. */
  #taken: { readonly partition: PartitionFetch; readonly generation: number } | undefined
  #failure: TidemarkError | undefined
  #isClosed = false
  /** Since when the application waits for more; undefined while it does not. */
  #askingSinceMs: number | undefined

  constructor(client: ClusterClient, topics: TopicLike<K, V> | readonly TopicLike<K, V>[], options: ConsumerOptions) {
    const refs = (isMany(topics) ? topics : [topics]).map(refOf)
    this.#client = client
    this.#refs = new Map(refs.map((ref) => [ref.name, ref]))
    this.#options = options
    this.#settings = consumerSettings(options)
    this.#fetcher = new Fetcher(client, this.#settings, {
      arrived: () => this.#arrived(),
      outOfRange: (partition, error) => this.#outOfRange(partition, error),
      failed: (partition, error) =>
        this.#fail(new TidemarkError(error.code, `${partition.topic}-${partition.partition}: ${error.message}`, { cause: error })),
    })
    options.signal?.addEventListener('abort', () => this.#fail(cancelled(options.signal)), { once: true })
    client.closed.addEventListener('abort', () => this.#fail(new TidemarkError('CLOSED', 'the client was closed')), { once: true })
  }

  /** One message after the other. Ends at the end position; throws what cannot be mended. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Message<K, V>, void, undefined> {
    for await (const batch of this.batches()) {
      const taken = this.#taken
      for (const message of batch.messages) {
        // A seek or a stop counts at once, not at the end of the batch.
        if (this.#isClosed || taken?.partition.generation !== taken?.generation) break
        yield message
      }
    }
  }

  /** Messages in the portions in which they were stored: the quickest way to read. */
  async *batches(): AsyncGenerator<MessageBatch<K, V>, void, undefined> {
    try {
      for (;;) {
        const batch = await this.#next()
        if (batch === undefined) return
        if (batch.messages.length > 0) yield batch
      }
    } finally {
      await this.close()
    }
  }

  /** Calls `handler` for each message, one after the other. Resolves at the end position or when `signal` or `close` ends it, rejects when the handler or reading fails. */
  async run(handler: Handler<K, V>, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const signal = options.signal ?? this.#options.signal ?? this.#client.closed
    const stop = (): void => void this.close()
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop, { once: true })
    try {
      for await (const message of this) await handler(message, { signal })
    } catch (error) {
      if (!(signal.aborted && TidemarkError.is(error) && (error.code === 'CANCELLED' || error.code === 'CLOSED'))) throw error
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }

  /** The messages as a web stream. */
  readable(): ReadableStream<Message<K, V>> {
    const iterator = this[Symbol.asyncIterator]()
    return new ReadableStream<Message<K, V>>(
      {
        async pull(controller) {
          const { done, value } = await iterator.next()
          if (done) controller.close()
          else controller.enqueue(value)
        },
        cancel: () => this.close(),
      },
      { highWaterMark: 0 },
    )
  }

  /** Goes on from `offset`: what was read ahead is dropped. */
  async seek(position: { readonly topic: string; readonly partition: number; readonly offset: bigint }): Promise<void> {
    await this.#start()
    const partition = this.#turns.find(position)
    this.#fetcher.seek(partition, toOffset(position.offset))
    partition.deliveredOffset = 0
  }

  /** Stops reading these partitions (default: all); what was read ahead of them is kept. */
  pause(partitions?: readonly TopicPartition[]): void {
    for (const partition of this.#turns.select(partitions)) partition.isPaused = true
  }

  resume(partitions?: readonly TopicPartition[]): void {
    for (const partition of this.#turns.select(partitions)) {
      partition.isPaused = false
      partition.progressMs = this.#client.runtime.clock.monotonic()
    }
    this.#fetcher.schedule()
    this.#arrived()
  }

  /** The next offset of each partition. */
  async positions(): Promise<{ readonly topic: string; readonly partition: number; readonly offset: bigint }[]> {
    await this.#start()
    return this.#turns.all.map(({ topic, partition, position }) => ({ topic, partition, offset: BigInt(position) }))
  }

  /** How far behind each partition is, asked of the leaders. */
  async lag(options: { readonly signal?: AbortSignal } = {}): Promise<PartitionLag[]> {
    await this.#start()
    const partitions = [...this.#turns.all]
    const ends = await askOffsets(this.#client, partitions, LATEST, options.signal)
    return partitions.map(({ topic, partition, position }, index) => {
      const highWatermark = ends[index] ?? 0
      return {
        topic,
        partition,
        position: BigInt(position),
        highWatermark: BigInt(highWatermark),
        lag: BigInt(Math.max(0, highWatermark - position)),
      }
    })
  }

  /** Stops. The iterator ends. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#watch?.cancel()
    this.#fetcher.close()
    this.#arrived()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #start(): Promise<void> {
    this.#started ??= this.#begin()
    return this.#started
  }

  async #begin(): Promise<void> {
    for (const span of await planReading(this.#client, this.#refs.keys(), this.#options)) this.#add(span)
    this.#watchLoop()
  }

  #add({ topic, partition, start, end }: Span): void {
    const fetch = new PartitionFetch(topic, partition, start, this.#client.runtime.clock.monotonic())
    fetch.endOffset = end
    this.#turns.add(fetch)
    this.#fetcher.add(fetch)
  }

  /** The next batch, or undefined at the end. */
  async #next(): Promise<MessageBatch<K, V> | undefined> {
    await this.#start()
    this.#askingSinceMs = this.#client.runtime.clock.monotonic()
    try {
      for (;;) {
        if (this.#failure !== undefined) throw this.#failure
        if (this.#isClosed) return undefined
        const partition = this.#turns.next()
        if (partition !== undefined) return await this.#take(partition)
        if (this.#turns.all.every((one) => one.isAtEnd)) return undefined
        this.#arrival ??= createDeferred<void>()
        await this.#arrival.promise
      }
    } finally {
      this.#askingSinceMs = undefined
    }
  }

  async #take(partition: PartitionFetch): Promise<MessageBatch<K, V>> {
    const { topic, generation } = partition
    const batch = partition.buffered.shift()
    if (batch === undefined) throw new TidemarkError('INTERNAL', 'a partition with data has none')
    this.#fetcher.took(batch, partition)
    const ref = this.#refs.get(topic) as TopicRef<K, V>
    const { checkCrc } = this.#settings
    const messages = await decodeBatch(ref, partition.partition, batch.buffer, { from: batch.from, end: partition.endOffset, checkCrc })
    const highWatermark = BigInt(partition.highWatermark)
    if (generation !== partition.generation) return { topic, partition: partition.partition, messages: [], highWatermark }
    this.#taken = { partition, generation }
    // Where records were compacted away the batch reaches further than its last record.
    partition.took(readLastOffset(batch.buffer))
    partition.progressMs = this.#client.runtime.clock.monotonic()
    return { topic, partition: partition.partition, messages, highWatermark }
  }

  #arrived(): void {
    const arrival = this.#arrival
    this.#arrival = undefined
    arrival?.resolve()
  }

  #fail(error: TidemarkError): void {
    this.#failure ??= error
    this.#arrived()
  }

  #outOfRange(partition: PartitionFetch, error: TidemarkError): void {
    const policy = this.#settings.onOutOfRange
    if (policy === 'error') {
      this.#fail(error)
      return
    }
    const { generation } = partition
    partition.isWaiting = true
    askOffsets(this.#client, [partition], policy === 'earliest' ? EARLIEST : LATEST, this.#options.signal).then(
      ([offset = 0]) => {
        partition.isWaiting = false
        if (generation !== partition.generation) this.#fetcher.schedule()
        // The log ends before what was read already: it lost records. To go on there would be to go back.
        else if (offset < partition.deliveredOffset) this.#fail(error)
        else this.#fetcher.seek(partition, offset)
      },
      (caught: unknown) => this.#fail(TidemarkError.from(caught)),
    )
  }

  #watchLoop(): void {
    if (this.#isClosed) return
    const { stallTimeoutMs } = this.#settings
    const { clock, timers } = this.#client.runtime
    this.#watch = timers.after(Math.min(WATCH_EVERY_MS, stallTimeoutMs), () => {
      const times = { nowMs: clock.monotonic(), askingSinceMs: this.#askingSinceMs ?? clock.monotonic(), stallTimeoutMs }
      const stalled = findStalled(this.#turns.all, times)
      if (stalled !== undefined) this.#fail(stalled)
      void this.#lookAtTopics().finally(() => this.#watchLoop())
    })
  }

  /**
   * A topic that grew is read whole: new partitions begin at their start, nobody can have read them. And a leader that moved is followed, though the node
   * that led before has fallen silent and says nothing of it.
   */
  async #lookAtTopics(): Promise<void> {
    const isFixed = this.#options.partitions !== undefined || (this.#options.end ?? 'never') !== 'never'
    await Promise.allSettled(
      [...this.#refs.keys()].map(async (topic) => {
        // When it fails: fetching meets the same trouble and reports it.
        const info = await this.#client.refresh(topic)
        if (isFixed || this.#isClosed) return
        for (const partition of info.partitions.keys())
          if (!this.#turns.has(topic, partition)) this.#add({ topic, partition, start: 0, end: Number.POSITIVE_INFINITY })
      }),
    )
    this.#fetcher.followLeaders()
  }
}

function isMany<T>(topics: T | readonly T[]): topics is readonly T[] {
  return Array.isArray(topics)
}
