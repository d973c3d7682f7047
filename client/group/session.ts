/** A member at work: joins membership, reading, work in hand and commits, and ends them in order. */
import { TidemarkError } from '../../protocol/errors.ts'
import type { TopicPartition } from '../../protocol/ids.ts'
import type { Timer } from '../../runtime/runtime.ts'
import type { ClusterClient } from '../cluster-client.ts'
import { WATCH_EVERY_MS } from '../consumer/consumer.ts'
import type { PartitionFetch } from '../consumer/partition-fetch.ts'
import { Reader, type Taken } from '../consumer/reader.ts'
import { GroupCalls } from '../group-calls.ts'
import { atMost } from '../retry.ts'
import type { PartitionPosition } from '../types.ts'
import type { Assigned, Work } from './assigned.ts'
import { Commits, isFencing } from './commits.ts'
import type { GroupEmitter } from './events.ts'
import { Holdings } from './holdings.ts'
import { KnownPartitions } from './known-partitions.ts'
import { Membership } from './membership.ts'
import type { CommitSetting, GroupSettings } from './settings.ts'
import type { Subscription } from './subscription.ts'
import { findStuck } from './watchdog.ts'

/** The last commit and the farewell get this much of the closing time at least. */
const FAREWELL_MS = 2000

export class GroupSession<K, V> {
  readonly reader: Reader<K, V>
  readonly calls: GroupCalls
  readonly memberId: string
  readonly #client: ClusterClient
  readonly #subscription: Subscription<K, V>
  readonly #settings: GroupSettings
  readonly #emitter: GroupEmitter
  readonly #membership: Membership
  readonly #commits: Commits
  readonly #holdings: Holdings<K, V>
  readonly #inHand = new Set<Work>()
  readonly #known = new KnownPartitions()
  readonly #leaving = new AbortController()
  readonly #ended = Promise.withResolvers<void>()
  #style: CommitSetting = 'manual'
  #isPaused = false
  #started: Promise<void> | undefined
  #closing: Promise<void> | undefined
  /** Running from when it has joined until it closes. */
  readonly #timers: Timer[] = []

  constructor(client: ClusterClient, subscription: Subscription<K, V>, settings: GroupSettings, emitter: GroupEmitter) {
    this.#client = client
    this.#subscription = subscription
    this.#settings = settings
    this.#emitter = emitter
    this.calls = new GroupCalls(client, settings.group)
    const { reader, membership, commits, holdings } = this.#parts()
    this.reader = reader
    this.memberId = membership.memberId
    this.#membership = membership
    this.#commits = commits
    this.#holdings = holdings
  }

  /** Resolves when it is closed, by whomever. */
  get ended(): Promise<void> {
    return this.#ended.promise
  }

  get assigned(): Iterable<Assigned> {
    return this.#holdings.all
  }

  /** Joins. Throws `UNKNOWN_TOPIC` when a topic that is named does not exist. */
  start(style: CommitSetting): Promise<void> {
    this.#started ??= this.#join(style)
    return this.#started
  }

  /** The next batch of a partition that is this member's; undefined once closed. Throws what cannot be mended. */
  async next(isWanted?: (partition: PartitionFetch) => boolean): Promise<{ taken: Taken<K, V>; assigned: Assigned } | undefined> {
    for (;;) {
      const taken = await this.reader.next(() => false, isWanted)
      if (taken === undefined) return undefined
      const assigned = this.#holdings.of(taken.partition)
      if (assigned === undefined || !this.isCurrent(taken)) continue
      if (taken.batch.messages.length > 0) return { taken, assigned }
      // Nothing in it is left: that is done at once.
      const work = assigned.plan(taken.nextOffset, taken.leaderEpoch)
      this.begin(work)
      this.finish(work)
    }
  }

  /** Whether what was taken may still be begun. */
  isCurrent(taken: Taken<K, V>): boolean {
    this.#membership.checkSession()
    return this.reader.isCurrent(taken)
  }

  begin(work: Work): void {
    work.beganMs = this.#client.runtime.clock.monotonic()
    this.#inHand.add(work)
    work.assigned.took()
  }

  /** It was done, as far as the one who had it in hand can tell. Who was told to stop before may have done half of it: that does not count. */
  finish(work: Work): void {
    if (work.isOver) return
    const { assigned } = work
    if (!assigned.signal.aborted) work.watermark.finish(work)
    this.abandon(work)
    if (!work.isFinished) return
    if (assigned.fetch !== undefined) assigned.fetch.progressMs = this.#client.runtime.clock.monotonic()
    if (this.#style === 'handled' || (this.#style === 'manual' && assigned.mark > assigned.requested)) void this.#commitFinished(assigned)
  }

  /** It is in hand no more. */
  abandon(work: Work): void {
    if (work.isOver) return
    work.isOver = true
    if (this.#inHand.delete(work)) work.assigned.putDown()
  }

  /** The application says that this is done, with all that was given back before it. */
  async commit(work: Work, metadata = ''): Promise<void> {
    const { assigned, watermark } = work
    if (assigned.watermark !== watermark)
      throw new TidemarkError('STALE_MEMBER_EPOCH', `${assigned.topic}-${assigned.partition} was set to another offset`)
    assigned.mark = Math.max(assigned.mark, work.nextOffset)
    if (!work.isFinished) watermark.finish(work)
    const offset = Math.min(assigned.mark, watermark.low)
    try {
      if (offset > assigned.committed || metadata !== '')
        await this.#commits.request(assigned, { offset, leaderEpoch: watermark.leaderEpoch, metadata, mayGoBack: false })
    } finally {
      // Only now may the partition go: the commit counts.
      this.abandon(work)
    }
  }

  /** Commits `work` before it is begun. */
  async commitAhead({ assigned, nextOffset, leaderEpoch }: Work): Promise<void> {
    await this.#commits.request(assigned, { offset: nextOffset, leaderEpoch, metadata: '', mayGoBack: false })
  }

  /** Commits an offset of the application's choice. Throws `UNKNOWN_PARTITION`. */
  async commitTo({ topic, partition, offset }: PartitionPosition, metadata: string): Promise<void> {
    const assigned = this.#holdings.of(this.reader.turns.find({ topic, partition }))
    if (assigned === undefined) throw new TidemarkError('UNKNOWN_PARTITION', `${topic}-${partition} is not this member's`)
    await this.#commits.request(assigned, { offset: Number(offset), leaderEpoch: -1, metadata, mayGoBack: true })
  }

  /** Commits all that is finished. Rejects with what the first of them is refused with. */
  async commitAll(): Promise<void> {
    const moved = [...this.assigned].filter(({ state, watermark, committed }) => state !== 'starting' && watermark.low > committed)
    await Promise.all(
      moved.map((assigned) => {
        const { low, leaderEpoch } = assigned.watermark
        assigned.mark = Math.max(assigned.mark, low)
        return this.#commits.request(assigned, { offset: low, leaderEpoch, metadata: '', mayGoBack: false })
      }),
    )
  }

  seek(position: PartitionPosition): void {
    this.reader.seek(position)
    this.#holdings.of(this.reader.turns.find(position))?.startAt(Number(position.offset))
  }

  pause(partitions: readonly TopicPartition[] | undefined): void {
    if (partitions === undefined) this.#isPaused = true
    this.reader.pause(partitions)
  }

  resume(partitions: readonly TopicPartition[] | undefined): void {
    if (partitions === undefined) this.#isPaused = false
    this.reader.resume(partitions)
  }

  fail(error: unknown): void {
    this.reader.fail(TidemarkError.from(error))
    void this.close()
  }

  /** Lets work in hand come to its end, for a while; commits; leaves. */
  close(): Promise<void> {
    this.#closing ??= this.#end()
    return this.#closing
  }

  #parts(): { reader: Reader<K, V>; membership: Membership; commits: Commits; holdings: Holdings<K, V> } {
    const client = this.#client
    const settings = this.#settings
    const { topics, pattern, refOf } = this.#subscription
    const reader: Reader<K, V> = new Reader(client, {
      refOf,
      settings,
      signal: undefined,
      failed: (partition, error) => holdings.unreadable(partition, error),
    })
    const subscribed = { topics: [...topics], topicPattern: pattern, clientId: client.clientId }
    const membership: Membership = new Membership(client.runtime, this.calls, settings, subscribed, {
      given: (partitions) => holdings.begin(partitions),
      taken: (keys) => holdings.letGo(keys),
      lost: (keys, error) => holdings.lost(keys, error),
      idle: (isIdle) => void this.#emitter.emit('idle', { isIdle }).catch((error: unknown) => this.fail(error)),
      waiting: (error) => void this.#emitter.emit('waiting', { error }).catch((failure: unknown) => this.fail(failure)),
      failed: (error) => this.fail(error),
    })
    const commits = new Commits({
      calls: this.calls,
      clock: client.runtime.clock,
      memberId: membership.memberId,
      instanceId: settings.instanceId,
      fenced: () => membership.kick(),
    })
    const holdings: Holdings<K, V> = new Holdings({
      client,
      calls: this.calls,
      settings,
      emitter: this.#emitter,
      reader,
      commits,
      memberId: membership.memberId,
      leaving: this.#leaving.signal,
      isNew: (assigned) => this.#known.isNew(assigned),
      isPaused: () => this.#isPaused,
      lastCommit: (assigned) => this.#lastCommit(assigned),
      released: (assigned) => membership.release(assigned),
      failed: (error) => this.fail(error),
    })
    return { reader, membership, commits, holdings }
  }

  async #join(style: CommitSetting): Promise<void> {
    this.#style = style
    await this.#known.learn(this.#client, this.#subscription)
    if (this.#closing !== undefined) return
    this.#membership.start()
    const { timers } = this.#client.runtime
    this.#timers.push(timers.every(Math.min(WATCH_EVERY_MS, this.#settings.stallTimeoutMs), () => this.#look()))
    if (typeof style === 'object') this.#timers.push(timers.every(style.intervalMs, () => this.#commitAllFinished()))
  }

  /** Never rejects: what is refused is told by the coordinator as well, and what did not get through is tried again. */
  async #commitFinished(assigned: Assigned): Promise<void> {
    const { watermark, mark } = assigned
    const offset = this.#style === 'manual' ? Math.min(mark, watermark.low) : watermark.low
    if (offset <= assigned.requested || assigned.state === 'over') return
    try {
      await this.#commits.request(assigned, { offset, leaderEpoch: watermark.leaderEpoch, metadata: '', mayGoBack: false })
    } catch (caught) {
      const error = TidemarkError.from(caught)
      if (!error.retriable && !isFencing(error) && this.#closing === undefined) this.fail(error)
    }
  }

  #commitAllFinished(): void {
    for (const assigned of this.assigned) if (assigned.state !== 'starting') void this.#commitFinished(assigned)
  }

  async #lastCommit(assigned: Assigned): Promise<void> {
    if (this.#settings.delivery !== 'at-most-once') await this.#commitFinished(assigned)
    await this.#commits.settled()
  }

  #look(): void {
    const nowMs = this.#client.runtime.clock.monotonic()
    const signs = { nowMs, ...this.#membership.signs, commitsFailSinceMs: this.#commits.failingSinceMs, inHand: this.#inHand }
    const stalled = findStuck(signs, this.#settings) ?? this.reader.stalled()
    if (stalled !== undefined) {
      this.#emitter.emit('stalled', { error: stalled }).catch(() => {})
      this.fail(stalled)
      return
    }
    // What did not get through is tried again.
    if (this.#style === 'handled') this.#commitAllFinished()
    void this.#lookAtTopics()
  }

  async #lookAtTopics(): Promise<void> {
    const topics = new Set([...this.assigned].map(({ topic }) => topic))
    await Promise.allSettled([...topics].map((topic) => this.#client.refresh(topic)))
    this.reader.followLeaders()
  }

  async #end(): Promise<void> {
    const { closeTimeoutMs } = this.#settings
    const { timers } = this.#client.runtime
    for (const timer of this.#timers) timer.cancel()
    this.reader.close()
    await atMost(timers, closeTimeoutMs, this.#holdings.handsEmpty())
    this.#holdings.abortAll(new TidemarkError('CLOSED', 'the consumer is closed'))
    // Whoever heeds the signal comes to an end now.
    await new Promise<void>((resolve) => timers.nextTurn(resolve))
    const last = Promise.all([...this.assigned].filter(({ state }) => state !== 'starting').map((assigned) => this.#lastCommit(assigned)))
    await atMost(timers, Math.max(FAREWELL_MS, closeTimeoutMs / 2), last)
    this.#leaving.abort()
    this.#holdings.clear()
    await this.#membership.leave()
    this.#ended.resolve()
  }
}
