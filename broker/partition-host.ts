/** What a partition asks of the node it is on. */
import type { PartitionMetadata } from '../controller/metadata/image.ts'
import type { PartitionLog } from '../log/partition-log.ts'
import type { TopicConfig } from '../protocol/topic-config.ts'
import type { Clock } from '../runtime/runtime.ts'
import type { ByteBudget } from './backpressure.ts'
import type { IsrProposal } from './replication/leader-state.ts'

/** What a partition begins with. */
export interface PartitionParts<Partition> {
  readonly log: PartitionLog
  readonly config: TopicConfig
  readonly metadata: PartitionMetadata
  readonly budget: ByteBudget
  readonly host: PartitionHost<Partition>
}

export interface PartitionHost<Partition> {
  readonly nodeId: number
  readonly clock: Clock
  readonly replicaLagMaxMs: number
  /** The node is alive, not about to stop, and this is its present run. */
  isEligible(nodeId: number, nodeEpoch: number): boolean
  /** Where clients reach a node. */
  addressOf(nodeId: number): { readonly host: string; readonly port: number } | undefined
  /** The first acknowledgement waits: someone has to look after its deadline. */
  waiting(partition: Partition): void
  /** The controller shall be asked for another ISR. */
  isrWanted(partition: Partition, proposal: IsrProposal): void
  /** A follower has made more durable: its leader should hear of it. */
  flushed(partition: Partition): void
}
