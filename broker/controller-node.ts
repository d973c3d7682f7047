/** The controller of a node that has the role: its quorum log, and the state machine over it. */
import { Controller, type ControllerParts } from '../controller/controller.ts'
import { GrpcQuorumTransport } from '../controller/grpc-quorum-transport.ts'
import { isOlderDisk } from '../controller/metadata/older-disk.ts'
import type { MetadataView } from '../controller/metadata-view.ts'
import type { PeerAddress, PeerChannels } from '../controller/peer-channels.ts'
import type { QuorumSender } from '../controller/quorum-transport.ts'
import { openRaftLog, type RaftLog } from '../controller/raft-log.ts'
import type { RaftStore } from '../controller/raft-store.ts'
import type { VoterDescription } from '../protocol/gen/tidemark/v1/controller.ts'
import type { Runtime } from '../runtime/runtime.ts'
import type { NodeConfig } from './config.ts'

export interface ControllerNode {
  readonly log: RaftLog
  readonly controller: Controller
}

export interface ControllerNodeParts {
  readonly config: NodeConfig
  readonly runtime: Runtime
  /** Where what the log says is applied. */
  readonly view: MetadataView
  readonly directoryId: string
  readonly run: Pick<QuorumSender, 'starts' | 'incarnationId'>
  readonly clusterId: () => string
  readonly store: RaftStore
  /** Batches between two snapshots; undefined: as many as usual. */
  readonly snapshotEvery: number | undefined
  readonly channels: () => Promise<PeerChannels>
  readonly addressOf: (nodeId: number) => PeerAddress | undefined
  /** Controllers of a running cluster, for a node that joins it. */
  readonly contacts: readonly VoterDescription[]
  /** Where this node is reached, should it begin a cluster alone. */
  readonly address: { readonly host: string; readonly port: number }
}

/** Takes the store over. Time passes for it once its log is started. */
export async function openControllerNode(parts: ControllerNodeParts): Promise<ControllerNode> {
  const { config, runtime, store, directoryId, run, view } = parts
  const log = await openRaftLog({
    runtime,
    nodeId: config.nodeId,
    directoryId,
    run,
    isOlderDisk: (nodeId, sender) => {
      const known = view.image.nodes.get(nodeId)
      return known !== undefined && isOlderDisk(known, sender)
    },
    clusterId: parts.clusterId,
    store,
    openTransport: (receiver) => new GrpcQuorumTransport(receiver, runtime.clock, parts.channels),
    firstVoters: firstVoters(parts),
    contacts: parts.contacts,
    addressOf: parts.addressOf,
    electionTimeoutMs: config.electionTimeoutMs,
    heartbeatIntervalMs: config.electionHeartbeatIntervalMs,
    ...(parts.snapshotEvery !== undefined && { snapshotEvery: parts.snapshotEvery }),
  })
  const controllerParts: ControllerParts = {
    runtime,
    sessionTimeoutMs: config.sessionTimeoutMs,
    defaults: { partitions: config.defaultPartitions, replicas: config.defaultReplicas },
  }
  try {
    return { log, controller: new Controller(log, controllerParts, view) }
  } catch (error) {
    // Why it cannot be opened matters, not what closing it makes of that.
    await log.close().catch(() => {})
    throw error
  }
}

/** Every first voter must arrive at the same list: nothing in it may be known to one of them only. */
function firstVoters({ config, directoryId, address }: ControllerNodeParts): VoterDescription[] {
  if (config.join.length > 0) return []
  if (config.voters.length === 0) return [{ nodeId: config.nodeId, directoryId, ...address }]
  return config.voters.map(({ nodeId, host, port }) => ({ nodeId, host, port, directoryId: '' }))
}
