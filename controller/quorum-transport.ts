/** How messages get from one controller to another: what the log asks of the network. */
import type { VoterDescription } from '../protocol/gen/tidemark/v1/controller.ts'
import type { Message } from './raft/messages.ts'

/** Who speaks: every message says so. */
export interface QuorumSender {
  /** Empty while the cluster has no name. */
  readonly clusterId: string
  readonly directoryId: string
  /** How often its directory was started, and by which run of the process; 0: it does not count. */
  readonly starts: number
  readonly incarnationId: string
  /** The disk that the sender believes the receiver votes with; empty: not known. */
  readonly toDirectoryId: string
}

export interface QuorumTransport {
  /** Sends when it can: messages may be lost, those to one node are not reordered. Never waits, and keeps few. */
  send(to: VoterDescription, message: Message, sender: QuorumSender): void
  close(): Promise<void>
}

/** What a transport tells the log that opened it. */
export interface QuorumReceiver {
  /** Throws a `TidemarkError` when the sender is to be turned away. */
  receive(message: Message, sender: QuorumSender): void
  /** Something to `nodeId` was lost. */
  unreachable(nodeId: number): void
  /** The connection to `nodeId` broke; what was under way is lost. `refusal`: the node turned us away. */
  disconnected(nodeId: number, refusal?: Error): void
  snapshotSent(nodeId: number, isDelivered: boolean): void
}

export type OpenQuorumTransport = (receiver: QuorumReceiver) => QuorumTransport
