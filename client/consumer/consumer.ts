/**
 * Reads partitions of topics, without a group: the application chooses where to start, and keeps its positions itself.
 *
 * Within a partition records come in order; partitions take turns, a batch each.
 */
import { type RecordView, readRecords } from '../../protocol/batch-reader.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { TopicPartition } from '../../protocol/ids.ts'
import { parseDuration, parseSize } from '../../protocol/units.ts'
import { createDeferred, type Deferred } from '../../runtime/deferred.ts'
import type { Timer } from '../../runtime/runtime.ts'
import type { ClusterClient } from '../cluster-client.ts'
import { cancelled } from '../retry.ts'
import { refOf, type TopicLike, type TopicRef } from '../topic.ts'
import type { ConsumerOptions, Message, PartitionLag } from '../types.ts'
import { Fetcher } from './fetcher.ts'
import { PartitionFetch } from './partition-fetch.ts'
import { askOffsets, EARLIEST, LATEST, startOffsets, toOffset } from './positions.ts'

/** How often the topics are looked at for new partitions, and the watchdog looks for progress. */
const WATCH_EVERY_MS = 10_000

/** Messages of one partition, in order. */
export interface MessageBatch<K, V> {
  readonly topic: string
  readonly partition: number
  readonly messages: readonly Message<K, V>[]
  readonly highWatermark: bigint
}

export type Handler<K, V> = (message: Message<K, V>, context: { readonly signal: AbortSignal }) => void | Promise<void>

export class Consumer<K, V> implements AsyncIterable<Message<K, V>>, AsyncDisposable {
  readonly #client: ClusterClient
  readonly #refs: ReadonlyMap<string, TopicRef<K, V>>
  readonly #options: ConsumerOptions
  readonly #stallTimeoutMs: number
  readonly #fetcher: Fetcher
  /** In the order in which they take turns. */
  #partitions: PartitionFetch[] = []
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
    checkOptions(options)
    const refs = (isMany(topics) ? topics : [topics]).map(refOf)
    this.#client = client
    this.#refs = new Map(refs.map((ref) => [ref.name, ref]))
    this.#options = options
    this.#stallTimeoutMs =
      options.stallTimeout === false ? Number.POSITIVE_INFINITY : parseDuration(options.stallTimeout ?? '5m', 'stallTimeout')
    const settings = {
      prefetchBytes: parseSize(options.prefetchBytes ?? '16MiB', 'prefetchBytes'),
      fetchBytes: parseSize(options.fetchBytes ?? '8MiB', 'fetchBytes'),
      maxWaitMs: parseDuration(options.maxWait ?? '60s', 'maxWait'),
      minBytes: parseSize(options.minBytes ?? 1, 'minBytes'),
    }
    this.#fetcher = new Fetcher(client, settings, {
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
    this.#fetcher.seek(this.#partitionOf(position), toOffset(position.offset))
  }

  /** Stops reading these partitions (default: all); what was read ahead of them is kept. */
  pause(partitions?: readonly TopicPartition[]): void {
    for (const partition of this.#selected(partitions)) partition.isPaused = true
  }

  resume(partitions?: readonly TopicPartition[]): void {
    for (const partition of this.#selected(partitions)) {
      partition.isPaused = false
      partition.progressMs = this.#client.runtime.clock.monotonic()
    }
    this.#fetcher.schedule()
    this.#arrived()
  }

  /** The next offset of each partition. */
  async positions(): Promise<{ readonly topic: string; readonly partition: number; readonly offset: bigint }[]> {
    await this.#start()
    return this.#partitions.map(({ topic, partition, position }) => ({ topic, partition, offset: BigInt(position) }))
  }

  /** How far behind each partition is, asked of the leaders. */
  async lag(options: { readonly signal?: AbortSignal } = {}): Promise<PartitionLag[]> {
    await this.#start()
    const partitions = [...this.#partitions]
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
    const { signal, start, end, partitions: chosen } = this.#options
    const wanted: TopicPartition[] = []
    for (const topic of this.#refs.keys()) {
      const info = await this.#client.topic(topic, { signal })
      const numbers = chosen ?? info.partitions.map((_, partition) => partition)
      const missing = numbers.find((partition) => info.partitions[partition] === undefined)
      if (missing !== undefined)
        throw new TidemarkError('UNKNOWN_PARTITION', `topic ${topic} has no partition ${missing}; it has ${info.partitions.length}`)
      wanted.push(...numbers.map((partition) => ({ topic, partition })))
    }
    const starts = await startOffsets(this.#client, wanted, start, signal)
    const ends = await this.#endOffsets(wanted, end ?? 'never', signal)
    wanted.forEach((one, index) => this.#add(one, starts[index] as number, ends[index] as number))
    this.#watchLoop()
  }

  async #endOffsets(
    wanted: readonly TopicPartition[],
    end: NonNullable<ConsumerOptions['end']>,
    signal: AbortSignal | undefined,
  ): Promise<number[]> {
    if (end === 'never') return wanted.map(() => Number.POSITIVE_INFINITY)
    if (end === 'now') return (await askOffsets(this.#client, wanted, LATEST, signal)).map((offset) => offset ?? 0)
    return wanted.map(({ topic, partition }) => toOffset(end.offset(topic, partition)))
  }

  #add({ topic, partition }: TopicPartition, position: number, endOffset: number): void {
    const fetch = new PartitionFetch(topic, partition, position, this.#client.runtime.clock.monotonic())
    fetch.endOffset = endOffset
    this.#partitions.push(fetch)
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
        const partition = this.#nextWithData()
        if (partition !== undefined) return await this.#take(partition)
        if (this.#partitions.every((one) => one.isAtEnd)) return undefined
        this.#arrival ??= createDeferred<void>()
        await this.#arrival.promise
      }
    } finally {
      this.#askingSinceMs = undefined
    }
  }

  /** Whose turn it is; it goes to the end of the line. */
  #nextWithData(): PartitionFetch | undefined {
    const at = this.#partitions.findIndex((partition) => partition.buffered.length > 0 && !partition.isPaused)
    if (at < 0) return undefined
    const [partition] = this.#partitions.splice(at, 1)
    if (partition !== undefined) this.#partitions.push(partition)
    return partition
  }

  async #take(partition: PartitionFetch): Promise<MessageBatch<K, V>> {
    const { topic, generation } = partition
    const batch = partition.buffered.shift()
    if (batch === undefined) throw new TidemarkError('INTERNAL', 'a partition with data has none')
    this.#fetcher.took(batch, partition)
    const ref = this.#refs.get(topic) as TopicRef<K, V>
    const records = await readRecords(batch.buffer, { checkCrc: this.#options.checkCrc ?? true })
    const messages: Message<K, V>[] = []
    for (const record of records) {
      if (record.offset < batch.from || record.offset >= partition.endOffset) continue
      const message = decode(ref, partition.partition, record)
      messages.push(message instanceof Promise ? await message : message)
    }
    if (generation !== partition.generation)
      return { topic, partition: partition.partition, messages: [], highWatermark: BigInt(partition.highWatermark) }
    this.#taken = { partition, generation }
    partition.position = Math.min((records.at(-1)?.offset ?? partition.position - 1) + 1, partition.endOffset)
    partition.progressMs = this.#client.runtime.clock.monotonic()
    return { topic, partition: partition.partition, messages, highWatermark: BigInt(partition.highWatermark) }
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
    const policy = this.#options.onOutOfRange ?? 'error'
    if (policy === 'error') {
      this.#fail(error)
      return
    }
    partition.isWaiting = true
    askOffsets(this.#client, [partition], policy === 'earliest' ? EARLIEST : LATEST, this.#options.signal).then(
      ([offset]) => {
        partition.isWaiting = false
        this.#fetcher.seek(partition, offset ?? 0)
      },
      (caught: unknown) => this.#fail(TidemarkError.from(caught)),
    )
  }

  #watchLoop(): void {
    if (this.#isClosed) return
    this.#watch = this.#client.runtime.timers.after(Math.min(WATCH_EVERY_MS, this.#stallTimeoutMs), () => {
      this.#checkProgress()
      void this.#lookForPartitions().finally(() => this.#watchLoop())
    })
  }

  /** There is something to read, the application asks for it, and nothing comes: say so instead of waiting for ever. */
  #checkProgress(): void {
    if (this.#askingSinceMs === undefined) return
    const nowMs = this.#client.runtime.clock.monotonic()
    for (const partition of this.#partitions) {
      const isBehind = partition.position < Math.min(partition.highWatermark, partition.endOffset) || partition.failureCount > 0
      if (!isBehind || partition.isPaused) partition.progressMs = nowMs
      if (nowMs - Math.max(partition.progressMs, this.#askingSinceMs) <= this.#stallTimeoutMs) continue
      this.#fail(
        new TidemarkError(
          'STALLED',
          `${partition.topic}-${partition.partition} stands at offset ${partition.position} of ${partition.highWatermark} and nothing came for ${this.#stallTimeoutMs} ms`,
        ),
      )
    }
  }

  /** A topic that grew is read whole. New partitions begin at their start: nobody can have read them. */
  async #lookForPartitions(): Promise<void> {
    if (this.#options.partitions !== undefined || (this.#options.end ?? 'never') !== 'never') return
    for (const topic of this.#refs.keys()) {
      try {
        const info = await this.#client.refresh(topic)
        const known = new Set(this.#partitions.filter((one) => one.topic === topic).map((one) => one.partition))
        for (const partition of info.partitions.keys())
          if (!known.has(partition)) this.#add({ topic, partition }, 0, Number.POSITIVE_INFINITY)
      } catch {
        // Fetching meets the same trouble and reports it.
      }
    }
  }

  #partitionOf({ topic, partition }: TopicPartition): PartitionFetch {
    const found = this.#partitions.find((one) => one.topic === topic && one.partition === partition)
    if (found === undefined) throw new TidemarkError('UNKNOWN_PARTITION', `this consumer does not read ${topic}-${partition}`)
    return found
  }

  #selected(partitions: readonly TopicPartition[] | undefined): readonly PartitionFetch[] {
    return partitions === undefined ? this.#partitions : partitions.map((one) => this.#partitionOf(one))
  }
}

function decode<K, V>(ref: TopicRef<K, V>, partition: number, record: RecordView): Message<K, V> | Promise<Message<K, V>> {
  const key = record.key === null ? null : ref.key.decode(record.key)
  const value = record.value === null ? null : ref.value.decode(record.value)
  const make = (decodedKey: K | null, decodedValue: V | null): Message<K, V> => ({
    topic: ref.name,
    partition,
    offset: BigInt(record.offset),
    timestamp: record.timestampMs,
    key: decodedKey,
    value: decodedValue,
    headers: record.headers.length === 0 ? NO_HEADERS : new Map(record.headers),
    raw: record.value,
  })
  if (key instanceof Promise || value instanceof Promise)
    return Promise.all([key, value]).then(([decodedKey, decodedValue]) => make(decodedKey, decodedValue))
  return make(key, value)
}

const NO_HEADERS: ReadonlyMap<string, Buffer | null> = new Map()
function isMany<T>(topics: T | readonly T[]): topics is readonly T[] {
  return Array.isArray(topics)
}

function checkOptions(options: ConsumerOptions): void {
  if (options?.start === undefined) throw new TidemarkError('USAGE', 'a consumer needs `start`: where to begin is never guessed')
  const bad = options.partitions?.find((partition) => !Number.isInteger(partition) || partition < 0)
  if (bad !== undefined) throw new TidemarkError('USAGE', `${bad} is not a partition`)
}
