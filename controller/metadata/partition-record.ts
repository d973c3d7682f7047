/** The state of a partition in the form of the wire. Pure. */
import type { PartitionRecord } from '../../protocol/gen/tidemark/v1/metadata.ts'
import type { PartitionMetadata } from './image.ts'

export function partitionRecord(topicId: string, partition: number, state: PartitionMetadata): PartitionRecord {
  return {
    topicId,
    partition,
    ...state,
    replicas: [...state.replicas],
    isr: [...state.isr],
    elr: [...state.elr],
    addingReplicas: [...state.addingReplicas],
    removingReplicas: [...state.removingReplicas],
  }
}
