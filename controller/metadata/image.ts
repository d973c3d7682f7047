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
  readonly host: string
  readonly port: number
  readonly rack: string
  readonly version: string
  readonly roles: readonly string[]
}

export interface PartitionMetadata {
  readonly replicas: readonly number[]
  readonly isr: readonly number[]
  /** -1: none. */
  readonly leader: number
  readonly leaderEpoch: number
  readonly partitionEpoch: number
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
  /** Registered, for the first time or again. */
  readonly changedNodes: readonly NodeMetadata[]
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
