/** The coordinator of a node, joined to what it needs of it. */
import type { Runtime } from '../../runtime/runtime.ts'
import type { ClusterLink } from '../cluster-link.ts'
import type { NodeConfig } from '../config.ts'
import type { PartitionRegistry } from '../partition-registry.ts'
import { GroupCoordinator } from './coordinator.ts'
import { OffsetsTopic } from './offsets-topic.ts'

export function createCoordinator(parts: {
  readonly config: NodeConfig
  readonly runtime: Runtime
  readonly cluster: ClusterLink
  readonly partitions: PartitionRegistry
}): GroupCoordinator {
  const { config, runtime, cluster, partitions } = parts
  const { view, controller } = cluster
  const { nodeId, groups, defaultReplicas, roles, voters, sessionTimeoutMs } = config
  const votersCount = roles.includes('broker') && roles.includes('controller') ? voters.length : 0
  return new GroupCoordinator({
    nodeId,
    runtime,
    view,
    partitions,
    topic: new OffsetsTopic({ view, controller, partitions: groups.offsetsPartitions, replicas: defaultReplicas, votersCount }),
    offsetsRetentionMs: groups.offsetsRetentionMs,
    isInTouch: () => cluster.isInTouch,
    // A cluster of one has no other that could go on.
    graceMs: () => (view.image.nodes.size > 1 ? sessionTimeoutMs : 0),
  })
}
