/**
 * The partitions of this node: opens, configures and deletes them as the metadata says.
 *
 * Metadata comes as deltas, in order; opening a log takes time. Each topic-partition therefore has a chain of work of
 * its own, so that a topic that is deleted while it is being opened ends deleted. Data on disk is deleted only when the metadata
 * says that its topic was removed, never because a topic is missing from it.
 */
import type { MetadataDelta, MetadataImage, PartitionMetadata, TopicMetadata } from '../controller/metadata/image.ts'
import type { DataDir } from '../log/data-dir.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { ByteBudget } from './backpressure.ts'
import { LogChanges } from './log-changes.ts'
import { Partition } from './partition.ts'
import type { PartitionHost } from './partition-host.ts'
import { givenUp, type KnownElsewhere, notHere } from './partition-refusals.ts'
import { mayBeRefetched, openOrSetAside } from './replication/damaged-replica.ts'
import { Turnstile } from './turnstile.ts'

/** Logs opened at the same time: enough to keep the disk busy, few enough to keep memory and handles in bounds. */
const OPEN_CONCURRENCY = 32

/** How often opening many logs reports its progress. */
const PROGRESS_EVERY_MS = 2000

interface OpeningSlot {
  readonly state: 'opening'
  readonly topicId: string
  opened: Promise<void>
  /** What the metadata says by now. */
  latest: { readonly topic: TopicMetadata; readonly metadata: PartitionMetadata }
}

/** A partition that exists, is on its way, or could not be opened. */
type Slot =
  | OpeningSlot
  | { readonly state: 'open'; readonly topicId: string; readonly partition: Partition }
  | { readonly state: 'failed'; readonly topicId: string; readonly error: TidemarkError }

/** What the registry and its partitions need of the node. */
export interface RegistryHost extends PartitionHost<Partition> {
  /** The partition was opened, or its metadata changed. */
  reviewed(partition: Partition): void
  /** The partition is gone from this node. */
  closed(partition: Partition): void
  /** A log could not be opened. */
  unreadable(replica: { readonly topic: string; readonly topicId: string; readonly partition: number }, error: TidemarkError): void
  isGivenUp(replica: { readonly topic: string; readonly partition: number }): boolean
  /** What the metadata knows of a partition that is not on this node; for refusals. */
  metadataOf(topic: string, partition: number): KnownElsewhere | undefined
}

export class PartitionRegistry {
  readonly changes: LogChanges
  readonly #dataDir: DataDir
  readonly #runtime: Runtime
  readonly #host: RegistryHost
  readonly #partitionBudgetBytes: number
  /** By topic name, then by partition number. */
  readonly #topics = new Map<string, Map<number, Slot>>()
  readonly #namesById = new Map<string, string>()
  /** By directory: a topic created again under its old name waits until the old directory is out of the way. */
  readonly #deletions = new Map<string, Promise<void>>()
  readonly #openings = new Turnstile(OPEN_CONCURRENCY)

  constructor(parts: {
    readonly dataDir: DataDir
    readonly runtime: Runtime
    readonly partitionBudgetBytes: number
    readonly host: RegistryHost
  }) {
    this.#dataDir = parts.dataDir
    this.#runtime = parts.runtime
    this.#partitionBudgetBytes = parts.partitionBudgetBytes
    this.#host = parts.host
    this.changes = new LogChanges({ ...parts, nodeId: parts.host.nodeId }, (partition, error) => this.#fail(partition, error))
  }

  /** The partition, ready for work. Throws `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, `UNKNOWN_TOPIC_ID`, `LEADER_NOT_AVAILABLE`, `NOT_LEADER` when it is on other nodes, or why it could not be opened. */
  find(topic: string, partition: number, topicId: string | undefined): Partition {
    const slot = this.#topics.get(topic)?.get(partition)
    if (slot === undefined) throw this.#notHere(topic, partition, topicId)
    if (topicId !== undefined && topicId !== slot.topicId) {
      throw new TidemarkError(
        'UNKNOWN_TOPIC_ID',
        `topic ${topic} was created again: its id is ${slot.topicId}, the request has ${topicId}`,
        { outcome: 'failed' },
      )
    }
    switch (slot.state) {
      case 'open':
        return slot.partition
      case 'opening':
        throw new TidemarkError('LEADER_NOT_AVAILABLE', `${topic}-${partition} is being opened`, { retryAfterMs: 50, outcome: 'failed' })
      case 'failed':
        throw this.#host.isGivenUp({ topic, partition }) ? givenUp(`${topic}-${partition}`) : slot.error
    }
  }

  /** As `find`, for other nodes, which know topics by their ids. */
  findById(topicId: string, partition: number): Partition {
    const topic = this.#namesById.get(topicId)
    if (topic === undefined) throw new TidemarkError('UNKNOWN_TOPIC_ID', `no topic with the id ${topicId} is on this node`)
    return this.find(topic, partition, topicId)
  }

  /** As `findById`; undefined where that throws. */
  peekById(topicId: string, partition: number): Partition | undefined {
    const slot = this.#topics.get(this.#namesById.get(topicId) ?? '')?.get(partition)
    return slot?.state === 'open' && slot.topicId === topicId ? slot.partition : undefined
  }

  /** The open partitions of a topic, by number. Throws `UNKNOWN_TOPIC`. */
  ofTopic(topic: string): Partition[] {
    const slots = this.#topics.get(topic)
    if (slots === undefined) throw new TidemarkError('UNKNOWN_TOPIC', `no topic named ${JSON.stringify(topic)}`)
    return [...slots.entries()].sort(([a], [b]) => a - b).flatMap(([, slot]) => (slot.state === 'open' ? [slot.partition] : []))
  }

  /** Sets the copy of a partition aside and begins it anew, if it still follows and nobody counts on it. */
  async refetch(topicId: string, number: number): Promise<void> {
    const partition = this.peekById(topicId, number)
    if (partition === undefined) return
    await this.changes.over(partition)
    if (!partition.isRetired && mayBeRefetched(partition.metadata, this.#host.nodeId)) await this.changes.reset(partition, 0)
  }

  /** Every open partition, by topic and number. */
  all(): Partition[] {
    return [...this.#topics.keys()].sort().flatMap((topic) => this.ofTopic(topic))
  }

  /** The same in no order, without sorting them: for who looks often. */
  *open(): Iterable<Partition> {
    for (const slots of this.#topics.values()) for (const slot of slots.values()) if (slot.state === 'open') yield slot.partition
  }

  get count(): number {
    return this.#topics.values().reduce((count, slots) => count + slots.size, 0)
  }

  /** Why partitions cannot be used, for the health page. */
  failures(): { readonly topic: string; readonly partition: number; readonly error: TidemarkError }[] {
    return [...this.#topics].flatMap(([topic, slots]) =>
      [...slots].flatMap(([partition, slot]) => (slot.state === 'failed' ? [{ topic, partition, error: slot.error }] : [])),
    )
  }

  /** Opens everything the image assigns to this node; resolves when all of it is open or has failed. */
  async openAll(image: MetadataImage): Promise<void> {
    for (const topic of image.topics.values()) this.#openTopic(topic)
    const total = this.count
    const progress = this.#runtime.timers.every(PROGRESS_EVERY_MS, () => {
      this.#runtime.log.info('partitions.opening', { openCount: total - this.#pending().length, totalCount: total })
    })
    await this.settled()
    progress.cancel()
  }

  /** Follows a change of the metadata. */
  apply(delta: MetadataDelta): void {
    for (const topic of delta.removedTopics) this.#removeTopic(topic)
    for (const topic of delta.changedTopics) this.#openTopic(topic)
  }

  /** Resolves when no log is being opened, cut or deleted. */
  async settled(): Promise<void> {
    for (let pending = this.#pending(); pending.length > 0; pending = this.#pending()) await Promise.all(pending)
  }

  /** Wakes and refuses whoever waits on any partition. The logs are closed by their data directory. */
  retireAll(reason: TidemarkError): void {
    for (const partition of this.open()) partition.retire(reason)
  }

  #pending(): Promise<void>[] {
    const opening = [...this.#topics.values()].flatMap((slots) =>
      [...slots.values()].flatMap((slot) => (slot.state === 'opening' ? [slot.opened] : [])),
    )
    return [...opening, ...this.changes.pending(), ...this.#deletions.values()]
  }

  #openTopic(topic: TopicMetadata): void {
    const slots = this.#topics.get(topic.name) ?? new Map<number, Slot>()
    this.#topics.set(topic.name, slots)
    this.#namesById.set(topic.topicId, topic.name)
    topic.partitions.forEach((metadata, partition) => {
      const present = slots.get(partition)
      if (!metadata.replicas.includes(this.#host.nodeId)) {
        if (present !== undefined) this.#removePartition(topic, partition, present, slots)
      } else if (present === undefined) slots.set(partition, this.#openSlot(topic, partition, metadata))
      else if (present.state === 'open') this.#update(present.partition, topic, metadata)
      else if (present.state === 'opening') present.latest = { topic, metadata }
      else if (present.error.code === 'CORRUPT_LOG' && mayBeRefetched(metadata, this.#host.nodeId))
        slots.set(partition, this.#openSlot(topic, partition, metadata))
    })
  }

  #openSlot(topic: TopicMetadata, partition: number, metadata: PartitionMetadata): Slot {
    const slot: OpeningSlot = { state: 'opening', topicId: topic.topicId, opened: Promise.resolve(), latest: { topic, metadata } }
    slot.opened = this.#open(topic, partition, slot)
    return slot
  }

  async #open(topic: TopicMetadata, number: number, opening: OpeningSlot): Promise<void> {
    let slot: Slot
    await this.#openings.enter()
    try {
      await this.#deletions.get(`${topic.name}-${number}`)
      const options = { topic: topic.name, topicId: topic.topicId, partition: number, config: topic.config }
      const { log: say } = this.#runtime
      const log = await openOrSetAside(this.#dataDir, say, options, this.#host.nodeId, () => opening.latest.metadata)
      const partition = new Partition({
        log,
        config: topic.config,
        // As it is by now: it may have changed while the log was being opened.
        metadata: opening.latest.metadata,
        budget: new ByteBudget(`produce bytes in flight of ${topic.name}-${number}`, this.#partitionBudgetBytes, this.#runtime.clock),
        host: this.#host,
      })
      if (partition.config !== opening.latest.topic.config) partition.configure(opening.latest.topic.config)
      slot = { state: 'open', topicId: topic.topicId, partition }
    } catch (caught) {
      const error = TidemarkError.from(caught)
      this.#runtime.log.error('partition.open-failed', { topic: topic.name, partition: number, code: error.code, error: error.message })
      slot = { state: 'failed', topicId: topic.topicId, error }
    } finally {
      this.#openings.leave()
    }
    const slots = this.#topics.get(topic.name)
    // The topic may have been removed, even created again, meanwhile.
    if (slots?.get(number) !== opening) return
    slots.set(number, slot)
    if (slot.state === 'open') this.#host.reviewed(slot.partition)
    else if (slot.state === 'failed') this.#host.unreadable({ topic: topic.name, topicId: topic.topicId, partition: number }, slot.error)
  }

  #removeTopic(topic: TopicMetadata): void {
    const slots = this.#topics.get(topic.name)
    if (slots === undefined) return
    this.#topics.delete(topic.name)
    this.#namesById.delete(topic.topicId)
    const reason = new TidemarkError('UNKNOWN_TOPIC_ID', `topic ${topic.name} was deleted`)
    for (const [number, slot] of slots) this.#drop(topic, number, slot, reason)
  }

  /** The metadata has given the replica to another node. */
  #removePartition(topic: TopicMetadata, number: number, slot: Slot, slots: Map<number, Slot>): void {
    slots.delete(number)
    this.#runtime.log.info('replica.removed', { topic: topic.name, partition: number })
    this.#drop(topic, number, slot, new TidemarkError('NOT_LEADER', `${topic.name}-${number} is on other nodes now`))
  }

  #drop(topic: TopicMetadata, number: number, slot: Slot, reason: TidemarkError): void {
    if (slot.state === 'open') {
      slot.partition.retire(reason)
      this.#host.closed(slot.partition)
    }
    const directory = `${topic.name}-${number}`
    const deletion = this.#delete(topic, number, slot, this.#deletions.get(directory)).finally(() => {
      if (this.#deletions.get(directory) === deletion) this.#deletions.delete(directory)
    })
    this.#deletions.set(directory, deletion)
  }

  #fail(partition: Partition, error: TidemarkError): void {
    const { topic, topicId, partition: number } = partition
    this.#runtime.log.error('partition.failed', { topic, partition: number, code: error.code, error: error.message })
    partition.retire(error)
    this.#host.closed(partition)
    if (this.peekById(topicId, number) !== partition) return
    this.#topics.get(topic)?.set(number, { state: 'failed', topicId, error })
    this.#host.unreadable(partition, error)
  }

  #update(partition: Partition, topic: TopicMetadata, metadata: PartitionMetadata): void {
    if (partition.config !== topic.config) partition.configure(topic.config)
    if (metadata.partitionEpoch <= partition.metadata.partitionEpoch) return
    partition.follow(metadata)
    this.#host.reviewed(partition)
  }

  #notHere(topic: string, partition: number, topicId: string | undefined): TidemarkError {
    const { nodeId } = this.#host
    const known = this.#host.metadataOf(topic, partition)
    const address = known && this.#host.addressOf(known.leader)
    return notHere({ topic, partition, topicId, nodeId, known, address, hasTopic: (this.#topics.get(topic)?.size ?? 0) > 0 })
  }

  async #delete(topic: TopicMetadata, number: number, slot: Slot, earlier: Promise<void> | undefined): Promise<void> {
    try {
      await earlier
      if (slot.state === 'opening') await slot.opened
      if (slot.state === 'open') await this.changes.over(slot.partition)
      await this.#dataDir.deleteLog(topic.name, number)
    } catch (error) {
      this.#runtime.log.error('partition.delete-failed', { topic: topic.name, partition: number, error: TidemarkError.from(error).message })
    }
  }
}
