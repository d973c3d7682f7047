/**
 * Reads topics as a member of a group: the members divide the partitions among them, each partition to one, and the group remembers how far it has come.
 *
 * What is in hand: with the iterator, the message or batch that was given last, until the next is asked for; with `run`, what handlers work on. A partition
 * goes to another member only when nothing of it is in hand.
 */
import { TidemarkError } from '../../protocol/errors.ts'
import type { TopicPartition } from '../../protocol/ids.ts'
import type { ClusterClient } from '../cluster-client.ts'
import { streamOf } from '../consumer/message-stream.ts'
import type { Taken } from '../consumer/reader.ts'
import { cancelled } from '../retry.ts'
import type { TopicLike } from '../topic.ts'
import type { PartitionPosition } from '../types.ts'
import type { Work } from './assigned.ts'
import { deliver, deliverBatch, nextOffsetsOf } from './delivered.ts'
import { GroupEmitter } from './events.ts'
import { lagOf } from './lag.ts'
import { isCommittedAhead, runHandler } from './run.ts'
import { GroupSession } from './session.ts'
import { type CommitSetting, type GroupSettings, groupSettings } from './settings.ts'
import { subscriptionTo } from './subscription.ts'
import type {
  GroupBatch,
  GroupConsumerOptions,
  GroupEvents,
  GroupHandler,
  GroupListener,
  GroupMessage,
  GroupPartitionLag,
  RunOptions,
} from './types.ts'

export class GroupConsumer<K, V> implements AsyncIterable<GroupMessage<K, V>>, AsyncDisposable {
  readonly #settings: GroupSettings
  readonly #session: GroupSession<K, V>
  readonly #emitter = new GroupEmitter()
  /** What the iterator gave last. */
  #inHand: Work | undefined

  constructor(client: ClusterClient, topics: TopicLike<K, V> | readonly TopicLike<K, V>[] | RegExp, options: GroupConsumerOptions) {
    this.#settings = groupSettings(options)
    this.#session = new GroupSession(client, subscriptionTo(topics), this.#settings, this.#emitter)
    const { signal } = options
    const abort = (): void => this.#session.fail(cancelled(signal))
    if (signal?.aborted) abort()
    signal?.addEventListener('abort', abort, { once: true })
    void this.ended.then(() => signal?.removeEventListener('abort', abort))
  }

  get group(): string {
    return this.#settings.group
  }

  /** How the group knows this member. */
  get memberId(): string {
    return this.#session.memberId
  }

  /** Resolves when the consumer is closed, by whomever. */
  get ended(): Promise<void> {
    return this.#session.ended
  }

  /** Calls `listener` when it happens; returns how to stop that. A listener that fails ends the consumer. */
  on<Name extends keyof GroupEvents>(name: Name, listener: GroupListener<Name>): () => void {
    return this.#emitter.on(name, listener)
  }

  /** One message after the other; asking for the next says that the last one is done. Ends with `close`; throws what cannot be mended. */
  async *[Symbol.asyncIterator](): AsyncGenerator<GroupMessage<K, V>, void, undefined> {
    for await (const { taken, plan } of this.#taken()) {
      for (const { message, nextOffset } of nextOffsetsOf(taken)) {
        const work = await this.#take(taken, plan(nextOffset))
        if (work === undefined) break
        yield deliver(this.#session, work, message)
        this.#session.finish(work)
      }
    }
  }

  /** Messages in the portions in which they were stored; asking for the next says that the last one is done. */
  async *batches(): AsyncGenerator<GroupBatch<K, V>, void, undefined> {
    for await (const { taken, plan } of this.#taken()) {
      const work = await this.#take(taken, plan(taken.nextOffset))
      if (work === undefined) continue
      yield deliverBatch(this.#session, work, taken.batch)
      this.#session.finish(work)
    }
  }

  /** The messages as a web stream; pulling the next says that the last one is done. */
  readable(): ReadableStream<GroupMessage<K, V>> {
    return streamOf(this[Symbol.asyncIterator](), () => this.close())
  }

  /**
   * Calls `handler` for each message. Resolves when a `signal` or `close` ends it, after handlers have finished and offsets are committed; rejects with what a
   * handler throws, and with what cannot be mended.
   */
  async run(handler: GroupHandler<K, V>, options: RunOptions = {}): Promise<void> {
    const { signal } = options
    const stop = (): void => void this.close()
    if (signal?.aborted) stop()
    signal?.addEventListener('abort', stop, { once: true })
    try {
      await this.#start('handled')
      await runHandler(this.#session, handler, options, this.#settings.delivery)
    } catch (error) {
      if (!(TidemarkError.is(error) && error.code === 'CANCELLED' && error === this.#session.reader.failure)) throw error
    } finally {
      signal?.removeEventListener('abort', stop)
      await this.close()
    }
  }

  /** Commits all that is done: of the iterator what it gave, the last one too; of `run` what handlers have returned from. Or the offsets that are named, also backwards. */
  async commit(offsets?: readonly (PartitionPosition & { readonly metadata?: string })[]): Promise<void> {
    if (offsets !== undefined) {
      await Promise.all(offsets.map((one) => this.#session.commitTo(one, one.metadata ?? '')))
      return
    }
    if (this.#inHand !== undefined && !this.#inHand.isOver) await this.#session.commit(this.#inHand)
    await this.#session.commitAll()
  }

  /** Goes on from `offset` in a partition that this member has. What is committed does not go back. Throws `UNKNOWN_PARTITION`, `USAGE`. */
  seek(position: PartitionPosition): void {
    this.#session.seek(position)
  }

  /** Stops reading these partitions; without them all, also those that come later. The membership goes on. Throws `UNKNOWN_PARTITION`. */
  pause(partitions?: readonly TopicPartition[]): void {
    this.#session.pause(partitions)
  }

  resume(partitions?: readonly TopicPartition[]): void {
    this.#session.resume(partitions)
  }

  /** The next offset of each partition that this member reads. */
  positions(): PartitionPosition[] {
    return this.#session.reader.positions()
  }

  /** How far behind the group is in the partitions that this member has, in records and in time. */
  lag(options: { readonly signal?: AbortSignal } = {}): Promise<GroupPartitionLag[]> {
    return lagOf(this.#session.calls, this.positions(), options.signal)
  }

  /** Lets work in hand come to its end, up to `closeTimeout`; commits what is done, unless you commit yourself; leaves the group at once. */
  close(): Promise<void> {
    return this.#session.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async *#taken(): AsyncGenerator<{ readonly taken: Taken<K, V>; readonly plan: (nextOffset: number) => Work }, void, undefined> {
    try {
      await this.#start('manual')
      for (let next = await this.#session.next(); next !== undefined; next = await this.#session.next()) {
        const { taken, assigned } = next
        yield { taken, plan: (nextOffset) => assigned.plan(nextOffset, taken.leaderEpoch) }
      }
    } finally {
      // Whoever leaves a loop has not said that the last one is done.
      if (this.#inHand !== undefined) this.#session.abandon(this.#inHand)
      await this.close()
    }
  }

  /** Undefined when it may not be begun any more. */
  async #take(taken: Taken<K, V>, work: Work): Promise<Work | undefined> {
    if (!this.#session.isCurrent(taken)) return undefined
    this.#inHand = work
    this.#session.begin(work)
    if (this.#settings.delivery !== 'at-most-once' || (await isCommittedAhead(this.#session, taken, work))) return work
    this.#session.abandon(work)
    return undefined
  }

  #start(usual: CommitSetting): Promise<void> {
    const { delivery, commit } = this.#settings
    if (delivery === 'at-most-once') return this.#session.start('manual')
    return this.#session.start(commit ?? (delivery === 'effectively-once' ? 'handled' : usual))
  }
}
