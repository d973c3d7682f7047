/**
 * The metadata of a cluster as an immutable value: what all records up to `version` amount to.
 *
 * The same records give the same image on every node. Applying a record makes a new image that shares everything
 * untouched with the old one.
 */
import type { TopicConfig } from '../../protocol/topic-config.ts'
import { SharedMap } from './shared-map.ts'

export interface NodeMetadata {
  readonly nodeId: number
  readonly incarnationId: string
  readonly directoryId: string
  /** How often the directory had been started by then; 0: not counted. */
  readonly starts: number
  readonly host: string
  readonly port: number
  /** Where it is reached from elsewhere, as `host:port`. */
  readonly alternatives: readonly string[]
  readonly rack: string
  readonly version: string
  readonly roles: readonly string[]
  /** Of this run of its process; larger than that of every earlier registration. */
  readonly nodeEpoch: number
  /** Leads nothing and is in no ISR: it has not caught up yet, or was silent for longer than its session. */
  readonly fenced: boolean
  /** Moves its leaderships away in order to stop. */
  readonly shuttingDown: boolean
  /** Gets no new replicas: an operator empties it. */
  readonly draining: boolean
}

export interface PartitionMetadata {
  readonly replicas: readonly number[]
  readonly isr: readonly number[]
  /** -1: none. */
  readonly leader: number
  readonly leaderEpoch: number
  readonly partitionEpoch: number
  /** Eligible leader replicas: left the ISR when it would have become too small, and complete since the high watermark does not move meanwhile. */
  readonly elr: readonly number[]
  /** Replicas that a reassignment brings, and takes away when it is done; all among `replicas`. In both: came for a move that was given up. */
  readonly addingReplicas: readonly number[]
  readonly removingReplicas: readonly number[]
  /** Who led last, while nobody does; -1: not known. */
  readonly lastKnownLeader: number
}

export interface TopicMetadata {
  readonly name: string
  readonly topicId: string
  readonly internal: boolean
  /** Settings that differ from their default, as written. */
  readonly configs: Readonly<Record<string, string>>
  /** All settings, parsed. */
  readonly config: TopicConfig
  /** By number, without gaps. */
  readonly partitions: readonly PartitionMetadata[]
}

export interface MetadataImage {
  /** Offset of the last batch applied, plus one: the number of batches in it; 0 before the first. Clients see it as `metadata_version`, where 0 is "knows nothing". */
  readonly version: number
  /** Empty before the first record. */
  readonly clusterId: string
  readonly featureLevel: number
  readonly nodes: ReadonlyMap<number, NodeMetadata>
  /** By name, in no order that means anything. */
  readonly topics: SharedMap<TopicMetadata>
  readonly topicNamesById: SharedMap<string>
  /** Of all topics together. */
  readonly partitionCount: number
  /** Producer ids below are taken. */
  readonly nextProducerId: number
}

export interface PartitionChange {
  /** As it is now. */
  readonly topic: TopicMetadata
  readonly partition: number
}

/** What a batch changed. Whoever follows removes first, then makes and changes: a name may be removed and created in one batch. */
export interface MetadataDelta {
  /** Created or changed, as they are now. */
  readonly changedTopics: readonly TopicMetadata[]
  /** Those of `changedTopics` that did not exist before. */
  readonly createdTopics: readonly TopicMetadata[]
  /** As they were. */
  readonly removedTopics: readonly TopicMetadata[]
  /** Created or changed, of topics that exist now. */
  readonly changedPartitions: readonly PartitionChange[]
  /** Registered, or in another state than before. */
  readonly changedNodes: readonly NodeMetadata[]
  /** Not part of the cluster any more. */
  readonly removedNodes: readonly number[]
}

export const EMPTY_IMAGE: MetadataImage = Object.freeze({
  version: 0,
  clusterId: '',
  featureLevel: 0,
  nodes: new Map(),
  topics: SharedMap.empty<TopicMetadata>(),
  topicNamesById: SharedMap.empty<string>(),
  partitionCount: 0,
  nextProducerId: 0,
})
