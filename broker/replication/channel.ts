/** How a follower reaches a leader: what replication asks of the network. */
import type { ReplicaFetchRequest, ReplicaFetchResponse } from '../../protocol/gen/tidemark/v1/replica.ts'

/** Requests go out in order; answers name the request they belong to. */
export interface ReplicaStream {
  send(request: ReplicaFetchRequest): void
  close(): void
}

export interface ReplicaStreamEvents {
  answered(response: ReplicaFetchResponse): void
  /** Nothing more comes, nothing more is sent. Called once, not after `close`. */
  broken(error: Error): void
}

export interface ReplicaChannel {
  /** A stream to a node; one that cannot be reached breaks soon. */
  open(nodeId: number, events: ReplicaStreamEvents): ReplicaStream
}
