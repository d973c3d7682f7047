/**
 * Reads partitions of topics, without a group: the application chooses where to start, and keeps its positions itself.
 */
import { TidemarkError } from '../../protocol/errors.ts'
import type { TopicPartition } from '../../protocol/ids.ts'
import type { Timer } from '../../runtime/runtime.ts'
import type { ClusterClient } from '../cluster-client.ts'
import { refOf, type TopicLike, type TopicRef } from '../topic.ts'
import type { ConsumerOptions, Message, PartitionLag, PartitionPosition } from '../types.ts'
import { streamOf } from './message-stream.ts'
import type { MessageBatch } from './messages.ts'
import { PartitionFetch } from './partition-fetch.ts'
import { planReading, type Span } from './plan.ts'
import { askOffsets, LATEST } from './positions.ts'
import { Reader, type Taken } from './reader.ts'
import { type ConsumerSettings, consumerSettings } from './settings.ts'

/** How often the topics are looked at for new partitions, and the watchdog looks for progress. */
export const WATCH_EVERY_MS = 10_000

export type { MessageBatch } from './messages.ts'

export type Handler<K, V> = (message: Message<K, V>, context: { readonly signal: AbortSignal }) => void | Promise<void>

export class Consumer<K, V> implements AsyncIterable<Message<K, V>>, AsyncDisposable {
  readonly #client: ClusterClient
  readonly #refs: ReadonlyMap<string, TopicRef<K, V>>
  readonly #options: ConsumerOptions
  readonly #settings: ConsumerSettings
  readonly #reader: Reader<K, V>
  #started: Promise<void> | undefined
  #watch: Timer | undefined

  constructor(client: ClusterClient, topics: TopicLike<K, V> | readonly TopicLike<K, V>[], options: ConsumerOptions) {
    this.#client = client
    this.#refs = refsOf(topics)
    this.#options = options
    this.#settings = consumerSettings(options)
    this.#reader = new Reader(client, {
      refOf: (topic) => this.#refs.get(topic) as TopicRef<K, V>,
      settings: this.#settings,
      signal: options.signal,
    })
    client.closed.addEventListener('abort', () => this.#reader.fail(new TidemarkError('CLOSED', 'the client was closed')), { once: true })
  }

  /** One message after the other. Ends at the end position; throws what cannot be mended. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Message<K, V>, void, undefined> {
    for await (const taken of this.#batches()) {
      for (const message of taken.batch.messages) {
        if (!this.#reader.isCurrent(taken)) break
        yield message
      }
    }
  }

  /** Messages in the portions in which they were stored: the quickest way to read. */
  async *batches(): AsyncGenerator<MessageBatch<K, V>, void, undefined> {
    for await (const { batch } of this.#batches()) if (batch.messages.length > 0) yield batch
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
    return streamOf(this[Symbol.asyncIterator](), () => this.close())
  }

  /** Goes on from `offset`: what was read ahead is dropped. */
  async seek(position: PartitionPosition): Promise<void> {
    await this.#start()
    this.#reader.seek(position)
  }

  /** Stops reading these partitions (default: all); what was read ahead of them is kept. */
  pause(partitions?: readonly TopicPartition[]): void {
    this.#reader.pause(partitions)
  }

  resume(partitions?: readonly TopicPartition[]): void {
    this.#reader.resume(partitions)
  }

  /** The next offset of each partition. */
  async positions(): Promise<PartitionPosition[]> {
    await this.#start()
    return this.#reader.positions()
  }

  /** How far behind each partition is, asked of the leaders. */
  async lag(options: { readonly signal?: AbortSignal } = {}): Promise<PartitionLag[]> {
    await this.#start()
    const partitions = [...this.#reader.turns.all]
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
    if (this.#reader.isClosed) return
    this.#watch?.cancel()
    this.#reader.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async *#batches(): AsyncGenerator<Taken<K, V>, void, undefined> {
    try {
      await this.#start()
      for (;;) {
        const taken = await this.#reader.next(() => this.#reader.turns.all.every((one) => one.isAtEnd))
        if (taken === undefined) return
        yield taken
      }
    } finally {
      await this.close()
    }
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
    this.#reader.add(fetch)
  }

  #watchLoop(): void {
    if (this.#reader.isClosed) return
    this.#watch = this.#client.runtime.timers.after(Math.min(WATCH_EVERY_MS, this.#settings.stallTimeoutMs), () => {
      const stalled = this.#reader.stalled()
      if (stalled !== undefined) this.#reader.fail(stalled)
      void this.#lookAtTopics().finally(() => this.#watchLoop())
    })
  }

  /** A topic that grew is read whole: new partitions begin at their start, nobody can have read them. */
  async #lookAtTopics(): Promise<void> {
    const isFixed = this.#options.partitions !== undefined || (this.#options.end ?? 'never') !== 'never'
    await Promise.allSettled(
      [...this.#refs.keys()].map(async (topic) => {
        // When it fails: fetching meets the same trouble and reports it.
        const info = await this.#client.refresh(topic)
        if (isFixed || this.#reader.isClosed) return
        for (const partition of info.partitions.keys())
          if (!this.#reader.turns.has(topic, partition)) this.#add({ topic, partition, start: 0, end: Number.POSITIVE_INFINITY })
      }),
    )
    this.#reader.followLeaders()
  }
}

/** Topics by their names. */
export function refsOf<K, V>(topics: TopicLike<K, V> | readonly TopicLike<K, V>[]): ReadonlyMap<string, TopicRef<K, V>> {
  return new Map((isMany(topics) ? topics : [topics]).map(refOf).map((ref) => [ref.name, ref]))
}

function isMany<T>(topics: T | readonly T[]): topics is readonly T[] {
  return Array.isArray(topics)
}
