/**
 * The groups that this node coordinates: finds the shard of a group, ends sessions, follows topics that change, lets offsets expire.
 *
 * What is asked of a group goes to its shard; the decisions are those of `membership.ts` and `offsets.ts`. This file has the timers.
 */
import type { MetadataImage, TopicMetadata } from '../../controller/metadata/image.ts'
import type { MetadataView } from '../../controller/metadata-view.ts'
import { CONSUMER_OFFSETS_TOPIC } from '../../protocol/internal-topics.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { Runtime, Timer } from '../../runtime/runtime.ts'
import type { Partition } from '../partition.ts'
import type { PartitionRegistry } from '../partition-registry.ts'
import { PartitionGroupLog } from './group-log.ts'
import type { GroupShard } from './group-shard.ts'
import type { GroupRecord } from './group-state.ts'
import { ImageTopics } from './image-topics.ts'
import type { GroupLag } from './lag.ts'
import type { LiveGroup } from './live-group.ts'
import { followTopics } from './membership.ts'
import { expireOffsets } from './offsets.ts'
import type { OffsetsTopic } from './offsets-topic.ts'
import { RecentAnswers } from './recent-answers.ts'
import { ShardSlots } from './shard-slots.ts'
import { TopicPatterns } from './topic-patterns.ts'
import type { TopicView } from './topic-view.ts'

/** So long it counts how far a group was behind: for that leaders on other nodes have to be asked. */
const LAG_FRESH_MS = 1000

/** How often sessions are looked at: how much longer than it should a dead member may keep its partitions. */
const TICK_MS = 100

/** How often offsets are looked at that may have expired: how much longer than they should they are kept. */
const EXPIRY_PERIOD_MAX_MS = 60_000
const EXPIRY_PERIOD_PART = 0.1

export interface CoordinatorParts {
  readonly nodeId: number
  readonly runtime: Pick<Runtime, 'clock' | 'timers' | 'log'>
  readonly view: MetadataView
  readonly partitions: PartitionRegistry
  readonly topic: OffsetsTopic
  readonly offsetsRetentionMs: number
  /** If others lead what this node led, it knows. One that is cut off must not keep members believing that they are part of a group. */
  readonly isUpToDate: () => boolean
  /** How long an earlier coordinator may go on without knowing that it is none any more. */
  readonly graceMs: () => number
}

export class GroupCoordinator {
  readonly topic: OffsetsTopic
  readonly patterns: TopicPatterns = new TopicPatterns()
  /** How far groups are behind. */
  readonly lags: RecentAnswers<ReadonlyMap<string, GroupLag>>
  readonly #parts: CoordinatorParts
  readonly #slots: ShardSlots<Partition>
  readonly #unsubscribe: () => void
  readonly #expiry: Timer
  /** Only while this node leads some of the groups. */
  #tick: Timer | undefined
  /** What the groups have been told of. */
  #followed: MetadataImage
  /** Topics that may have changed since. */
  readonly #touched = new Set<string>()
  #isFollowing = false
  #isExpiring = false
  #isClosed = false

  constructor(parts: CoordinatorParts) {
    const { runtime, view, partitions } = parts
    this.#parts = parts
    this.topic = parts.topic
    this.#followed = view.image
    this.#slots = new ShardSlots({
      runtime,
      partitions: () => presentPartitions(parts.topic.metadata, partitions),
      openLog: (partition) => new PartitionGroupLog(partition, runtime),
      graceMs: parts.graceMs,
      opened: () => {
        this.#tick ??= runtime.timers.every(TICK_MS, () => this.#onTick())
      },
      activated: (shard) => this.#activated(shard),
    })
    this.#unsubscribe = view.subscribe((_image, { changedTopics, removedTopics }) => {
      for (const { name } of [...changedTopics, ...removedTopics]) this.#touched.add(name)
      if (this.#touched.size > 0) this.#followSoon()
    })
    this.lags = new RecentAnswers(runtime.clock, LAG_FRESH_MS)
    this.#followSoon()
    this.#expiry = runtime.timers.every(
      Math.min(EXPIRY_PERIOD_MAX_MS, parts.offsetsRetentionMs * EXPIRY_PERIOD_PART),
      () => void this.#expireOffsets(),
    )
  }

  get topics(): TopicView {
    return new ImageTopics(this.#parts.view.image, this.patterns)
  }

  /** Shards that can be worked on. */
  shards(): GroupShard[] {
    return this.#slots.active()
  }

  /** Partitions of the topic that are led here and still being read. */
  loadingPartitions(): number[] {
    return this.#slots.loading()
  }

  /**
   * The shard of a group, which may be loading still. Makes the topic when there is none. Rejects with `NOT_COORDINATOR`, `COORDINATOR_NOT_AVAILABLE`,
   * `COORDINATOR_LOAD_IN_PROGRESS`.
   */
  async shardOf(group: string): Promise<GroupShard> {
    const isNew = await this.topic.ensure()
    if (isNew) {
      await this.#parts.partitions.settled()
      this.#slots.review()
      await this.#slots.settled()
    }
    return this.presentShardOf(group)
  }

  /** As `shardOf`; `COORDINATOR_NOT_AVAILABLE` when there is no topic. */
  presentShardOf(group: string): GroupShard {
    const place = this.topic.partitionOf(group)
    if (place === undefined) throw new TidemarkError('COORDINATOR_NOT_AVAILABLE', 'no group has been used yet', { retryAfterMs: 200 })
    const shard = this.#slots.find(place.number)
    if (shard === undefined) throw this.#elsewhere(group, place)
    if (!this.#parts.isUpToDate())
      throw new TidemarkError('COORDINATOR_NOT_AVAILABLE', 'this node does not know whether it still coordinates the group', {
        retryAfterMs: 50,
      })
    return shard
  }

  close(reason: TidemarkError): void {
    this.#isClosed = true
    this.#tick?.cancel()
    this.#expiry.cancel()
    this.#unsubscribe()
    this.#slots.close(reason)
  }

  #elsewhere(
    group: string,
    { number, metadata: { leader, leaderEpoch } }: NonNullable<ReturnType<OffsetsTopic['partitionOf']>>,
  ): TidemarkError {
    const { nodeId, view } = this.#parts
    if (leader < 0)
      return new TidemarkError('COORDINATOR_NOT_AVAILABLE', `partition ${number} of ${CONSUMER_OFFSETS_TOPIC} has no leader`, {
        retryAfterMs: 50,
      })
    if (leader === nodeId)
      return new TidemarkError('COORDINATOR_LOAD_IN_PROGRESS', `this node is about to coordinate group ${group}`, { retryAfterMs: 50 })
    const node = view.image.nodes.get(leader)
    return new TidemarkError('NOT_COORDINATOR', `node ${leader} coordinates group ${group}`, {
      // Of several addresses, which one the client can reach is not known here; FindCoordinators tells it.
      leader: node && node.alternatives.length === 0 ? { nodeId: leader, leaderEpoch, host: node.host, port: node.port } : undefined,
    })
  }

  /** Topics may have changed while nobody coordinated the groups. */
  async #activated(shard: GroupShard): Promise<void> {
    const members = [...shard.groups.values()].flatMap(({ state }) => [...state.members.values()])
    if (members.some(({ topicPattern }) => topicPattern !== '')) await this.patterns.load()
    for (const group of shard.groups.values()) this.#followTopics(shard, group)
  }

  #onTick(): void {
    this.#slots.review()
    if (this.#slots.isEmpty) {
      this.#tick?.cancel()
      this.#tick = undefined
    }
    const nowMs = this.#parts.runtime.clock.monotonic()
    for (const shard of this.#slots.active()) {
      for (const group of shard.groups.values()) {
        if (group.isBehind) this.#followTopics(shard, group)
        if (group.state.members.size > 0) this.#endSessions(shard, group, nowMs)
      }
    }
  }

  #endSessions(shard: GroupShard, group: LiveGroup, monotonicMs: number): void {
    const { state } = group
    const { overdue, records } = group.endSessions({ ...this.#context(), monotonicMs })
    if (overdue.length === 0) return
    for (const { memberId, why } of overdue) this.#parts.runtime.log.info('member.removed', { group: state.group, memberId, why })
    // The next tick finds again what could not be written.
    this.#write(shard, state.group, () => records).catch(() => {})
  }

  #followSoon(): void {
    if (this.#isFollowing || this.#isClosed) return
    this.#isFollowing = true
    this.#parts.runtime.timers.nextTurn(() => {
      this.#isFollowing = false
      if (!this.#isClosed) this.#follow()
    })
  }

  /** The metadata has changed: who leads what, and which topics there are. */
  #follow(): void {
    const { image } = this.#parts.view
    const before = this.#followed
    const changed = new Set([...this.#touched].filter((name) => isOther(before, image, name)))
    const hasRemoved = [...changed].some((name) => before.topics.get(name)?.topicId !== image.topics.get(name)?.topicId)
    this.#touched.clear()
    this.#followed = image
    this.#slots.review()
    if (changed.size === 0) return
    for (const shard of this.#slots.active()) {
      for (const group of shard.groups.values()) if (isConcerned(group, changed)) this.#followTopics(shard, group)
    }
    if (hasRemoved) void this.#expireOffsets()
  }

  #followTopics(shard: GroupShard, group: LiveGroup): void {
    const { state } = group
    group.isBehind = false
    if (state.members.size === 0) return
    this.#write(shard, state.group, () => followTopics(state, this.#context())).catch(() => {
      group.isBehind = true
    })
  }

  async #expireOffsets(): Promise<void> {
    this.#slots.review()
    if (this.#isExpiring || this.#isClosed) return
    this.#isExpiring = true
    const { runtime, offsetsRetentionMs } = this.#parts
    const { timers, log } = runtime
    try {
      for (const shard of this.#slots.active()) {
        for (const id of [...shard.groups.keys()]) {
          if (!shard.isActive) break
          await shard.changeInPieces(id, ({ state }) => expireOffsets(state, offsetsRetentionMs, this.#context()))
          await new Promise<void>((resolve) => timers.nextTurn(resolve))
        }
      }
    } catch (error) {
      log.warn('offsets.expiry-failed', { error: TidemarkError.from(error).message })
    } finally {
      this.#isExpiring = false
    }
  }

  async #write(shard: GroupShard, group: string, decide: () => readonly GroupRecord[]): Promise<void> {
    try {
      await shard.change(group, () => ({ records: decide(), answer: () => undefined }))
    } catch (error) {
      this.#parts.runtime.log.debug('group.unwritten', { group, error: TidemarkError.from(error).message })
      throw error
    }
  }

  #context(): { readonly nowMs: number; readonly topics: TopicView } {
    return { nowMs: this.#parts.runtime.clock.now(), topics: this.topics }
  }
}

function isOther(before: MetadataImage, after: MetadataImage, name: string): boolean {
  const [was, is] = [before.topics.get(name), after.topics.get(name)]
  return was?.topicId !== is?.topicId || was?.partitions.length !== is?.partitions.length
}

function isConcerned({ state }: LiveGroup, changed: ReadonlySet<string>): boolean {
  return [...state.members.values()].some(({ topics, topicPattern }) => topicPattern !== '' || topics.some((name) => changed.has(name)))
}

function presentPartitions(topic: TopicMetadata | undefined, partitions: PartitionRegistry): Partition[] {
  if (topic === undefined) return []
  return topic.partitions.flatMap((_, number) => partitions.peekById(topic.topicId, number) ?? [])
}
