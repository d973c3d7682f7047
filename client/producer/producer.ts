/**
 * Sends records.
 *
 * Records are put into batches per partition as they come; a batch goes out at once when its partition has nothing
 * under way, and while something is under way the next one fills. So a single awaited send waits for nobody, and many
 * at once travel together. This file takes records in, in order; `delivery.ts` brings the batches to the nodes.
 */
import { loadCodec } from '../../protocol/compression.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { ClusterClient, TopicInfo } from '../cluster-client.ts'
import { cancelled, untilAborted } from '../retry.ts'
import { refOf, type TopicLike, type TopicRef } from '../topic.ts'
import type { OutgoingRecord, ProducerOptions, Receipt } from '../types.ts'
import { BatchBuffers } from './batch-buffers.ts'
import { Delivery } from './delivery.ts'
import { Flushes } from './flushes.ts'
import { PartitionChoice, checkPartition } from './partition-choice.ts'
import { PartitionQueue } from './partition-queue.ts'
import { checkRecordSize, type EncodedRecord, encodeRecord, withOwnBytes } from './record-encoding.ts'
import { SendBuffer } from './send-buffer.ts'
import { SendGroup } from './send-group.ts'
import { type ProducerSettings, producerSettings } from './settings.ts'

/** How long `close` waits for what is under way. */
const CLOSE_TIMEOUT_MS = 10_000

export class Producer implements AsyncDisposable {
  readonly #client: ClusterClient
  readonly #settings: ProducerSettings
  readonly #onFailure: ProducerOptions['onFailure']
  readonly #buffer: SendBuffer
  readonly #delivery: Delivery
  readonly #choice: PartitionChoice
  readonly #queues = new Map<string, PartitionQueue[]>()
  readonly #buffers = new BatchBuffers()
  /** By topic, the last of the sends that still wait for something before they are in a batch. Later ones go behind it. */
  readonly #doors = new Map<string, Promise<void>>()
  /** Sends of which something is not in a batch yet. */
  readonly #outside = new Set<SendGroup>()
  readonly #flushes = new Flushes()
  /** What the last `enqueue` that said false needs, for `ready` to wait for. */
  #refused: { readonly topic: string | undefined; readonly bytes: number } = { topic: undefined, bytes: 1 }
  #firstFailure: TidemarkError | undefined
  #codecReady: Promise<unknown> | undefined
  #closing: Promise<void> | undefined
  /** Set when nothing more may get into a batch. */
  #isSealed = false
  readonly #clientClosed = (): void => void this.close().catch(() => {})

  constructor(client: ClusterClient, options: ProducerOptions = {}) {
    this.#client = client
    this.#settings = producerSettings(options)
    this.#onFailure = options.onFailure
    const { bufferBytes, maxBlockMs, compression } = this.#settings
    this.#buffer = new SendBuffer(bufferBytes, maxBlockMs, client.runtime.timers)
    this.#choice = new PartitionChoice(client.runtime.random, (topic, partition) => this.#queueOf(topic, partition))
    this.#delivery = new Delivery(client, this.#settings, {
      settled: (queue, batch) => {
        this.#buffer.release(batch.bufferedBytes)
        this.#flushes.progressed(queue)
      },
      lost: (error, batch, recordCount) => this.#lost(error, batch.topic, batch.partition, recordCount),
    })
    if (compression !== 'none') this.#codecReady = loadCodec(compression).finally(() => (this.#codecReady = undefined))
    this.#codecReady?.catch(() => {})
    client.closed.addEventListener('abort', this.#clientClosed, { once: true })
  }

  /** Bytes of records not yet acknowledged. */
  get bufferedBytes(): number {
    return this.#buffer.usedBytes
  }

  /** Sends a record; resolves when it is acknowledged. Rejects with why not; `outcome` says whether it may have been written all the same. */
  send<K, V>(topic: TopicLike<K, V>, record: OutgoingRecord<K, V>, options?: { readonly signal?: AbortSignal }): Promise<Receipt>
  /** Sends several records, or none when one of them cannot be encoded; resolves when all are acknowledged, rejects with the first failure. */
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
    const { signal } = options
    this.#checkOpen()
    if (signal?.aborted) throw cancelled(signal, 'failed')
    const isOne = !isMany(records)
    const group = new SendGroup(isOne ? 1 : records.length)
    this.#submit(refOf(topic), isOne ? [records] : records, group, signal)
    if (signal !== undefined) group.listenTo(signal)
    const receipts = await group.promise
    return isOne ? (receipts[0] as Receipt) : receipts
  }

  /**
   * Takes a record without waiting for anything; false when the buffer is full or the topic is not known yet (await `ready` and offer it again).
   * What is not delivered is told to `onFailure` and to the next `flush`. For codecs that work synchronously.
   */
  enqueue<K, V>(topic: TopicLike<K, V>, record: OutgoingRecord<K, V>): boolean {
    this.#checkOpen()
    const ref = refOf(topic)
    const info = this.#client.lastKnownTopic(ref.name)
    if (info === undefined || this.#codecReady !== undefined || this.#doors.has(ref.name)) {
      this.#refused = { topic: ref.name, bytes: 1 }
      return false
    }
    const encoded = encodeRecord(ref, record, this.#client.runtime.clock.now())
    if (encoded instanceof Promise) {
      encoded.catch(() => {})
      throw new TidemarkError('USAGE', 'enqueue needs codecs that work synchronously; use send')
    }
    this.#check(info, encoded)
    if (!this.#buffer.tryTake(encoded.sizeBytes)) {
      this.#refused = { topic: undefined, bytes: encoded.sizeBytes }
      return false
    }
    this.#append(info, encoded, undefined, 0)
    return true
  }

  /** Resolves when what `enqueue` refused last would be taken, and the given topic, if any, is known. Rejects with `UNKNOWN_TOPIC`, `BUFFER_FULL`, `CANCELLED`. */
  async ready(options: { readonly topic?: string | { readonly name: string }; readonly signal?: AbortSignal } = {}): Promise<void> {
    const { topic, signal } = options
    this.#checkOpen()
    const refused = this.#refused
    this.#refused = { topic: undefined, bytes: 1 }
    if (this.#codecReady !== undefined) await untilAborted(this.#codecReady, signal)
    const names = new Set([typeof topic === 'object' ? topic.name : topic, refused.topic])
    for (const name of names) {
      if (name === undefined) continue
      if (this.#client.lastKnownTopic(name) === undefined) await this.#client.topic(name, { signal })
      await untilAborted(this.#doors.get(name) ?? Promise.resolve(), signal)
    }
    await this.#buffer.waitForRoom(refused.bytes, signal)
  }

  /** Resolves when everything sent before the call has been acknowledged or given up; rejects with the first failure of an enqueued record since the last call. */
  async flush(options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await untilAborted(Promise.all(this.#doors.values()), options.signal)
    this.#delivery.hurry()
    await this.#flushes.wait(this.#delivery.busy, options.signal)
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

  /** Puts the records into batches: at once if nothing stands in the way, else behind those that wait already. */
  #submit<K, V>(ref: TopicRef<K, V>, records: readonly OutgoingRecord<K, V>[], group: SendGroup, signal: AbortSignal | undefined): void {
    try {
      const nowMs = this.#client.runtime.clock.now()
      const encoded = records.map((record) => encodeRecord(ref, record, nowMs))
      const info = this.#client.lastKnownTopic(ref.name)
      const isFree = info !== undefined && this.#codecReady === undefined && !this.#doors.has(ref.name)
      const appendedCount = isFree && encoded.every(isEncoded) ? this.#appendFitting(info, encoded, group) : 0
      if (appendedCount < encoded.length) this.#wait(ref.name, withOwnBytes(encoded, records), appendedCount, group, signal)
    } catch (caught) {
      group.failRest(TidemarkError.from(caught))
    }
  }

  /** Appends as many as there is room for. Checks them all first: none is sent when one cannot be. */
  #appendFitting(info: TopicInfo, encoded: readonly EncodedRecord[], group: SendGroup): number {
    for (const record of encoded) this.#check(info, record)
    for (const [index, record] of encoded.entries()) {
      if (!this.#buffer.tryTake(record.sizeBytes)) return index
      this.#append(info, record, group, index)
    }
    return encoded.length
  }

  #wait(
    topic: string,
    encoded: readonly (EncodedRecord | Promise<EncodedRecord>)[],
    from: number,
    group: SendGroup,
    signal: AbortSignal | undefined,
  ): void {
    // Its failure is waited for in its turn; until then nobody else may call it unhandled.
    const records = Promise.all(encoded.map(async (record) => record))
    records.catch(() => {})
    const before = this.#doors.get(topic)
    const passed = this.#pass(topic, before, records, from, group, signal).catch((caught: unknown) =>
      group.failRest(TidemarkError.from(caught)),
    )
    this.#doors.set(topic, passed)
    this.#outside.add(group)
    void passed.then(() => {
      this.#outside.delete(group)
      if (this.#doors.get(topic) === passed) this.#doors.delete(topic)
    })
  }

  async #pass(
    topic: string,
    before: Promise<void> | undefined,
    records: Promise<EncodedRecord[]>,
    from: number,
    group: SendGroup,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    await before
    if (group.failure !== undefined) throw group.failure
    const known = this.#client.lastKnownTopic(topic) ?? (await this.#client.topic(topic, { signal }))
    await this.#codecReady
    const ready = await untilAborted(records, signal)
    if (from === 0) for (const record of ready) this.#check(known, record)
    for (const [index, record] of ready.entries()) {
      if (index < from) continue
      await this.#buffer.take(record.sizeBytes, signal)
      const failure = this.#isSealed ? closedError() : group.failure
      if (failure !== undefined) {
        this.#buffer.release(record.sizeBytes)
        throw failure
      }
      this.#append(this.#client.lastKnownTopic(topic) ?? known, record, group, index)
    }
  }

  #check(info: TopicInfo, record: EncodedRecord): void {
    checkRecordSize(info, record, this.#settings.compression !== 'none')
    if (record.partition !== undefined) checkPartition(info, record.partition)
  }

  /** Its room in the buffer is taken already. */
  #append(info: TopicInfo, record: EncodedRecord, group: SendGroup | undefined, index: number): void {
    const queue = this.#choice.choose(info, record)
    const batchBytes = Math.min(this.#settings.batchBytes, info.maxMessageBytes)
    queue.append(record, group, index, batchBytes, this.#client.runtime.clock.monotonic())
    group?.appended()
    this.#delivery.filled(queue)
  }

  #queueOf(topic: string, partition: number): PartitionQueue {
    let queues = this.#queues.get(topic)
    if (queues === undefined) {
      queues = []
      this.#queues.set(topic, queues)
    }
    let queue = queues[partition]
    if (queue === undefined) {
      queue = new PartitionQueue(topic, partition, this.#settings.inFlightMax, this.#buffers)
      queues[partition] = queue
    }
    return queue
  }

  /** The application's function runs in a turn of its own: what it throws is its own affair. */
  #lost(error: TidemarkError, topic: string, partition: number, recordCount: number): void {
    this.#firstFailure ??= error
    if (this.#onFailure !== undefined) queueMicrotask(() => this.#onFailure?.(error, { topic, partition, recordCount }))
  }

  #checkOpen(): void {
    if (this.#closing !== undefined || this.#client.closed.aborted) throw closedError()
  }

  async #close(): Promise<void> {
    const timeout = new AbortController()
    const timer = this.#client.runtime.timers.after(CLOSE_TIMEOUT_MS, () => timeout.abort())
    try {
      if (!this.#client.closed.aborted) await this.flush({ signal: AbortSignal.any([timeout.signal, this.#client.closed]) })
    } catch (error) {
      // Failures were told where the records were given; only those nobody waits for are left to report here.
      if (TidemarkError.is(error) && error.code !== 'CANCELLED') throw error
    } finally {
      timer.cancel()
      this.#isSealed = true
      this.#client.closed.removeEventListener('abort', this.#clientClosed)
      this.#delivery.close(new TidemarkError('CLOSED', 'the producer was closed before the record was acknowledged'))
      for (const group of this.#outside) group.failRest(closedError())
      this.#buffer.close(closedError())
    }
  }
}

function closedError(): TidemarkError {
  return new TidemarkError('CLOSED', 'the producer is closed', { outcome: 'failed' })
}

function isMany<T>(records: T | readonly T[]): records is readonly T[] {
  return Array.isArray(records)
}

function isEncoded(record: EncodedRecord | Promise<EncodedRecord>): record is EncodedRecord {
  return !(record instanceof Promise)
}
