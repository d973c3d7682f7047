/** The topic `__consumer_offsets`: made when it is needed for the first time, and which of its partitions a group belongs to. */
import type { ActiveController } from '../../controller/active-controller.ts'
import type { PartitionMetadata, TopicMetadata } from '../../controller/metadata/image.ts'
import type { MetadataView } from '../../controller/metadata-view.ts'
import { fromErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { CONSUMER_OFFSETS_TOPIC } from '../../protocol/internal-topics.ts'
import { partitionForKey } from '../../protocol/partitioner.ts'

/** How long it may take until a topic that another node has made is known here. */
const CATCH_UP_TIMEOUT_MS = 5000

/** With three nodes a committed offset survives the loss of any one. */
const REPLICAS_USUAL = 3

export interface OffsetsTopicParts {
  readonly view: MetadataView
  readonly controller: Pick<ActiveController, 'ask'>
  readonly partitions: number
  /** 0: as many as are good for it. */
  readonly replicas: number
  /** Controllers of the configuration that are brokers as well: nodes the cluster will have, though they may not be there yet. */
  readonly votersCount: number
}

export class OffsetsTopic {
  readonly #parts: OffsetsTopicParts
  #creation: Promise<void> | undefined

  constructor(parts: OffsetsTopicParts) {
    this.#parts = parts
  }

  get metadata(): TopicMetadata | undefined {
    return this.#parts.view.image.topics.get(CONSUMER_OFFSETS_TOPIC)
  }

  /** The partition a group belongs to; undefined while there is no topic. */
  partitionOf(group: string): { readonly number: number; readonly metadata: PartitionMetadata } | undefined {
    const topic = this.metadata
    if (topic === undefined) return undefined
    const number = partitionForKey('murmur3', Buffer.from(group), topic.partitions.length)
    return { number, metadata: topic.partitions[number] as PartitionMetadata }
  }

  /** Resolves with true when it had to be made, when it is known here. Rejects with `COORDINATOR_NOT_AVAILABLE` when it cannot be made at the moment. */
  async ensure(): Promise<boolean> {
    if (this.metadata !== undefined) return false
    this.#creation ??= this.#create().finally(() => {
      this.#creation = undefined
    })
    await this.#creation
    return true
  }

  async #create(): Promise<void> {
    const { view, controller, partitions } = this.#parts
    try {
      const wanted = { name: CONSUMER_OFFSETS_TOPIC, partitions, replicas: this.#replicas(), configs: {} }
      const { topics } = await controller.ask('createTopics', { topics: [wanted], validateOnly: false })
      const error = topics[0]?.error
      if (error !== undefined && error.code !== 'TOPIC_ALREADY_EXISTS') throw fromErrorDetail(error)
    } catch (error) {
      throw notAvailable(TidemarkError.from(error).message, error)
    }
    // Made by another node it may not be known here yet.
    if (this.metadata === undefined) await view.waitForVersion(view.image.version, { timeoutMs: CATCH_UP_TIMEOUT_MS })
    if (this.metadata === undefined) throw notAvailable('it was made, and is not known on this node yet')
  }

  /** A cluster that is only coming up must not be left with a single copy. */
  #replicas(): number {
    const { view, replicas, votersCount } = this.#parts
    if (replicas > 0) return replicas
    const known = [...view.image.nodes.values()].filter(({ roles }) => roles.includes('broker')).length
    return Math.max(known, votersCount) >= REPLICAS_USUAL ? REPLICAS_USUAL : 1
  }
}

function notAvailable(why: string, cause?: unknown): TidemarkError {
  return new TidemarkError('COORDINATOR_NOT_AVAILABLE', `topic ${CONSUMER_OFFSETS_TOPIC} cannot be made: ${why}`, {
    retryAfterMs: 200,
    cause,
  })
}
