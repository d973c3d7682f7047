/** What a Raft driver needs. */
import type { VoterDescription } from '../protocol/gen/tidemark/v1/controller.ts'
import type { Runtime } from '../runtime/runtime.ts'
import type { OpenQuorumTransport, QuorumSender } from './quorum-transport.ts'
import type { RaftStore } from './raft-store.ts'

export interface RaftDriverOptions {
  readonly runtime: Pick<Runtime, 'timers' | 'random' | 'log'>
  readonly nodeId: number
  /** Of the disk that `store` is on. */
  readonly directoryId: string
  /** This start of it; undefined: starts are not counted. */
  readonly run?: Pick<QuorumSender, 'starts' | 'incarnationId'>
  /** Whether a controller's disk is an earlier image of itself, as far as is known. */
  readonly isOlderDisk?: (nodeId: number, sender: QuorumSender) => boolean
  /** Of the cluster that the node belongs to; empty while it does not know. */
  readonly clusterId: () => string
  readonly store: RaftStore
  readonly openTransport: OpenQuorumTransport
  /** Those the cluster begins with, the same on each of them. Not looked at when the store has something. Empty: waits to be let in. */
  readonly firstVoters: readonly VoterDescription[]
  /** Where controllers of a running cluster are: for a node that waits to be let in, and must answer them. */
  readonly contacts?: readonly VoterDescription[]
  /** Where a node says it is reached: newer than what the quorum's entries say. */
  readonly addressOf?: (nodeId: number) => { readonly host: string; readonly port: number } | undefined
  /** Without a leader for this long, up to twice as long by chance, a voter asks for votes. */
  readonly electionTimeoutMs: number
  readonly heartbeatIntervalMs: number
  /** Batches between two snapshots; default `SNAPSHOT_EVERY`. */
  readonly snapshotEvery?: number
}
