/**
 * Sends records.
 *
 * Records are put into batches per partition as they come; a batch goes out at once when its partition has nothing
 * under way, and while something is under way the next one fills. So a single awaited send waits for nobody, and many
 * at once travel together.
 */
import type { HeaderEntry } from '../../protocol/batch-builder.ts'
import { BatchBuilder } from '../../protocol/batch-builder.ts'
import { BATCH_HEADER_BYTES } from '../../protocol/batch-header.ts'
import { type CompressionName, codecNumber, loadCodec } from '../../protocol/compression.ts'
import { fromErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { partitionForKey } from '../../protocol/partitioner.ts'
import { parseDuration, parseSize } from '../../protocol/units.ts'
import { createDeferred, type Deferred } from '../../runtime/deferred.ts'
import type { Timer } from '../../runtime/runtime.ts'
import type { ClusterClient, TopicInfo } from '../cluster-client.ts'
import { backoffMs, cancelled, pause, untilAborted } from '../retry.ts'
import { refOf, type TopicLike } from '../topic.ts'
import type { Acks, OutgoingRecord, ProducerOptions, Receipt } from '../types.ts'
import { type Identity, type OutBatch, PartitionQueue, type Settle } from './partition-queue.ts'
import { type SentBatch, Sender } from './sender.ts'

const NO_HEADERS: readonly HeaderEntry[] = []

/** How long `close` waits for what is under way. */
const CLOSE_TIMEOUT_MS = 10_000

/** How often waiting batches are checked against their delivery time-out, while there are some. */
const EXPIRY_CHECK_MS = 500

interface Encoded {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly HeaderEntry[]
  readonly timestampMs: number
  readonly partition: number | undefined
  readonly bufferedBytes: number
}

interface Settings {
  readonly acks: Acks
  readonly idempotent: boolean
  readonly lingerMs: number
  readonly batchBytes: number
  readonly bufferBytes: number
  readonly maxBlockMs: number
  readonly compression: CompressionName
  readonly deliveryTimeoutMs: number
  readonly requestTimeoutMs: number
}

/** A place in the line for room in the buffer. */
interface Place {
  readonly bytes: number
  readonly turn: Deferred<void>
}

export class Producer implements AsyncDisposable {
  readonly #client: ClusterClient
  readonly #settings: Settings
  readonly #onFailure: ProducerOptions['onFailure']
  readonly #queues = new Map<string, PartitionQueue[]>()
  /** Queues that hold something. */
  readonly #busy = new Set<PartitionQueue>()
  readonly #senders = new Map<string, Sender>()
  /** Where the next records without a key go, by topic. */
  readonly #sticky = new Map<string, { partition: number; order: number }>()
  #bufferedBytes = 0
  /** Of the record that `enqueue` had no room for: what `ready` waits for. */
  #refusedBytes = 1
  /** Who waits for room, first come first served. */
  #line: Place[] = []
  #idleWaiters: Deferred<void>[] = []
  #firstFailure: TidemarkError | undefined
  #producerId: Promise<number> | undefined
  #isDrainDue = false
  #timer: Timer | undefined
  #expiryTimer: Timer | undefined
  #codecReady: Promise<unknown> | undefined
  /** The topic that `enqueue` did not know yet. */
  #lookUp: Promise<void> | undefined
  #closing: Promise<void> | undefined

  constructor(client: ClusterClient, options: ProducerOptions = {}) {
    this.#client = client
    this.#settings = settingsOf(options)
    this.#onFailure = options.onFailure
    if (this.#settings.compression !== 'none')
      this.#codecReady = loadCodec(this.#settings.compression).finally(() => (this.#codecReady = undefined))
    this.#codecReady?.catch(() => {})
    client.closed.addEventListener('abort', () => void this.close().catch(() => {}), { once: true })
  }

  /** Bytes of records not yet acknowledged. */
  get bufferedBytes(): number {
    return this.#bufferedBytes
  }

  /** Sends a record; resolves when it is acknowledged. Rejects with why not; `outcome` says whether it may have been written all the same. */
  send<K, V>(topic: TopicLike<K, V>, record: OutgoingRecord<K, V>, options?: { readonly signal?: AbortSignal }): Promise<Receipt>
  /** Sends several records; resolves when all are acknowledged. */
  send<K, V>(
    topic: TopicLike<K, V>,
    records: readonly OutgoingRecord<K, V>[],
    options?: { readonly signal?: AbortSignal },
  ): Promise<Receipt[]>
  async send<K, V>(
    topic: TopicLike<K, V>,
    records: OutgoingRecord<K, V> | readonly OutgoingRecord<K, V>[],
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<Receipt | Receipt[]> {
    if (!isMany(records)) return this.#sendOne(topic, records, options.signal)
    return Promise.all(records.map((record) => this.#sendOne(topic, record, options.signal)))
  }

  /**
   * Takes a record without waiting for anything; false when the buffer is full or the topic is not known yet (await `ready` and offer it again).
   * What is not delivered is told to `onFailure` and to the next `flush`. For codecs that work synchronously.
   */
  enqueue<K, V>(topic: TopicLike<K, V>, record: OutgoingRecord<K, V>): boolean {
    this.#checkOpen()
    const ref = refOf(topic)
    const info = this.#client.knownTopic(ref.name)
    if (info === undefined || this.#codecReady !== undefined) {
      this.#lookUp = Promise.resolve(this.#client.topic(ref.name)).then(
        () => {},
        (error: unknown) => this.#failed(TidemarkError.from(error), ref.name, -1, 1),
      )
      return false
    }
    const key = record.key === undefined || record.key === null ? null : ref.key.encode(record.key)
    const value = record.value === null ? null : ref.value.encode(record.value)
    if (key instanceof Promise || value instanceof Promise)
      throw new TidemarkError('USAGE', 'enqueue needs codecs that work synchronously; use send')
    const encoded = this.#encoded(record, key, value)
    this.#checkSize(info, encoded)
    if (!this.#hasRoom(encoded.bufferedBytes)) {
      this.#refusedBytes = encoded.bufferedBytes
      return false
    }
    this.#append(info, encoded, undefined)
    return true
  }

  /** Resolves when there is room in the buffer, and the given topic, if any, is known. */
  async ready(options: { readonly topic?: string | { readonly name: string }; readonly signal?: AbortSignal } = {}): Promise<void> {
    await this.#codecReady
    await this.#lookUp
    if (options.topic !== undefined)
      await this.#client.topic(typeof options.topic === 'string' ? options.topic : options.topic.name, { signal: options.signal })
    if (!this.#hasRoom(this.#refusedBytes)) this.#leaveLine(await this.#room(this.#refusedBytes, options.signal))
  }

  /** Resolves when everything sent so far is acknowledged; rejects with the first failure of an enqueued record since the last call. */
  async flush(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    for (const queue of this.#busy) queue.closeOpen()
    this.#scheduleDrain()
    if (this.#busy.size > 0) {
      const idle = createDeferred<void>()
      this.#idleWaiters.push(idle)
      await untilAborted(idle.promise, options.signal)
    }
    const failure = this.#firstFailure
    this.#firstFailure = undefined
    if (failure !== undefined) throw failure
  }

  /** Sends what is left, for up to 10 s; what is not delivered by then fails. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #sendOne<K, V>(topic: TopicLike<K, V>, record: OutgoingRecord<K, V>, signal: AbortSignal | undefined): Promise<Receipt> {
    this.#checkOpen()
    if (signal?.aborted) throw cancelled(signal)
    const ref = refOf(topic)
    const known = this.#client.topic(ref.name, { signal })
    const info = known instanceof Promise ? await known : known
    if (this.#codecReady !== undefined) await this.#codecReady
    const key = record.key === undefined || record.key === null ? null : ref.key.encode(record.key)
    const value = record.value === null ? null : ref.value.encode(record.value)
    const encoded = this.#encoded(record, key instanceof Promise ? await key : key, value instanceof Promise ? await value : value)
    this.#checkSize(info, encoded)
    const place = this.#hasRoom(encoded.bufferedBytes) ? undefined : await this.#room(encoded.bufferedBytes, signal)
    this.#leaveLine(place)
    this.#checkOpen()
    const sent = new Promise<Receipt>((resolve, reject) => {
      const partition = this.#append(info, encoded, (error, offset) => {
        if (error === undefined) resolve({ topic: info.name, partition, offset: BigInt(offset) })
        else reject(error)
      })
    })
    return untilAborted(sent, signal)
  }

  #encoded<K, V>(record: OutgoingRecord<K, V>, key: Buffer | null, value: Buffer | null): Encoded {
    const headers =
      record.headers === undefined
        ? NO_HEADERS
        : Object.entries(record.headers).map(
            ([name, header]): HeaderEntry => [name, typeof header === 'string' ? Buffer.from(header) : header],
          )
    const timestampMs = record.timestamp ?? this.#client.runtime.clock.now()
    return {
      key,
      value,
      headers,
      timestampMs,
      partition: record.partition,
      bufferedBytes: BatchBuilder.sizeBoundBytes(key, value, headers),
    }
  }

  #checkSize(info: TopicInfo, record: Encoded): void {
    const bytes = record.bufferedBytes + BATCH_HEADER_BYTES
    if (bytes <= info.maxMessageBytes || this.#settings.compression !== 'none') return
    throw new TidemarkError(
      'RECORD_TOO_LARGE',
      `a record of about ${bytes} bytes is larger than max.message.bytes of ${info.name} (${info.maxMessageBytes})`,
      { outcome: 'failed' },
    )
  }

  /** Puts the record into its queue; returns the partition. */
  #append(info: TopicInfo, record: Encoded, settle: Settle | undefined): number {
    const partition = this.#partitionOf(info, record)
    const queue = this.#queueOf(info.name, partition)
    const batchBytes = Math.min(this.#settings.batchBytes, info.maxMessageBytes)
    this.#bufferedBytes += record.bufferedBytes
    queue.append(record, record.bufferedBytes, settle, batchBytes, this.#client.runtime.clock.monotonic())
    this.#busy.add(queue)
    this.#scheduleDrain()
    this.#watchExpiry()
    return partition
  }

  #partitionOf(info: TopicInfo, record: Encoded): number {
    const count = info.partitions.length
    if (record.partition !== undefined) {
      if (Number.isInteger(record.partition) && record.partition >= 0 && record.partition < count) return record.partition
      throw new TidemarkError('UNKNOWN_PARTITION', `topic ${info.name} has no partition ${record.partition}; it has ${count}`, {
        outcome: 'failed',
      })
    }
    if (record.key !== null) return partitionForKey(info.partitioner, record.key, count)
    return this.#stickyPartition(info.name, count)
  }

  /** Records without a key fill one batch, then go on with the next partition. */
  #stickyPartition(topic: string, count: number): number {
    let sticky = this.#sticky.get(topic)
    if (sticky === undefined) {
      sticky = { partition: Math.floor(this.#client.runtime.random.float() * count), order: -1 }
      this.#sticky.set(topic, sticky)
    }
    const open = this.#queueOf(topic, sticky.partition % count).open
    if (sticky.order >= 0 && open?.order !== sticky.order) {
      sticky.partition = (sticky.partition + 1) % count
      sticky.order = -1
    }
    const queue = this.#queueOf(topic, sticky.partition % count)
    if (sticky.order < 0) sticky.order = queue.open?.order ?? queue.nextOrder
    return queue.partition
  }

  #queueOf(topic: string, partition: number): PartitionQueue {
    let queues = this.#queues.get(topic)
    if (queues === undefined) {
      queues = []
      this.#queues.set(topic, queues)
    }
    let queue = queues[partition]
    if (queue === undefined) {
      queue = new PartitionQueue(topic, partition)
      queues[partition] = queue
    }
    return queue
  }

  /** Once this turn's records are all in their batches. */
  #scheduleDrain(): void {
    if (this.#isDrainDue) return
    this.#isDrainDue = true
    queueMicrotask(() => {
      this.#isDrainDue = false
      this.#drain()
    })
  }

  /** Sends every batch that may go, one request per node and round. */
  #drain(): void {
    const nowMs = this.#client.runtime.clock.monotonic()
    for (let isMore = true; isMore; ) {
      isMore = false
      const byNode = new Map<string, SentBatch[]>()
      for (const queue of this.#busy) {
        if (!queue.isSendable(nowMs, this.#settings.lingerMs)) continue
        const target = this.#targetOf(queue)
        if (target === undefined) continue
        const sent = { queue, batch: queue.take(this.#settings.compression), ...target }
        const group = byNode.get(target.address)
        if (group === undefined) byNode.set(target.address, [sent])
        else group.push(sent)
        isMore = true
      }
      for (const [address, sent] of byNode) this.#senderOf(address).send(sent)
    }
    this.#armLinger(nowMs)
  }

  /** Where the queue's batches go now; undefined while that is being found out. */
  #targetOf(queue: PartitionQueue): { address: string; topicId: Buffer; leaderEpoch: number } | undefined {
    if (this.#settings.idempotent && queue.identity === undefined) {
      this.#prepare(queue, async () => {
        queue.identity = await this.#newIdentity()
      })
      return undefined
    }
    const info = this.#client.knownTopic(queue.topic)
    const leader = info?.partitions[queue.partition]
    if (info !== undefined && leader?.address !== undefined)
      return { address: leader.address, topicId: info.topicId, leaderEpoch: leader.leaderEpoch }
    this.#prepare(queue, async () => {
      const fresh = await this.#client.refresh(queue.topic)
      if (fresh.partitions[queue.partition]?.address === undefined)
        throw new TidemarkError('LEADER_NOT_AVAILABLE', `${queue.topic}-${queue.partition} has no leader`)
    })
    return undefined
  }

  /** Does what must be done before the queue can send; tries until it works or its records expire. */
  #prepare(queue: PartitionQueue, work: () => Promise<void>): void {
    queue.isPaused = true
    work()
      .catch(async (caught: unknown) => {
        const error = TidemarkError.from(caught)
        if (!error.retriable) this.#failQueue(queue, error)
        else await this.#client.backoff(++queue.failureCount, error.retryAfterMs)
      })
      .catch((closed: unknown) => this.#failQueue(queue, TidemarkError.from(closed)))
      .finally(() => {
        queue.isPaused = false
        this.#scheduleDrain()
      })
  }

  /** All partitions share an id until one of them has to part with it. */
  async #newIdentity(isFresh = false): Promise<Identity> {
    if (isFresh) this.#producerId = undefined
    this.#producerId ??= this.#client.call('initProducer', {}).then(({ producerId }) => producerId)
    const promise = this.#producerId
    try {
      return { id: await promise, epoch: 0, nextSequence: 0, isKnown: false }
    } catch (error) {
      if (this.#producerId === promise) this.#producerId = undefined
      throw error
    }
  }

  #senderOf(address: string): Sender {
    let sender = this.#senders.get(address)
    if (sender === undefined) {
      sender = new Sender({
        client: this.#client,
        address,
        acks: this.#settings.acks,
        requestTimeoutMs: this.#settings.requestTimeoutMs,
        answered: (sent, error, baseOffset) => this.#answered(sent, error, baseOffset),
        fromDetail: (detail) => fromErrorDetail(detail),
      })
      this.#senders.set(address, sender)
    }
    return sender
  }

  #answered({ queue, batch }: SentBatch, error: TidemarkError | undefined, baseOffset: number): void {
    if (error === undefined) {
      queue.finish(batch)
      queue.failureCount = 0
      if (batch.identity !== undefined) batch.identity.isKnown = true
      this.#settle(queue, batch, undefined, this.#settings.acks === 'none' ? -1 : baseOffset)
    } else if (this.#isRetriable(queue, batch, error)) {
      this.#retry(queue, batch, error)
    } else if (error.code === 'OUT_OF_ORDER_SEQUENCE' || error.code === 'INVALID_PRODUCER_EPOCH') {
      // The node lost what it knew of us, with records it had not made durable. This batch is certainly not written: go on under another id.
      queue.putBack(batch)
      queue.isRecovering = true
      queue.needsFreshIdentity = true
    } else {
      queue.finish(batch)
      queue.isRecovering = true
      queue.gaps.push(batch)
      this.#settle(queue, batch, new TidemarkError(error.code, error.message, { cause: error, outcome: 'failed' }), -1)
    }
    if (queue.isRecovering && queue.inFlight.length === 0) this.#recover(queue)
    this.#scheduleDrain()
  }

  #isRetriable(queue: PartitionQueue, batch: OutBatch, error: TidemarkError): boolean {
    if (!this.#settings.idempotent && error.outcome !== 'failed' && error.code === 'REQUEST_TIMED_OUT') return false
    if (error.code === 'OUT_OF_ORDER_SEQUENCE') return queue.hasEarlierUnsettled(batch) || queue.gaps.length > 0
    return error.retriable
  }

  #retry(queue: PartitionQueue, batch: OutBatch, error: TidemarkError): void {
    queue.putBack(batch)
    queue.isRecovering = true
    queue.retryAfterMs = Math.max(queue.retryAfterMs, error.retryAfterMs ?? 0)
    if (error.code !== 'BUSY' && error.code !== 'DISK_FULL') this.#client.forget(queue.topic)
  }

  /** Everything that was in flight has been answered: put the queue in order and go on after a pause. */
  #recover(queue: PartitionQueue): void {
    queue.isRecovering = false
    for (const gap of queue.gaps.splice(0)) queue.closeGap(gap)
    if (queue.needsFreshIdentity) {
      queue.needsFreshIdentity = false
      queue.renewIdentity()
      this.#producerId = undefined
    }
    const { random, timers } = this.#client.runtime
    const waitMs = backoffMs(++queue.failureCount, random, queue.retryAfterMs)
    queue.retryAfterMs = 0
    if (queue.waiting.length === 0) return
    queue.isPaused = true
    pause(waitMs, timers, this.#client.closed)
      .catch((closed: unknown) => this.#failQueue(queue, TidemarkError.from(closed)))
      .finally(() => {
        queue.isPaused = false
        this.#scheduleDrain()
      })
  }

  #settle(queue: PartitionQueue, batch: OutBatch, error: TidemarkError | undefined, baseOffset: number): void {
    this.#bufferedBytes -= batch.bufferedBytes
    batch.bufferedBytes = 0
    batch.settle(error, baseOffset)
    if (error !== undefined) {
      const unheardCount = batch.settles.filter((settle) => settle === undefined).length
      if (unheardCount > 0) this.#failed(error, queue.topic, queue.partition, unheardCount)
    }
    if (queue.isIdle) this.#busy.delete(queue)
    this.#wakeWaiters()
  }

  #failed(error: TidemarkError, topic: string, partition: number, recordCount: number): void {
    this.#firstFailure ??= error
    this.#onFailure?.(error, { topic, partition, recordCount })
  }

  /** Fails everything of a queue that is not in flight. */
  #failQueue(queue: PartitionQueue, error: TidemarkError): void {
    queue.closeOpen()
    for (const batch of queue.waiting.splice(0)) {
      const outcome = batch.attemptCount > 0 ? 'indeterminate' : 'failed'
      this.#settle(queue, batch, new TidemarkError(error.code, error.message, { cause: error, outcome }), -1)
    }
    if (queue.isIdle) this.#busy.delete(queue)
    this.#wakeWaiters()
  }

  #wakeWaiters(): void {
    const [next] = this.#line
    if (next !== undefined && this.#fits(next.bytes)) next.turn.resolve()
    if (this.#busy.size > 0) return
    for (const idle of this.#idleWaiters.splice(0)) idle.resolve()
  }

  #hasRoom(bytes: number): boolean {
    return this.#line.length === 0 && this.#fits(bytes)
  }

  /** One record is always taken into an empty buffer, however large. */
  #fits(bytes: number): boolean {
    return this.#bufferedBytes === 0 || this.#bufferedBytes + bytes <= this.#settings.bufferBytes
  }

  /** Waits in line for room; whoever comes out of it must `leaveLine` in the turn in which it uses the room, so that records stay in order. */
  async #room(bytes: number, signal: AbortSignal | undefined): Promise<Place> {
    const place: Place = { bytes, turn: createDeferred<void>() }
    this.#line.push(place)
    const full = (): void =>
      place.turn.reject(
        new TidemarkError(
          'BUFFER_FULL',
          `the buffer of ${this.#settings.bufferBytes} bytes had no room for ${this.#settings.maxBlockMs} ms`,
          { outcome: 'failed' },
        ),
      )
    const timer = this.#client.runtime.timers.after(this.#settings.maxBlockMs, full)
    try {
      await untilAborted(place.turn.promise, signal)
      return place
    } catch (error) {
      this.#leaveLine(place)
      throw error
    } finally {
      timer.cancel()
    }
  }

  #leaveLine(place: Place | undefined): void {
    if (place === undefined) return
    this.#line = this.#line.filter((other) => other !== place)
    queueMicrotask(() => this.#wakeWaiters())
  }

  /** Wakes up when the oldest open batch has lingered long enough. */
  #armLinger(nowMs: number): void {
    if (this.#timer !== undefined || this.#settings.lingerMs === 0) return
    const openSinceMs = [...this.#busy].flatMap((queue) => (queue.open === undefined ? [] : [queue.open.createdMs]))
    if (openSinceMs.length === 0) return
    const dueMs = Math.min(...openSinceMs) + this.#settings.lingerMs
    this.#timer = this.#client.runtime.timers.after(Math.max(1, Math.ceil(dueMs - nowMs)), () => {
      this.#timer = undefined
      this.#drain()
    })
  }

  #watchExpiry(): void {
    this.#expiryTimer ??= this.#client.runtime.timers.after(EXPIRY_CHECK_MS, () => {
      this.#expiryTimer = undefined
      for (const queue of [...this.#busy]) this.#expire(queue)
      if (this.#busy.size > 0) this.#watchExpiry()
    })
  }

  /** Gives up on batches that are too old. Behind one whose fate is unknown, everything that was ever sent is given up too: sent again under a new id, it might be there twice. */
  #expire(queue: PartitionQueue): void {
    if (queue.inFlight.length > 0) return
    const bornBeforeMs = this.#client.runtime.clock.monotonic() - this.#settings.deliveryTimeoutMs
    const oldest = queue.waiting[0] ?? queue.open
    if (oldest === undefined || oldest.createdMs > bornBeforeMs) return
    queue.closeOpen()
    const isUnknown = queue.waiting.some((batch) => batch.createdMs <= bornBeforeMs && batch.attemptCount > 0)
    const given = queue.waiting.filter((batch) => batch.createdMs <= bornBeforeMs || (isUnknown && batch.attemptCount > 0))
    for (const batch of given) {
      queue.waiting.splice(queue.waiting.indexOf(batch), 1)
      const outcome = batch.attemptCount > 0 ? 'indeterminate' : 'failed'
      this.#settle(
        queue,
        batch,
        new TidemarkError('DELIVERY_TIMED_OUT', `not acknowledged within ${this.#settings.deliveryTimeoutMs} ms`, { outcome }),
        -1,
      )
    }
    if (isUnknown) {
      queue.renewIdentity()
      this.#producerId = undefined
    }
  }

  #checkOpen(): void {
    if (this.#closing !== undefined || this.#client.closed.aborted)
      throw new TidemarkError('CLOSED', 'the producer is closed', { outcome: 'failed' })
  }

  async #close(): Promise<void> {
    const timeout = new AbortController()
    const timer = this.#client.runtime.timers.after(CLOSE_TIMEOUT_MS, () => timeout.abort())
    try {
      if (!this.#client.closed.aborted) await this.flush({ signal: timeout.signal })
    } catch (error) {
      // Failures were told where the records were given; only those nobody waits for are left to report here.
      if (TidemarkError.is(error) && error.code !== 'CANCELLED') throw error
    } finally {
      timer.cancel()
      this.#timer?.cancel()
      this.#expiryTimer?.cancel()
      for (const sender of this.#senders.values()) sender.close()
      for (const queue of [...this.#busy]) {
        for (const batch of queue.inFlight.splice(0)) queue.waiting.unshift(batch)
        this.#failQueue(queue, new TidemarkError('CLOSED', 'the producer was closed before the record was acknowledged'))
      }
      for (const place of this.#line.splice(0))
        place.turn.reject(new TidemarkError('CLOSED', 'the producer is closed', { outcome: 'failed' }))
    }
  }
}

function isMany<T>(records: T | readonly T[]): records is readonly T[] {
  return Array.isArray(records)
}

function settingsOf(options: ProducerOptions): Settings {
  const acks = options.acks ?? 'all'
  if (acks !== 'all' && acks !== 'leader' && acks !== 'none')
    throw new TidemarkError('INVALID_ACKS', `acks is ${JSON.stringify(acks)}, expected all, leader or none`)
  const idempotent = options.idempotent ?? acks === 'all'
  if (idempotent && acks !== 'all') throw new TidemarkError('USAGE', `an idempotent producer needs acks all, not ${acks}`)
  const compression = options.compression ?? 'none'
  codecNumber(compression)
  return {
    acks,
    idempotent,
    lingerMs: parseDuration(options.linger ?? 0, 'linger'),
    batchBytes: parseSize(options.batchBytes ?? '256KiB', 'batchBytes'),
    bufferBytes: parseSize(options.bufferBytes ?? '32MiB', 'bufferBytes'),
    maxBlockMs: parseDuration(options.maxBlock ?? '60s', 'maxBlock'),
    compression,
    deliveryTimeoutMs: parseDuration(options.deliveryTimeout ?? '2m', 'deliveryTimeout'),
    requestTimeoutMs: parseDuration(options.requestTimeout ?? '30s', 'requestTimeout'),
  }
}
