/** An image as records that make the same image from an empty one, and back. Pure. */
import type { MetadataRecord, MetadataSnapshot } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { applyBatch } from './apply.ts'
import { EMPTY_IMAGE, type MetadataImage, type NodeMetadata, type TopicMetadata } from './image.ts'
import { partitionRecord } from './partition-record.ts'

export function imageToSnapshot(image: MetadataImage): MetadataSnapshot {
  const { version, clusterId, featureLevel, nextProducerId } = image
  const records: MetadataRecord[] = []
  if (clusterId !== '') records.push({ record: { $case: 'cluster', value: { clusterId, featureLevel } } })
  if (nextProducerId > 0) records.push({ record: { $case: 'producerIdBlock', value: { nodeId: -1, firstProducerId: 0, nextProducerId } } })
  for (const node of [...image.nodes.values()].sort((a, b) => a.nodeId - b.nodeId)) records.push(...nodeRecords(node))
  // By name: the same image gives the same bytes on every node.
  for (const topic of [...image.topics.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) records.push(...topicRecords(topic))
  return { version, records }
}

export function imageFromSnapshot({ version, records }: MetadataSnapshot): MetadataImage {
  if (records.length === 0) return { ...EMPTY_IMAGE, version }
  return { ...applyBatch(EMPTY_IMAGE, 0, { records: [...records] }).image, version }
}

function nodeRecords({ fenced, shuttingDown, draining, ...registration }: NodeMetadata): MetadataRecord[] {
  const { nodeId, nodeEpoch } = registration
  return [
    {
      record: {
        $case: 'registerNode',
        value: { ...registration, roles: [...registration.roles], alternatives: [...registration.alternatives] },
      },
    },
    { record: { $case: 'nodeState', value: { nodeId, nodeEpoch, fenced, shuttingDown, draining } } },
  ]
}

function topicRecords({ name, topicId, internal, configs, partitions }: TopicMetadata): MetadataRecord[] {
  return [
    { record: { $case: 'topic', value: { name, topicId, internal } } },
    ...Object.entries(configs)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]): MetadataRecord => ({ record: { $case: 'topicConfig', value: { topicId, key, value } } })),
    ...partitions.map(
      (state, partition): MetadataRecord => ({ record: { $case: 'partition', value: partitionRecord(topicId, partition, state) } }),
    ),
  ]
}
