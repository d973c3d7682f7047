/**
 * Brings batches to the leaders of their partitions, in order, each once.
 *
 * What may become of a batch, and what follows:
 *
 * - acknowledged: its records are told;
 * - refused for now, or lost with its connection: it is sent again with the sequence it has, and nothing
 *   behind it before it (see `PartitionQueue`);
 * - refused for good and certainly not written: its records fail (`failed`), the batches behind take its sequences;
 * - given up while it may have been written: its records fail (`indeterminate`), and the partition goes on under a
 *   new producer id. Its sequences are never used for anything else;
 * - refused because the node has lost track of the producer: its records fail, and so it goes on.
 */
import { type ErrorCode, TidemarkError } from '../../protocol/errors.ts'
import type { Timer } from '../../runtime/runtime.ts'
import type { ClusterClient } from '../cluster-client.ts'
import { backoffMs, pause } from '../retry.ts'
import { GivingUp, type SettledEvents } from './giving-up.ts'
import { Linger } from './linger.ts'
import type { OutBatch, PartitionQueue } from './partition-queue.ts'
import { ProducerIds } from './producer-ids.ts'
import { type SentBatch, Sender } from './sender.ts'
import type { ProducerSettings } from './settings.ts'
import { provesNothingWritten } from './written.ts'

/** Answers to what was written and may yet be acknowledged. */
const STILL_WRITING: ReadonlySet<ErrorCode> = new Set(['REQUEST_TIMED_OUT', 'NOT_ENOUGH_REPLICAS_AFTER_APPEND'])

/** The node does not know what was acknowledged, or knows more: to go on under another id in silence would hide a loss, or double records. */
const LOST_TRACK: ReadonlySet<ErrorCode> = new Set(['OUT_OF_ORDER_SEQUENCE', 'INVALID_PRODUCER_EPOCH'])

export class Delivery {
  readonly #client: ClusterClient
  readonly #settings: ProducerSettings
  readonly #events: SettledEvents
  readonly #ids: ProducerIds
  readonly #givingUp: GivingUp
  /** Queues that hold something. */
  readonly #busy = new Set<PartitionQueue>()
  readonly #senders = new Map<string, Sender>()
  readonly #linger: Linger
  #isDrainDue = false
  #isClosed = false
  #expiryTimer: Timer | undefined

  constructor(client: ClusterClient, settings: ProducerSettings, events: SettledEvents) {
    this.#client = client
    this.#settings = settings
    this.#events = events
    this.#ids = new ProducerIds(client)
    this.#givingUp = new GivingUp(client.runtime.clock, settings.deliveryTimeoutMs, events)
    this.#linger = new Linger(client.runtime.timers, settings.lingerMs, () => {
      if (!this.#isClosed) this.#drain()
    })
  }

  get busy(): ReadonlySet<PartitionQueue> {
    return this.#busy
  }

  /** Something was put into the queue. It goes once this turn's records are all in their batches. */
  filled(queue: PartitionQueue): void {
    this.#busy.add(queue)
    this.#scheduleDrain()
    this.#watchExpiry()
  }

  /** Sends open batches without lingering. */
  hurry(): void {
    for (const queue of this.#busy) queue.closeOpen()
    this.#scheduleDrain()
  }

  /** Gives up everything. */
  close(error: TidemarkError): void {
    this.#isClosed = true
    this.#linger.close()
    this.#expiryTimer?.cancel()
    for (const sender of this.#senders.values()) sender.close()
    for (const queue of [...this.#busy]) {
      for (const batch of queue.inFlight.splice(0).reverse()) {
        batch.mayBeWritten = true
        queue.waiting.unshift(batch)
      }
      this.#giveUpAll(queue, error)
    }
  }

  #scheduleDrain(): void {
    if (this.#isDrainDue || this.#isClosed) return
    this.#isDrainDue = true
    queueMicrotask(() => {
      this.#isDrainDue = false
      if (!this.#isClosed) this.#drain()
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
    this.#linger.arm(this.#busy, nowMs)
  }

  /** Where the queue's batches go now; undefined while that is being found out. */
  #targetOf(queue: PartitionQueue): { address: string; topicId: Buffer; leaderEpoch: number } | undefined {
    if (this.#settings.idempotent && queue.identity === undefined) {
      this.#prepare(queue, async () => {
        queue.identity = await this.#ids.identity()
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
      .catch((caught: unknown) => {
        const error = TidemarkError.from(caught)
        for (const batch of queue.waiting) batch.lastError = error
        if (!error.retriable) throw error
        return this.#client.backoff(++queue.failureCount, error.retryAfterMs)
      })
      .catch((caught: unknown) => this.#giveUpAll(queue, TidemarkError.from(caught)))
      .finally(() => this.#goOn(queue))
  }

  #goOn(queue: PartitionQueue): void {
    queue.isPaused = false
    this.#scheduleDrain()
  }

  #senderOf(address: string): Sender {
    let sender = this.#senders.get(address)
    if (sender === undefined) {
      this.#closeIdle()
      const { acks, requestTimeoutMs } = this.#settings
      const events = {
        acknowledged: (sent: SentBatch, baseOffset: number, appendTimeMs: number) => this.#acknowledged(sent, baseOffset, appendTimeMs),
        refused: (sent: SentBatch, error: TidemarkError) => this.#failed(sent, error, !provesNothingWritten(error)),
        lost: (sent: SentBatch, error: TidemarkError) => this.#failed(sent, error, true),
        silent: (sent: readonly SentBatch[]) => this.#lookForLeaders(address, sent),
      }
      sender = new Sender({ client: this.#client, address, acks, requestTimeoutMs, events })
      this.#senders.set(address, sender)
    }
    return sender
  }

  /** Leaves a node that does not answer, if another one leads by now what it was sent. */
  #lookForLeaders(address: string, sent: readonly SentBatch[]): void {
    const topics = new Set(sent.map(({ queue }) => queue.topic))
    Promise.all([...topics].map((topic) => this.#client.refresh(topic))).then(
      () => {
        const hasMoved = sent.some(({ queue, batch }) => {
          const leader = this.#client.knownTopic(queue.topic)?.partitions[queue.partition]?.address
          return leader !== undefined && leader !== address && queue.inFlight.includes(batch)
        })
        if (!hasMoved || this.#isClosed) return
        this.#senders.get(address)?.abandon(new TidemarkError('UNAVAILABLE', `${address} does not answer, and another node leads`))
      },
      // Nobody knows better: the request ends when its time is over.
      () => {},
    )
  }

  /** Nodes that were sent nothing for long lead nothing of ours. */
  #closeIdle(): void {
    const nowMs = this.#client.runtime.clock.monotonic()
    for (const [address, sender] of this.#senders) {
      if (!sender.isIdle(nowMs)) continue
      sender.close()
      this.#senders.delete(address)
    }
  }

  #acknowledged({ queue, batch }: SentBatch, baseOffset: number, appendTimeMs: number): void {
    queue.acknowledged(batch)
    queue.failureCount = 0
    if (batch.identity !== undefined) batch.identity.isKnown = true
    if (!batch.isSettled) {
      batch.isSettled = true
      batch.succeed(this.#settings.acks === 'none' ? -1 : baseOffset, appendTimeMs)
      this.#events.settled(queue, batch)
    }
    this.#answered(queue)
  }

  #failed({ queue, batch }: SentBatch, error: TidemarkError, mayBeWritten: boolean): void {
    batch.lastError = error
    if (mayBeWritten) batch.mayBeWritten = true
    queue.isRecovering = true
    // The topic that has this name now knows nothing of the producer.
    if (error.code === 'UNKNOWN_TOPIC_ID' && batch.identity !== undefined) batch.identity.isKnown = false
    if (this.#isRetriable(queue, batch, error)) {
      queue.putBack(batch)
      queue.retryAfterMs = Math.max(queue.retryAfterMs, error.retryAfterMs ?? 0)
      if (error.code !== 'BUSY' && error.code !== 'DISK_FULL') this.#client.learnLeader(queue.topic, queue.partition, error)
    } else {
      queue.finish(batch)
      if (batch.mayBeWritten || LOST_TRACK.has(error.code)) queue.needsRenewal = true
      else queue.gaps.push(batch)
      this.#givingUp.batch(queue, batch, error)
    }
    this.#answered(queue)
  }

  #isRetriable(queue: PartitionQueue, batch: OutBatch, error: TidemarkError): boolean {
    if (error.code === 'OUT_OF_ORDER_SEQUENCE') return queue.hasEarlierUnsettled(batch) || queue.gaps.length > 0
    // Without a sequence a copy of what is still being written would stay.
    if (!this.#settings.idempotent && STILL_WRITING.has(error.code)) return false
    return error.retriable
  }

  #answered(queue: PartitionQueue): void {
    if (queue.isRecovering && queue.inFlight.length === 0) this.#recover(queue)
    if (queue.isIdle) this.#busy.delete(queue)
    this.#scheduleDrain()
  }

  /** Everything that was in flight has been answered: put the queue in order and go on after a pause. */
  #recover(queue: PartitionQueue): void {
    queue.recovered()
    for (const gap of queue.gaps.splice(0)) queue.closeGap(gap)
    if (queue.needsRenewal) {
      this.#givingUp.where(queue, (batch) => batch.mayBeWritten)
      this.#renewIdentity(queue)
    }
    this.#expire(queue)
    const { random, timers } = this.#client.runtime
    const waitMs = backoffMs(++queue.failureCount, random, queue.retryAfterMs)
    queue.retryAfterMs = 0
    if (queue.waiting.length === 0 || this.#isClosed) return
    queue.isPaused = true
    pause(waitMs, timers, this.#client.closed)
      .catch((closed: unknown) => this.#giveUpAll(queue, TidemarkError.from(closed)))
      .finally(() => this.#goOn(queue))
  }

  /** Starts again under a new id; the sequences of the old one are not used for anything else. Nothing may be in flight. */
  #renewIdentity(queue: PartitionQueue): void {
    queue.needsRenewal = false
    this.#ids.renew()
    queue.identity = undefined
  }

  /** One timer for all batches, set while there are some: it wakes up when the oldest of them is due. */
  #watchExpiry(): void {
    if (this.#expiryTimer !== undefined) return
    const dueMs = this.#givingUp.nextDueMs(this.#busy)
    if (dueMs === undefined) return
    this.#expiryTimer = this.#client.runtime.timers.after(Math.ceil(dueMs), () => {
      this.#expiryTimer = undefined
      for (const queue of [...this.#busy]) this.#expire(queue)
      this.#watchExpiry()
    })
  }

  #expire(queue: PartitionQueue): void {
    if (this.#givingUp.expire(queue)) this.#renewIdentity(queue)
    if (queue.isIdle) this.#busy.delete(queue)
  }

  /** Gives up everything of a queue that is not in flight. */
  #giveUpAll(queue: PartitionQueue, error: TidemarkError): void {
    if (this.#givingUp.all(queue, error)) {
      queue.needsRenewal = true
      queue.isRecovering = true
      if (queue.inFlight.length === 0) this.#recover(queue)
    }
    if (queue.isIdle) this.#busy.delete(queue)
  }
}
