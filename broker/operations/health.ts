/** What the node says of its own state: alive, ready, healthy, and why not. */
import type { Broker } from '../broker.ts'
import type { Partition } from '../partition.ts'

export interface HealthReason {
  /** Stable, for machines. */
  readonly code: string
  readonly message: string
}

export interface NodeHealth {
  /** Requests are served. */
  readonly isReady: boolean
  /** Ready, and nothing is wrong. */
  readonly isHealthy: boolean
  readonly state: string
  readonly nodeId: number
  readonly clusterId: string
  readonly version: string
  readonly partitionCount: number
  /** Empty when healthy. */
  readonly reasons: readonly HealthReason[]
}

export function nodeHealth(broker: Broker): NodeHealth {
  const isReady = broker.state === 'serving' && !broker.isFenced()
  const reasons = [
    ...stateReasons(broker),
    ...controllerReasons(broker),
    ...quorumReasons(broker),
    ...storageReasons(broker),
    ...partitionReasons(broker),
    ...replicaReasons(broker),
  ]
  return {
    isReady,
    isHealthy: isReady && reasons.length === 0,
    state: broker.state,
    nodeId: broker.config.nodeId,
    clusterId: broker.view.image.clusterId,
    version: broker.version,
    partitionCount: broker.partitions.count,
    reasons,
  }
}

function stateReasons(broker: Broker): HealthReason[] {
  if (broker.state !== 'serving') return [{ code: 'NOT_SERVING', message: `the node is ${broker.state}` }]
  return broker.isFenced()
    ? [{ code: 'FENCED', message: 'the controllers have not heard of the node for a session, or not let it in yet' }]
    : []
}

/** It goes on serving what it has; nothing can be decided meanwhile, no leader elected. */
function controllerReasons(broker: Broker): HealthReason[] {
  const silenceMs = broker.controllerSilenceMs()
  if (broker.state !== 'serving' || silenceMs < broker.config.sessionTimeoutMs) return []
  const message = `no controller has answered this node for ${Math.round(silenceMs / 1000)} s: too few of them may be alive or reachable`
  return [{ code: 'NO_CONTROLLER', message }]
}

/** The quorum goes on without it, and bears one failure less than whoever counts its controllers thinks. */
function quorumReasons(broker: Broker): HealthReason[] {
  if (broker.state !== 'serving' || broker.hasItsVote()) return []
  const message =
    'this controller does not vote: it was removed from the quorum, or was not let in yet (a node started with join asks for it)'
  return [{ code: 'NOT_A_VOTER', message }]
}

function storageReasons(broker: Broker): HealthReason[] {
  const trouble = broker.storageTrouble()
  return trouble === undefined ? [] : [{ code: trouble.code, message: trouble.message }]
}

function partitionReasons(broker: Broker): HealthReason[] {
  const failures = broker.partitions.failures()
  const isFailed = (topic: string, partition: number): boolean => failures.some((one) => one.topic === topic && one.partition === partition)
  // One that could not be opened is damaged as well: once is enough.
  const damaged = (broker.damage()?.list() ?? []).filter(({ topic, partition }) => !isFailed(topic, partition))
  return [...failures, ...damaged].map(({ topic, partition, error }) => ({
    code: error.code,
    message: `${topic}-${partition}: ${error.message}`,
  }))
}

/** Of what this node leads: whoever stays behind may not know it. One reason for all of them, with an example. */
function replicaReasons(broker: Broker): HealthReason[] {
  const [example, ...others] = underReplicated(broker)
  if (example === undefined) return []
  const { name, metadata } = example
  const missing = metadata.replicas.filter((id) => !metadata.isr.includes(id))
  const more = others.length === 0 ? '' : `, and so it is with ${others.length} more that this node leads`
  const message = `${name} has ${metadata.isr.length} of ${metadata.replicas.length} replicas in sync, missing is node ${missing.join(', ')}${more}`
  return [{ code: 'UNDER_REPLICATED', message }]
}

/** Partitions that this node leads without all of their replicas in sync. */
export function underReplicated(broker: Broker): Partition[] {
  return [...broker.partitions.open()].filter(({ isLeader, metadata }) => isLeader && metadata.isr.length < metadata.replicas.length)
}
