/**
 * Moving replicas to other nodes. Pure.
 *
 * ```
 * replicas 1 2 3, wanted 1 2 4:  replicas 1 2 4 3   adding 4   removing 3      grows
 * 4 is in sync:                  replicas 1 2 4                                shrinks, in the change that brings 4 into the ISR
 * ```
 *
 * `replicas` without `adding` is where they were: to give a move up is to move back there. What had come into sync for the
 * move goes the way every replica goes, not before enough others are in sync; it stands in `adding` and `removing` until then.
 */
import { TidemarkError } from '../../protocol/errors.ts'
import type {
  ListReassignmentsResponse,
  ReassignPartition,
  ReassignRequest,
  ReassignResponse,
  ReassignResult,
} from '../../protocol/gen/tidemark/v1/cluster.ts'
import type { MetadataRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { type Decision, decideEntry, repeatChecker } from './decision.ts'
import type { MetadataImage, PartitionMetadata } from './image.ts'
import { anyTopic, existingPartition, isMoving } from './lookup.ts'
import { changePartition, nodeStates, type WantedChange } from './partition-change.ts'

export function reassign(image: MetadataImage, request: ReassignRequest): Decision<ReassignResponse> {
  const records: MetadataRecord[] = []
  const nodes = nodeStates(image)
  const keyOf = ({ topic, partition }: ReassignPartition): string => `${topic}-${partition}`
  const refuseRepeated = repeatChecker('partition', request.partitions.map(keyOf))
  const partitions = request.partitions.map((wanted) =>
    decideEntry<ReassignResult>(
      () => {
        refuseRepeated(keyOf(wanted))
        const topic = anyTopic(image, wanted.topic)
        const before = existingPartition(topic, wanted.partition)
        if (wanted.replicas.length > 0) checkTarget(image, wanted)
        else if (!isMoving(before))
          throw new TidemarkError('NO_REASSIGNMENT_IN_PROGRESS', `${keyOf(wanted)} is not being moved, there is nothing to give up`)
        const target = wanted.replicas.length > 0 ? wanted.replicas : originalReplicas(before)
        const record = changePartition(topic, wanted.partition, moveTo(before, target), nodes)
        if (record !== undefined) records.push(record)
        return { topic: wanted.topic, partition: wanted.partition, error: undefined }
      },
      (error) => ({ topic: wanted.topic, partition: wanted.partition, error }),
    ),
  )
  return { records, response: { partitions } }
}

export function listReassignments(image: MetadataImage): ListReassignmentsResponse {
  const topics = [...image.topics.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  const partitions = topics.flatMap(({ name, partitions }) =>
    partitions.flatMap((state, partition) =>
      isMoving(state)
        ? {
            topic: name,
            partition,
            replicas: [...state.replicas],
            adding: [...state.addingReplicas],
            removing: [...state.removingReplicas],
            isr: [...state.isr],
          }
        : [],
    ),
  )
  return { partitions }
}

/** The change that begins to move the replicas to `target`, the preferred leader first, whatever move is under way. */
export function moveTo(before: PartitionMetadata, target: readonly number[]): WantedChange {
  const origin = originalReplicas(before)
  const mayHaveAll = (id: number): boolean => before.isr.includes(id) || before.elr.includes(id)
  // What never came into sync can be let go at once.
  const others = before.replicas.filter((id) => !target.includes(id) && (origin.includes(id) || mayHaveAll(id)))
  const replicas = [...target, ...others]
  return { replicas, addingReplicas: replicas.filter((id) => !origin.includes(id)), removingReplicas: others }
}

/** Where they were before the move under way. Who was to go came last in the order: who was preferred then is not known any more. */
function originalReplicas({ replicas, addingReplicas }: PartitionMetadata): number[] {
  return replicas.filter((id) => !addingReplicas.includes(id))
}

function checkTarget(image: MetadataImage, { topic, partition, replicas }: ReassignPartition): void {
  const refuse = (problem: string): never => {
    throw new TidemarkError(
      'INVALID_REPLICA_ASSIGNMENT',
      `${topic}-${partition} cannot have its replicas on ${replicas.join(', ')}: ${problem}`,
    )
  }
  if (new Set(replicas).size !== replicas.length) refuse('a node is named more than once')
  for (const nodeId of replicas) {
    const node = image.nodes.get(nodeId)
    if (node === undefined) refuse(`node ${nodeId} is not part of the cluster`)
    else if (!node.roles.includes('broker')) refuse(`node ${nodeId} is no broker`)
    else if (node.draining) refuse(`node ${nodeId} is being drained`)
  }
}
