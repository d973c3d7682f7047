/** Leaders change the in-sync replicas of their partitions. Pure. */
import { TidemarkError } from '../../protocol/errors.ts'
import type {
  AlterPartition,
  AlterPartitionResult,
  AlterPartitionsRequest,
  AlterPartitionsResponse,
} from '../../protocol/gen/tidemark/v1/controller.ts'
import type { MetadataRecord, PartitionRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { type Decision, decideEntry, repeatChecker } from './decision.ts'
import type { MetadataImage, PartitionMetadata, TopicMetadata } from './image.ts'
import { checkCluster, existingRun } from './nodes.ts'
import { changePartition, nodeStates } from './partition-change.ts'
import { partitionRecord } from './partition-record.ts'

export function alterPartitions(image: MetadataImage, request: AlterPartitionsRequest): Decision<AlterPartitionsResponse> {
  checkCluster(image, request.clusterId)
  const node = existingRun(image, request.nodeId, request.nodeEpoch)
  if (node.fenced) throw new TidemarkError('FENCED_NODE_EPOCH', `node ${node.nodeId} is fenced, what it sees does not count`)
  const records: MetadataRecord[] = []
  const keyOf = ({ topicId, partition }: AlterPartition): string => `${topicId}-${partition}`
  const refuseRepeated = repeatChecker('partition', request.partitions.map(keyOf))
  const partitions = request.partitions.map((wanted) =>
    decideEntry<AlterPartitionResult>(
      () => {
        const { topicId, partition } = wanted
        refuseRepeated(keyOf(wanted))
        const { record, state } = alterPartition(image, node.nodeId, wanted)
        if (record !== undefined) records.push(record)
        return { topicId, partition, error: undefined, state }
      },
      (error) => ({ topicId: wanted.topicId, partition: wanted.partition, error, state: undefined }),
    ),
  )
  return { records, response: { error: undefined, partitions } }
}

function alterPartition(
  image: MetadataImage,
  nodeId: number,
  wanted: AlterPartition,
): { record: MetadataRecord | undefined; state: PartitionRecord } {
  const { topicId, partition } = wanted
  const topic = image.topics.get(image.topicNamesById.get(topicId) ?? '')
  const present = topic?.partitions[partition]
  if (topic === undefined || present === undefined)
    throw new TidemarkError('UNKNOWN_TOPIC_ID', `no topic with the id ${topicId} has a partition ${partition}`)
  checkEpochs(nodeId, wanted, present, `${topic.name}-${partition}`)
  checkMembers(image, wanted, present, topic)
  const isr = wanted.isr.map((member) => member.nodeId)
  const record = changePartition(topic, partition, { isr }, nodeStates(image))
  const value = record?.record?.$case === 'partition' ? record.record.value : partitionRecord(topicId, partition, present)
  return { record, state: value }
}

function checkEpochs(nodeId: number, wanted: AlterPartition, present: PartitionMetadata, where: string): void {
  const { leaderEpoch, partitionEpoch } = wanted
  // It has seen more than this controller: another one is active.
  if (leaderEpoch > present.leaderEpoch || partitionEpoch > present.partitionEpoch)
    throw new TidemarkError(
      'NOT_CONTROLLER',
      `${where} is in epoch ${leaderEpoch}.${partitionEpoch}, which this controller has not heard of`,
    )
  if (leaderEpoch < present.leaderEpoch || present.leader !== nodeId)
    throw new TidemarkError(
      'FENCED_LEADER_EPOCH',
      `node ${present.leader} leads ${where} in epoch ${present.leaderEpoch}, not node ${nodeId} in ${leaderEpoch}`,
    )
  if (partitionEpoch < present.partitionEpoch)
    throw new TidemarkError('INVALID_UPDATE_VERSION', `${where} is in partition epoch ${present.partitionEpoch}, not ${partitionEpoch}`)
}

function checkMembers(image: MetadataImage, { isr, partition }: AlterPartition, present: PartitionMetadata, topic: TopicMetadata): void {
  const where = `${topic.name}-${partition}`
  const ids = isr.map(({ nodeId }) => nodeId)
  const isSound = new Set(ids).size === ids.length && ids.includes(present.leader) && ids.every((id) => present.replicas.includes(id))
  if (!isSound) throw new TidemarkError('INVALID_REQUEST', `${ids.join(', ')} cannot be the replicas in sync of ${where}`)
  const { mayLead } = nodeStates(image)
  for (const { nodeId, nodeEpoch } of isr) {
    if (present.isr.includes(nodeId)) continue
    const node = image.nodes.get(nodeId)
    if (!mayLead(nodeId) || node === undefined)
      throw new TidemarkError('INELIGIBLE_REPLICA', `node ${nodeId} is fenced or shutting down and cannot be in sync for ${where}`)
    if (node.nodeEpoch !== nodeEpoch)
      throw new TidemarkError(
        'INELIGIBLE_REPLICA',
        `node ${nodeId} was in sync for ${where} in its run ${nodeEpoch}, it is in ${node.nodeEpoch}`,
      )
  }
}
