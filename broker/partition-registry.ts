/**
 * The partitions of this node: opens, configures and deletes them as the metadata says.
 *
 * Metadata comes as deltas, in order; opening a log takes time. Each topic-partition therefore has a chain of work of
 * its own, so that a topic that is deleted while it is being opened ends deleted. Data on disk is
 * deleted only when the metadata says that its topic was removed, never because a topic is
 * missing from it.
 */
import type { MetadataDelta, MetadataImage, PartitionMetadata, TopicMetadata } from '../controller/metadata/image.ts'
import type { DataDir } from '../log/data-dir.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { ByteBudget } from './backpressure.ts'
import { Partition } from './partition.ts'

/** Logs opened at the same time: enough to keep the disk busy, few enough to keep memory and handles in bounds. */
const OPEN_CONCURRENCY = 32

/** How often opening many logs reports its progress. */
const PROGRESS_EVERY_MS = 2000

/** A partition that exists, is on its way, or could not be opened. */
type Slot =
  | { readonly state: 'opening'; readonly topicId: string; readonly opened: Promise<void> }
  | { readonly state: 'open'; readonly topicId: string; readonly partition: Partition }
  | { readonly state: 'failed'; readonly topicId: string; readonly error: TidemarkError }

export class PartitionRegistry {
  readonly #dataDir: DataDir
  readonly #runtime: Runtime
  readonly #nodeId: number
  readonly #partitionBudgetBytes: number
  readonly #onWaiting: (partition: Partition) => void
  /** By topic name, then by partition number. */
  readonly #topics = new Map<string, Map<number, Slot>>()
  /** By directory: a topic created again under its old name waits until the old directory is out of the way. */
  readonly #deletions = new Map<string, Promise<void>>()
  #openingCount = 0
  readonly #openQueue: (() => void)[] = []

  constructor(parts: {
    readonly dataDir: DataDir
    readonly runtime: Runtime
    readonly nodeId: number
    readonly partitionBudgetBytes: number
    readonly onWaiting: (partition: Partition) => void
  }) {
    this.#dataDir = parts.dataDir
    this.#runtime = parts.runtime
    this.#nodeId = parts.nodeId
    this.#partitionBudgetBytes = parts.partitionBudgetBytes
    this.#onWaiting = parts.onWaiting
  }

  /** The partition, ready for work. Throws `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, `UNKNOWN_TOPIC_ID`, `LEADER_NOT_AVAILABLE` or why it could not be opened. */
  find(topic: string, partition: number, topicId: string | undefined): Partition {
    const slots = this.#topics.get(topic)
    if (slots === undefined) throw new TidemarkError('UNKNOWN_TOPIC', `no topic named ${JSON.stringify(topic)}`, { outcome: 'failed' })
    const slot = slots.get(partition)
    if (slot === undefined) {
      throw new TidemarkError('UNKNOWN_PARTITION', `topic ${topic} has no partition ${partition} on this node; it has ${slots.size}`, {
        outcome: 'failed',
      })
    }
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
        throw slot.error
    }
  }

  /** The open partitions of a topic, by number. Throws `UNKNOWN_TOPIC`. */
  ofTopic(topic: string): Partition[] {
    const slots = this.#topics.get(topic)
    if (slots === undefined) throw new TidemarkError('UNKNOWN_TOPIC', `no topic named ${JSON.stringify(topic)}`)
    return [...slots.entries()].sort(([a], [b]) => a - b).flatMap(([, slot]) => (slot.state === 'open' ? [slot.partition] : []))
  }

  /** Every open partition, by topic and number. */
  all(): Partition[] {
    return [...this.#topics.keys()].sort().flatMap((topic) => this.ofTopic(topic))
  }

  get count(): number {
    let count = 0
    for (const slots of this.#topics.values()) count += slots.size
    return count
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

  /** Resolves when no log is being opened or deleted. */
  async settled(): Promise<void> {
    for (let pending = this.#pending(); pending.length > 0; pending = this.#pending()) await Promise.all(pending)
  }

  /** Wakes and refuses whoever waits on any partition. The logs are closed by their data directory. */
  retireAll(reason: TidemarkError): void {
    for (const partition of this.all()) partition.retire(reason)
  }

  #pending(): Promise<void>[] {
    const opening = [...this.#topics.values()].flatMap((slots) =>
      [...slots.values()].flatMap((slot) => (slot.state === 'opening' ? [slot.opened] : [])),
    )
    return [...opening, ...this.#deletions.values()]
  }

  #openTopic(topic: TopicMetadata): void {
    const slots = this.#topics.get(topic.name) ?? new Map<number, Slot>()
    this.#topics.set(topic.name, slots)
    topic.partitions.forEach((metadata, partition) => {
      if (!metadata.replicas.includes(this.#nodeId)) return
      const present = slots.get(partition)
      if (present === undefined) slots.set(partition, this.#openSlot(topic, partition, metadata))
      else if (present.state === 'open') update(present.partition, topic, metadata)
    })
  }

  #openSlot(topic: TopicMetadata, partition: number, metadata: PartitionMetadata): Slot {
    return { state: 'opening', topicId: topic.topicId, opened: this.#open(topic, partition, metadata) }
  }

  async #open(topic: TopicMetadata, number: number, metadata: PartitionMetadata): Promise<void> {
    let slot: Slot
    await this.#enterOpening()
    try {
      await this.#deletions.get(`${topic.name}-${number}`)
      const log = await this.#dataDir.openLog({ topic: topic.name, topicId: topic.topicId, partition: number, config: topic.config })
      const partition = new Partition({
        log,
        config: topic.config,
        leaderEpoch: metadata.leaderEpoch,
        budget: new ByteBudget(`produce bytes in flight of ${topic.name}-${number}`, this.#partitionBudgetBytes, this.#runtime.clock),
        onWaiting: this.#onWaiting,
      })
      slot = { state: 'open', topicId: topic.topicId, partition }
    } catch (caught) {
      const error = TidemarkError.from(caught)
      this.#runtime.log.error('partition.open-failed', { topic: topic.name, partition: number, code: error.code, error: error.message })
      slot = { state: 'failed', topicId: topic.topicId, error }
    } finally {
      this.#leaveOpening()
    }
    const slots = this.#topics.get(topic.name)
    // The topic may have been removed, even created again, meanwhile.
    if (slots?.get(number)?.topicId === topic.topicId) slots.set(number, slot)
  }

  #removeTopic(topic: TopicMetadata): void {
    const slots = this.#topics.get(topic.name)
    if (slots === undefined) return
    this.#topics.delete(topic.name)
    const reason = new TidemarkError('UNKNOWN_TOPIC_ID', `topic ${topic.name} was deleted`)
    for (const [number, slot] of slots) {
      if (slot.state === 'open') slot.partition.retire(reason)
      const directory = `${topic.name}-${number}`
      const deletion = this.#delete(topic, number, slot, this.#deletions.get(directory)).finally(() => {
        if (this.#deletions.get(directory) === deletion) this.#deletions.delete(directory)
      })
      this.#deletions.set(directory, deletion)
    }
  }

  async #delete(topic: TopicMetadata, number: number, slot: Slot, earlier: Promise<void> | undefined): Promise<void> {
    try {
      await earlier
      if (slot.state === 'opening') await slot.opened
      await this.#dataDir.deleteLog(topic.name, number)
    } catch (error) {
      this.#runtime.log.error('partition.delete-failed', { topic: topic.name, partition: number, error: TidemarkError.from(error).message })
    }
  }

  async #enterOpening(): Promise<void> {
    if (this.#openingCount >= OPEN_CONCURRENCY) await new Promise<void>((resolve) => this.#openQueue.push(resolve))
    this.#openingCount++
  }

  #leaveOpening(): void {
    this.#openingCount--
    this.#openQueue.shift()?.()
  }
}

function update(partition: Partition, topic: TopicMetadata, metadata: PartitionMetadata): void {
  if (partition.config !== topic.config) partition.configure(topic.config)
  if (partition.leaderEpoch !== metadata.leaderEpoch) partition.setLeaderEpoch(metadata.leaderEpoch)
}
