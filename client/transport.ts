/**
 * The line between the client's logic and the wire. Logic above it runs in simulation; `grpc-transport.ts` is the real one.
 */
import type { TidemarkError } from '../protocol/errors.ts'
import type * as cluster from '../protocol/gen/tidemark/v1/cluster.ts'
import type * as groups from '../protocol/gen/tidemark/v1/groups.ts'
import type * as log from '../protocol/gen/tidemark/v1/log.ts'
import type { FetchRequestMessage, FetchResponseMessage, ProduceRequestMessage, ProduceResponseMessage } from '../protocol/log-codec.ts'

/** Every unary call: its request and response. */
export interface UnaryCalls {
  describeCluster: [cluster.DescribeClusterRequest, cluster.DescribeClusterResponse]
  describeTopics: [cluster.DescribeTopicsRequest, cluster.DescribeTopicsResponse]
  createTopics: [cluster.CreateTopicsRequest, cluster.CreateTopicsResponse]
  deleteTopics: [cluster.DeleteTopicsRequest, cluster.DeleteTopicsResponse]
  growTopics: [cluster.GrowTopicsRequest, cluster.GrowTopicsResponse]
  describeConfigs: [cluster.DescribeConfigsRequest, cluster.DescribeConfigsResponse]
  alterConfigs: [cluster.AlterConfigsRequest, cluster.AlterConfigsResponse]
  electLeaders: [cluster.ElectLeadersRequest, cluster.ElectLeadersResponse]
  reassign: [cluster.ReassignRequest, cluster.ReassignResponse]
  listReassignments: [cluster.ListReassignmentsRequest, cluster.ListReassignmentsResponse]
  alterNodes: [cluster.AlterNodesRequest, cluster.AlterNodesResponse]
  describeQuorum: [cluster.DescribeQuorumRequest, cluster.DescribeQuorumResponse]
  alterQuorum: [cluster.AlterQuorumRequest, cluster.AlterQuorumResponse]
  initProducer: [cluster.InitProducerRequest, cluster.InitProducerResponse]
  findCoordinators: [groups.FindCoordinatorsRequest, groups.FindCoordinatorsResponse]
  heartbeat: [groups.HeartbeatRequest, groups.HeartbeatResponse]
  commitOffsets: [groups.CommitOffsetsRequest, groups.CommitOffsetsResponse]
  fetchOffsets: [groups.FetchOffsetsRequest, groups.FetchOffsetsResponse]
  listGroups: [groups.ListGroupsRequest, groups.ListGroupsResponse]
  describeGroups: [groups.DescribeGroupsRequest, groups.DescribeGroupsResponse]
  resetOffsets: [groups.ResetOffsetsRequest, groups.ResetOffsetsResponse]
  deleteGroups: [groups.DeleteGroupsRequest, groups.DeleteGroupsResponse]
  deleteOffsets: [groups.DeleteOffsetsRequest, groups.DeleteOffsetsResponse]
  listOffsets: [log.ListOffsetsRequest, log.ListOffsetsResponse]
  deleteRecords: [log.DeleteRecordsRequest, log.DeleteRecordsResponse]
  describeLogs: [log.DescribeLogsRequest, log.DescribeLogsResponse]
}

/** A stream that carried nothing for so long may be closed when others are opened. */
export const STREAM_IDLE_MS = 5 * 60_000

export interface CallOptions {
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

/** One direction of a stream. The other comes through `StreamEvents`. */
export interface MessageStream<Out> {
  /** Sends a message. After the stream closed it does nothing: `closed` told. */
  send(message: Out): void
  /** Ends the stream; `closed` is not called any more. */
  close(): void
}

export interface StreamEvents<In> {
  message(message: In): void
  /** The stream is over, whoever ended it. Called once. */
  closed(error: TidemarkError): void
}

/** One node, dialled when first used and again whenever needed. */
export interface Connection {
  call<Name extends keyof UnaryCalls>(name: Name, request: UnaryCalls[Name][0], options: CallOptions): Promise<UnaryCalls[Name][1]>
  openProduce(events: StreamEvents<ProduceResponseMessage>): MessageStream<ProduceRequestMessage>
  openFetch(events: StreamEvents<FetchResponseMessage>): MessageStream<FetchRequestMessage>
}

export interface Transport {
  /** The connection to `host:port`; the same address gives the same connection. Throws `CLOSED` after `close`. */
  connection(address: string): Connection
  close(): void
}
