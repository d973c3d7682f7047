/** Replication on one node: what its partitions need of it, joined: fetchers for those it follows, ISR changes for those it leads. */
import type { ActiveController } from '../../controller/active-controller.ts'
import type { MetadataView } from '../../controller/metadata-view.ts'
import type { Runtime, Timer } from '../../runtime/runtime.ts'
import type { PartitionLog } from '../../log/partition-log.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { Partition } from '../partition.ts'
import type { PartitionRegistry, RegistryHost } from '../partition-registry.ts'
import type { KnownElsewhere } from '../partition-refusals.ts'
import type { ReplicaChannel } from './channel.ts'
import { DamagedReplicas, type ReplicaName } from './damaged-replicas.ts'
import { IsrChanger } from './isr-changer.ts'
import type { IsrProposal } from './leader-state.ts'
import { ReplicaFetchers } from './replica-fetchers.ts'

/** Leaders look for replicas that have fallen behind so often, as a part of the time they may be behind. */
const REVIEW_PART = 0.25

export interface NodeReplicationParts {
  readonly nodeId: number
  readonly nodeEpoch: () => number
  readonly runtime: Pick<Runtime, 'clock' | 'timers' | 'random' | 'log'>
  readonly view: MetadataView
  readonly controller: Pick<ActiveController, 'ask'>
  readonly channel: ReplicaChannel
  readonly replicaLagMaxMs: number
  readonly partitions: () => PartitionRegistry
  /** An acknowledgement waits: someone has to look after its deadline. */
  readonly waiting: (partition: Partition) => void
}

export class NodeReplication implements RegistryHost {
  readonly damage: DamagedReplicas
  readonly #parts: NodeReplicationParts
  readonly #fetchers: ReplicaFetchers
  readonly #changer: IsrChanger
  readonly #review: Timer

  constructor(parts: NodeReplicationParts) {
    const { nodeId, nodeEpoch, runtime, view, controller, channel, replicaLagMaxMs } = parts
    const clusterId = (): string => view.image.clusterId
    const node = (): { clusterId: string; nodeId: number; nodeEpoch: number } => ({
      clusterId: clusterId(),
      nodeId,
      nodeEpoch: nodeEpoch(),
    })
    this.#parts = parts
    this.#changer = new IsrChanger({ controller, runtime, node })
    const refetch = ({ topicId, partition }: ReplicaName): Promise<void> => parts.partitions().refetch(topicId, partition)
    this.damage = new DamagedReplicas({ controller, runtime, view, node, refetch })
    this.#fetchers = new ReplicaFetchers({
      nodeId,
      clusterId,
      nodeEpoch,
      runtime,
      channel,
      truncate: (partition, offset) => this.#truncate(partition, offset),
      reset: (partition, offset) => parts.partitions().changes.reset(partition, offset),
    })
    this.#review = runtime.timers.every(replicaLagMaxMs * REVIEW_PART, () => {
      for (const partition of parts.partitions().open()) partition.reviewIsr()
    })
  }

  get nodeId(): number {
    return this.#parts.nodeId
  }

  get clock(): Runtime['clock'] {
    return this.#parts.runtime.clock
  }

  get replicaLagMaxMs(): number {
    return this.#parts.replicaLagMaxMs
  }

  isEligible(nodeId: number, nodeEpoch: number): boolean {
    const node = this.#parts.view.image.nodes.get(nodeId)
    return node !== undefined && node.nodeEpoch === nodeEpoch && !node.fenced && !node.shuttingDown
  }

  addressOf(nodeId: number): { readonly host: string; readonly port: number } | undefined {
    const node = this.#parts.view.image.nodes.get(nodeId)
    // Of several, which one the client can reach is not known here; it finds out from the metadata.
    return node === undefined || node.alternatives.length > 0 ? undefined : { host: node.host, port: node.port }
  }

  metadataOf(topic: string, partition: number): KnownElsewhere | undefined {
    const known = this.#parts.view.image.topics.get(topic)
    const state = known?.partitions[partition]
    return known && state && { topicId: known.topicId, leader: state.leader, leaderEpoch: state.leaderEpoch }
  }

  waiting(partition: Partition): void {
    this.#parts.waiting(partition)
  }

  isrWanted(partition: Partition, proposal: IsrProposal): void {
    this.#changer.want(partition, proposal)
  }

  flushed(partition: Partition): void {
    this.#fetchers.progressed(partition)
  }

  reviewed(partition: Partition): void {
    this.#fetchers.review(partition)
    this.damage.reviewed(partition)
  }

  closed(partition: Partition): void {
    this.#fetchers.forget(partition)
    this.damage.forget(partition)
  }

  /** What the log of a partition had on disk is not as it was written. */
  damaged(log: PartitionLog, error: TidemarkError): void {
    this.damage.found(log, log, error)
  }

  unreadable(replica: ReplicaName, error: TidemarkError): void {
    if (error.code === 'CORRUPT_LOG') this.damage.found(replica, undefined, error)
  }

  isGivenUp(replica: Pick<ReplicaName, 'topic' | 'partition'>): boolean {
    return this.damage.isGivenUp(replica)
  }

  /** Resolves when no log is being cut or begun anew any more. */
  async close(): Promise<void> {
    this.#review.cancel()
    this.#changer.close()
    this.damage.close()
    this.#fetchers.close()
    await this.#parts.partitions().settled()
  }

  async #truncate(partition: Partition, offset: number): Promise<void> {
    try {
      await this.#parts.partitions().changes.truncate(partition, offset)
    } catch (error) {
      // Where it is to be cut cannot be found: the log that is left is the one that was.
      if (TidemarkError.is(error) && error.code === 'CORRUPT_LOG') this.damaged(partition.log, error)
      throw error
    }
  }
}
