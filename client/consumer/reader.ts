/**
 * The partitions that are read at the moment, and what came of them: what consumers with and without a group have in common.
 *
 * Within a partition records come in order; partitions take turns, a batch each. Partitions may be added and removed at any time.
 */
import { readLastOffset, readLeaderEpoch } from '../../protocol/batch-header.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { TopicPartition } from '../../protocol/ids.ts'
import { createDeferred, type Deferred } from '../../runtime/deferred.ts'
import type { ClusterClient } from '../cluster-client.ts'
import { cancelled } from '../retry.ts'
import type { TopicRef } from '../topic.ts'
import type { PartitionPosition } from '../types.ts'
import { Fetcher } from './fetcher.ts'
import { decodeBatch, type MessageBatch } from './messages.ts'
import type { PartitionFetch } from './partition-fetch.ts'
import { askOffsets, EARLIEST, LATEST, toOffset } from './positions.ts'
import { findStalled } from './progress.ts'
import type { ConsumerSettings } from './settings.ts'
import { Turns } from './turns.ts'

/** A batch and where it came from, as it was then. */
export interface Taken<K, V> {
  readonly partition: PartitionFetch
  readonly generation: number
  readonly batch: MessageBatch<K, V>
  /** Where the partition goes on behind it. Where records were compacted away that is further than its last record. */
  readonly nextOffset: number
  readonly leaderEpoch: number
}

export interface ReaderOptions<K, V> {
  readonly refOf: (topic: string) => TopicRef<K, V>
  readonly settings: ConsumerSettings
  readonly signal: AbortSignal | undefined
  /** Without: a partition that cannot be read fails the reader. */
  readonly failed?: (partition: PartitionFetch, error: TidemarkError) => void
}

export class Reader<K, V> {
  readonly turns: Turns = new Turns()
  readonly #client: ClusterClient
  readonly #options: ReaderOptions<K, V>
  readonly #fetcher: Fetcher
  #arrival: Deferred<void> | undefined
  #failure: TidemarkError | undefined
  #isClosed = false
  /** Since when the application waits for more; undefined while it does not. */
  #askingSinceMs: number | undefined

  constructor(client: ClusterClient, options: ReaderOptions<K, V>) {
    this.#client = client
    this.#options = options
    this.#fetcher = new Fetcher(client, options.settings, {
      arrived: () => this.wake(),
      outOfRange: (partition, error) => this.#outOfRange(partition, error),
      failed: (partition, error) => {
        if (options.failed !== undefined) options.failed(partition, error)
        else this.fail(new TidemarkError(error.code, `${partition.topic}-${partition.partition}: ${error.message}`, { cause: error }))
      },
    })
    options.signal?.addEventListener('abort', () => this.fail(cancelled(options.signal)), { once: true })
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  get failure(): TidemarkError | undefined {
    return this.#failure
  }

  add(partition: PartitionFetch): void {
    this.turns.add(partition)
    this.#fetcher.add(partition)
  }

  /** What was read ahead of it is dropped, and what was taken of it counts no more. */
  remove(partition: PartitionFetch): void {
    this.turns.remove(partition)
    this.#fetcher.remove(partition)
  }

  /** The next batch, of a partition that is wanted; undefined once it is closed, or `isDone` with nothing left to take. Throws what cannot be mended. */
  async next(isDone: () => boolean, isWanted: (partition: PartitionFetch) => boolean = () => true): Promise<Taken<K, V> | undefined> {
    this.#askingSinceMs = this.#client.runtime.clock.monotonic()
    try {
      for (;;) {
        if (this.#failure !== undefined) throw this.#failure
        if (this.#isClosed) return undefined
        const partition = this.turns.next(isWanted)
        if (partition !== undefined) return await this.#take(partition)
        if (isDone()) return undefined
        this.#arrival ??= createDeferred<void>()
        await this.#arrival.promise
      }
    } finally {
      this.#askingSinceMs = undefined
    }
  }

  /** A seek, a stop and the loss of a partition count at once, not at the end of the batch. */
  isCurrent({ partition, generation }: Taken<K, V>): boolean {
    return !this.#isClosed && partition.generation === generation
  }

  /** Whoever waits looks again. */
  wake(): void {
    const arrival = this.#arrival
    this.#arrival = undefined
    arrival?.resolve()
  }

  /** The next to ask for a batch is told, and everyone after. */
  fail(error: TidemarkError): void {
    this.#failure ??= error
    this.wake()
  }

  /** Goes on from `offset`: what was read ahead is dropped. Throws `UNKNOWN_PARTITION`, `USAGE`. */
  seek({ topic, partition, offset }: PartitionPosition): void {
    const found = this.turns.find({ topic, partition })
    this.#fetcher.seek(found, toOffset(offset))
    found.deliveredOffset = 0
  }

  pause(partitions?: readonly TopicPartition[]): void {
    for (const partition of this.turns.select(partitions)) partition.isPaused = true
  }

  resume(partitions?: readonly TopicPartition[]): void {
    for (const partition of this.turns.select(partitions)) {
      partition.isPaused = false
      partition.progressMs = this.#client.runtime.clock.monotonic()
    }
    this.#fetcher.schedule()
    this.wake()
  }

  positions(): PartitionPosition[] {
    return this.turns.all.map(({ topic, partition, position }) => ({ topic, partition, offset: BigInt(position) }))
  }

  /** The partition that is behind and gets nothing although the application asks, as an error. */
  stalled(): TidemarkError | undefined {
    const nowMs = this.#client.runtime.clock.monotonic()
    const { stallTimeoutMs } = this.#options.settings
    return findStalled(this.turns.all, { nowMs, askingSinceMs: this.#askingSinceMs ?? nowMs, stallTimeoutMs })
  }

  /** A leader that moved is followed, though the node that led before has fallen silent and says nothing of it. */
  followLeaders(): void {
    this.#fetcher.followLeaders()
  }

  close(): void {
    this.#isClosed = true
    this.#fetcher.close()
    this.wake()
  }

  async #take(partition: PartitionFetch): Promise<Taken<K, V>> {
    const { topic, generation } = partition
    const raw = partition.buffered.shift()
    if (raw === undefined) throw new TidemarkError('INTERNAL', 'a partition with data has none')
    this.#fetcher.took(raw, partition)
    const { checkCrc } = this.#options.settings
    const ref = this.#options.refOf(topic)
    const range = { from: raw.from, end: partition.endOffset, checkCrc }
    const decoding = decodeBatch(ref, partition.partition, raw.buffer, range)
    const messages = await decoding.catch((error: unknown) => this.#fetcher.askAgain(partition, generation, raw.from, error))
    const nextOffset = Math.min(readLastOffset(raw.buffer) + 1, partition.endOffset)
    const isCurrent = generation === partition.generation
    if (isCurrent) {
      // Where records were compacted away the batch reaches further than its last record.
      partition.took(readLastOffset(raw.buffer))
      partition.progressMs = this.#client.runtime.clock.monotonic()
    }
    const highWatermark = BigInt(partition.highWatermark)
    const batch = { topic, partition: partition.partition, messages: isCurrent ? messages : [], highWatermark }
    return { partition, generation, batch, nextOffset, leaderEpoch: readLeaderEpoch(raw.buffer) }
  }

  #outOfRange(partition: PartitionFetch, error: TidemarkError): void {
    const policy = this.#options.settings.onOutOfRange
    if (policy === 'error') {
      this.fail(error)
      return
    }
    const { generation } = partition
    partition.isWaiting = true
    askOffsets(this.#client, [partition], policy === 'earliest' ? EARLIEST : LATEST, this.#options.signal).then(
      ([offset = 0]) => {
        partition.isWaiting = false
        if (generation !== partition.generation) this.#fetcher.schedule()
        // The log ends before what was read already: it lost records. To go on there would be to go back.
        else if (offset < partition.deliveredOffset) this.fail(error)
        else this.#fetcher.seek(partition, offset)
      },
      (caught: unknown) => this.fail(TidemarkError.from(caught)),
    )
  }
}
