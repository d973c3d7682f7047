/** The unary calls of the fake broker, from the data it holds. */
import * as grpc from '@grpc/grpc-js'
import { encodeErrorDetail, ERROR_TRAILER, toErrorDetail } from '../../protocol/error-wire.ts'
import { ERRORS, TidemarkError } from '../../protocol/errors.ts'
import { ClusterService } from '../../protocol/gen/tidemark/v1/cluster.ts'
import type { DescribeTopicsRequest, DescribeTopicsResponse, NodeDescription } from '../../protocol/gen/tidemark/v1/cluster.ts'
import type {
  DeleteRecordsRequest,
  DescribeLogsRequest,
  ListOffsetsRequest,
  ListOffsetsResponse,
  PartitionLogDescription,
} from '../../protocol/gen/tidemark/v1/log.ts'
import { OffsetPosition } from '../../protocol/gen/tidemark/v1/log.ts'
import { readBaseOffset, readMaxTimestamp } from '../../protocol/batch-header.ts'
import { logService } from '../../protocol/log-codec.ts'
import type { FakeState, FakeTopic } from './fake-state.ts'

type Handler = (request: never) => unknown

/** Handlers of every unary call; those the fake does not know fail with UNSUPPORTED. */
export function unaryHandlers(
  broker: FakeState,
  node: number,
): { cluster: grpc.UntypedServiceImplementation; log: grpc.UntypedServiceImplementation } {
  const known: Record<string, Handler> = {
    describeCluster: () => ({ clusterId: 'fake', controllerId: 0, nodes: nodesOf(broker), metadataVersion: broker.metadataVersion }),
    initProducer: () => ({ producerId: broker.nextProducerId++, producerEpoch: 0 }),
    describeTopics: (request: DescribeTopicsRequest) => describeTopics(broker, request),
    describeLogs: (request: DescribeLogsRequest) => ({ partitions: request.topics.flatMap((name) => logsOf(broker, node, name)) }),
    listOffsets: (request: ListOffsetsRequest) => listOffsets(broker, node, request),
    deleteRecords: (request: DeleteRecordsRequest) => ({
      partitions: request.partitions.map(({ topic, partition, target }) => {
        const { end } = broker.partition(topic, partition)
        broker.deleteRecords(topic, partition, target?.$case === 'beforeOffset' ? target.value : end)
        return { topic, partition, error: undefined, logStartOffset: broker.partition(topic, partition).logStart }
      }),
    }),
  }
  const handlers = (names: readonly string[]): grpc.UntypedServiceImplementation =>
    Object.fromEntries(names.map((name) => [name, handlerOf(broker, node, name, known[name])]))
  return { cluster: handlers(Object.keys(ClusterService)), log: handlers(Object.keys(logService)) }
}

function handlerOf(broker: FakeState, node: number, name: string, handler: Handler | undefined): grpc.UntypedServiceImplementation[string] {
  return (call: grpc.ServerUnaryCall<unknown, unknown>, callback: grpc.sendUnaryData<unknown>) => {
    broker.calls.push(name)
    if (broker.hung.has(node)) return
    try {
      const refused = broker.refuseCall?.(name, node)
      if (refused !== undefined) throw refused
      if (handler === undefined) throw new TidemarkError('UNSUPPORTED', `the fake broker has no ${name}`)
      callback(null, handler(call.request as never))
    } catch (caught) {
      const error = TidemarkError.from(caught)
      const metadata = new grpc.Metadata()
      metadata.set(ERROR_TRAILER, encodeErrorDetail(error))
      callback({ code: ERRORS[error.code].grpc, details: error.message, metadata })
    }
  }
}

const LIVE = {
  rack: '',
  alive: true,
  version: 'fake',
  roles: ['broker'],
  shuttingDown: false,
  draining: false,
  directoryId: '',
  nodeEpoch: 1,
}

function nodesOf(broker: FakeState): NodeDescription[] {
  return broker.addresses.map((address, nodeId) => {
    const [host = '', port = ''] = address.split(':')
    return { ...LIVE, nodeId, host, port: Number(port) }
  })
}

function describeTopics(broker: FakeState, request: DescribeTopicsRequest): DescribeTopicsResponse {
  const names = request.all ? [...broker.topics.keys()] : request.topics
  const topics = names.map((name) => {
    const topic = broker.topics.get(name)
    return topic === undefined ? unknownTopic(name) : knownTopic(topic)
  })
  return { metadataVersion: broker.metadataVersion, topics, nodes: nodesOf(broker) }
}

const NOTHING = { internal: false, partitioner: 'murmur3', replicas: 1, configs: {} }

function unknownTopic(name: string): DescribeTopicsResponse['topics'][number] {
  const error = toErrorDetail(new TidemarkError('UNKNOWN_TOPIC', `no topic named ${name}`))
  return { ...NOTHING, name, error, topicId: Buffer.alloc(0), partitions: [], maxMessageBytes: 0 }
}

function knownTopic({ name, topicId, maxMessageBytes, partitions }: FakeTopic): DescribeTopicsResponse['topics'][number] {
  return {
    ...NOTHING,
    name,
    error: undefined,
    topicId,
    maxMessageBytes,
    partitions: partitions.map(({ partition, leader, leaderEpoch }) => ({
      partition,
      leader,
      leaderEpoch,
      replicas: [leader],
      isr: [leader],
      partitionEpoch: 0,
      eligible: [],
      adding: [],
      removing: [],
    })),
  }
}

function logsOf(broker: FakeState, node: number, name: string): PartitionLogDescription[] {
  const { partitions = [] } = broker.topics.get(name) ?? {}
  const led = partitions.filter(({ leader }) => leader === node)
  return led.map(({ partition, logStart, end }) => ({
    topic: name,
    partition,
    logStartOffset: logStart,
    highWatermark: end,
    logEndOffset: end,
    flushedOffset: end,
    sizeBytes: 0,
    segmentCount: 1,
    error: undefined,
  }))
}

function listOffsets(broker: FakeState, node: number, request: ListOffsetsRequest): ListOffsetsResponse {
  return {
    partitions: request.partitions.map(({ topic, partition, target }) => {
      const found = broker.topics.get(topic)?.partitions[partition]
      const base = { topic, partition, error: undefined, found: true, offset: 0, timestampMs: 0, leaderEpoch: found?.leaderEpoch ?? 0 }
      if (found === undefined) return { ...base, error: toErrorDetail(new TidemarkError('UNKNOWN_PARTITION')) }
      if (found.leader !== node) return { ...base, error: toErrorDetail(broker.notLeader(found)) }
      if (target?.$case === 'timestampMs') {
        const batch = found.batches.find((one) => readMaxTimestamp(one) >= target.value)
        return batch === undefined ? { ...base, found: false } : { ...base, offset: readBaseOffset(batch) }
      }
      return { ...base, offset: target?.value === OffsetPosition.LATEST ? found.end : found.logStart }
    }),
  }
}
