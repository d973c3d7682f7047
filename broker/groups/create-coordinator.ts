/** The coordinator of a node, joined to what it needs of it. */
import type { Runtime } from '../../runtime/runtime.ts'
import type { ClusterLink } from '../cluster-link.ts'
import type { NodeConfig } from '../config.ts'
import type { PartitionRegistry } from '../partition-registry.ts'
import { GroupCoordinator } from './coordinator.ts'
import { OffsetsTopic } from './offsets-topic.ts'

/** Within so many election timeouts a controller that has lost its quorum notices. */
const DEPOSED_ELECTIONS = 2

export function createCoordinator(parts: {
  readonly config: NodeConfig
  readonly runtime: Runtime
  readonly cluster: ClusterLink
  readonly partitions: PartitionRegistry
}): GroupCoordinator {
  const { config, runtime, cluster, partitions } = parts
  const { view, controller } = cluster
  const { nodeId, groups, defaultReplicas, roles, voters, sessionTimeoutMs, electionTimeoutMs } = config
  const votersCount = roles.includes('broker') && roles.includes('controller') ? voters.length : 0
  return new GroupCoordinator({
    nodeId,
    runtime,
    view,
    partitions,
    topic: new OffsetsTopic({ view, controller, partitions: groups.offsetsPartitions, replicas: defaultReplicas, votersCount }),
    offsetsRetentionMs: groups.offsetsRetentionMs,
    isUpToDate: () => cluster.isUpToDate,
    // A cluster of one has no other that could go on.
    // Until it is out of date, and a little longer: it may have been told so by a controller that was deposed as well.
    graceMs: () => (view.image.nodes.size > 1 ? sessionTimeoutMs + DEPOSED_ELECTIONS * electionTimeoutMs : 0),
  })
}
