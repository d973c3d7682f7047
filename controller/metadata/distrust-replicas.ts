/** Copies of partitions that are damaged, or lack records they were taken to have: nobody counts on them from then on. Pure. */
import { TidemarkError } from '../../protocol/errors.ts'
import type {
  DistrustedReplica,
  DistrustReplicaResult,
  DistrustReplicasRequest,
  DistrustReplicasResponse,
} from '../../protocol/gen/tidemark/v1/controller.ts'
import type { MetadataRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { type Decision, decideEntry, repeatChecker } from './decision.ts'
import type { MetadataImage } from './image.ts'
import { checkCluster, existingRun } from './nodes.ts'
import { changePartition, nodeStates } from './partition-change.ts'

export function distrustReplicas(image: MetadataImage, request: DistrustReplicasRequest): Decision<DistrustReplicasResponse> {
  checkCluster(image, request.clusterId)
  const { nodeId } = existingRun(image, request.nodeId, request.nodeEpoch)
  const records: MetadataRecord[] = []
  // Two changes of one partition would both be made of its present state.
  const keyOf = ({ topicId, partition }: DistrustedReplica): string => `${topicId}-${partition}`
  const refuseRepeated = repeatChecker('partition', request.replicas.map(keyOf))
  const replicas = request.replicas.map((wanted) => {
    const { topicId, partition } = wanted
    return decideEntry<DistrustReplicaResult>(
      () => {
        refuseRepeated(keyOf(wanted))
        const record = distrust(image, nodeId, wanted)
        if (record !== undefined) records.push(record)
        return { topicId, partition, error: undefined }
      },
      (error) => ({ topicId, partition, error }),
    )
  })
  return { records, response: { error: undefined, replicas } }
}

function distrust(image: MetadataImage, senderId: number, wanted: DistrustedReplica): MetadataRecord | undefined {
  const { topicId, partition, replicaId, leaderEpoch } = wanted
  const topic = image.topics.get(image.topicNamesById.get(topicId) ?? '')
  const present = topic?.partitions[partition]
  if (topic === undefined || present === undefined)
    throw new TidemarkError('UNKNOWN_TOPIC_ID', `no topic with the id ${topicId} has a partition ${partition}`)
  const { isr, elr, leader } = present
  const where = `${topic.name}-${partition}`
  if (replicaId !== senderId && (leader !== senderId || leaderEpoch !== present.leaderEpoch))
    throw new TidemarkError(
      'FENCED_LEADER_EPOCH',
      `node ${leader} leads ${where} in epoch ${present.leaderEpoch}, not node ${senderId} in ${leaderEpoch}`,
    )
  if (!isr.includes(replicaId) && !elr.includes(replicaId)) return undefined
  const states = nodeStates(image)
  // Damaged or not, it is the best there is.
  if (![...isr, ...elr].some((id) => id !== replicaId && states.mayLead(id)))
    throw new TidemarkError('ELIGIBLE_LEADERS_NOT_AVAILABLE', `no other node that is alive has everything of ${where}`)
  // The copy begins anew in the run in which it was complete: by the epoch its leader knows that what it said before is over.
  return changePartition(
    topic,
    partition,
    { isr: isr.filter((id) => id !== replicaId), distrusted: [replicaId], startsEpoch: true },
    states,
  )
}
