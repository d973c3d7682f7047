/** Questions about logs, and the removal of their oldest records. */
import { readLastOffset } from '../../protocol/batch-header.ts'
import { readRecords, splitBatches } from '../../protocol/batch-reader.ts'
import { toErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type {
  DeleteRecordsPartition,
  DeleteRecordsRequest,
  DeleteRecordsResponse,
  DeleteRecordsResult,
  DescribeLogsRequest,
  DescribeLogsResponse,
  ListOffsetsPartition,
  ListOffsetsRequest,
  ListOffsetsResponse,
  PartitionLogDescription,
  PartitionOffset,
} from '../../protocol/gen/tidemark/v1/log.ts'
import { OffsetPosition } from '../../protocol/gen/tidemark/v1/log.ts'
import { isInternalTopic } from '../../protocol/internal-topics.ts'
import type { Broker } from '../broker.ts'
import type { Partition } from '../partition.ts'

/** Partitions in one question. */
const PARTITIONS_MAX = 10_000

export async function listOffsets(broker: Broker, request: ListOffsetsRequest): Promise<ListOffsetsResponse> {
  broker.checkServing()
  checkCount(request.partitions.length)
  await broker.catchUp.knowing(request.partitions.map(({ topic }) => topic))
  const partitions = await Promise.all(
    request.partitions.map(async (entry): Promise<PartitionOffset> => {
      const nothing = {
        topic: entry.topic,
        partition: entry.partition,
        error: undefined,
        found: false,
        offset: 0,
        timestampMs: 0,
        leaderEpoch: 0,
      }
      try {
        const partition = broker.partitions.find(entry.topic, entry.partition, undefined)
        partition.checkLeadership(entry.leaderEpochPlusOne === 0 ? undefined : entry.leaderEpochPlusOne - 1)
        const found = await findOffset(partition, entry)
        return { ...nothing, leaderEpoch: partition.leaderEpoch, ...(found && { found: true, ...found }) }
      } catch (error) {
        return { ...nothing, error: toErrorDetail(TidemarkError.from(error)) }
      }
    }),
  )
  return { partitions }
}

async function findOffset(partition: Partition, entry: ListOffsetsPartition): Promise<{ offset: number; timestampMs: number } | undefined> {
  if (entry.target?.$case === 'atOffset') return recordAt(partition, entry.target.value)
  if (entry.target?.$case === 'timestampMs') return partition.log.offsetForTimestamp(entry.target.value, partition.highWatermark)
  switch (entry.target?.value ?? OffsetPosition.EARLIEST) {
    case OffsetPosition.EARLIEST:
      return { offset: partition.log.logStartOffset, timestampMs: 0 }
    case OffsetPosition.LATEST:
      partition.checkWatermarkKnown()
      return { offset: partition.highWatermark, timestampMs: 0 }
    case OffsetPosition.MAX_TIMESTAMP:
      return partition.log.offsetOfMaxTimestamp(partition.highWatermark)
    default:
      throw new TidemarkError('INVALID_REQUEST', `unknown offset position ${String(entry.target?.value)}`)
  }
}

/** The first record at `offset` or behind it. */
async function recordAt(partition: Partition, offset: number): Promise<{ offset: number; timestampMs: number } | undefined> {
  partition.checkWatermarkKnown()
  const { log, highWatermark } = partition
  let next = Math.max(offset, log.logStartOffset)
  while (next < highWatermark) {
    const [first] = (await log.read(next, 1, highWatermark)).flatMap(splitBatches)
    if (first === undefined) return undefined
    for (const record of await readRecords(first))
      if (record.offset >= next) return { offset: record.offset, timestampMs: record.timestampMs }
    // Compaction may have left nothing of it.
    next = readLastOffset(first) + 1
  }
  return undefined
}

export async function deleteRecords(broker: Broker, request: DeleteRecordsRequest): Promise<DeleteRecordsResponse> {
  broker.checkServing()
  checkCount(request.partitions.length)
  await broker.catchUp.knowing(request.partitions.map(({ topic }) => topic))
  const partitions = await Promise.all(
    request.partitions.map(async (entry): Promise<DeleteRecordsResult> => {
      const result = { topic: entry.topic, partition: entry.partition, error: undefined, logStartOffset: 0 }
      try {
        if (isInternalTopic(entry.topic)) throw new TidemarkError('INVALID_REQUEST', `topic ${entry.topic} is kept by tidemark itself`)
        const partition = broker.partitions.find(entry.topic, entry.partition, undefined)
        partition.checkLeadership(undefined)
        return { ...result, logStartOffset: await partition.log.deleteRecordsBefore(newLogStart(partition, entry)) }
      } catch (error) {
        return { ...result, error: toErrorDetail(TidemarkError.from(error)) }
      }
    }),
  )
  return { partitions }
}

function newLogStart(partition: Partition, entry: DeleteRecordsPartition): number {
  const { target } = entry
  if (target === undefined || (target.$case === 'all' && !target.value)) {
    throw new TidemarkError('INVALID_REQUEST', 'delete records needs an offset, or all')
  }
  if (target.$case === 'all') return partition.highWatermark
  if (target.value > partition.highWatermark) {
    throw new TidemarkError(
      'OFFSET_OUT_OF_RANGE',
      `cannot delete below ${target.value}: the high watermark of ${partition.topic}-${partition.partition} is ${partition.highWatermark}`,
    )
  }
  return target.value
}

export async function describeLogs(broker: Broker, request: DescribeLogsRequest): Promise<DescribeLogsResponse> {
  broker.checkServing()
  await broker.catchUp.knowing(request.topics)
  const wanted = request.topics.length === 0 ? broker.partitions.all() : request.topics.flatMap((topic) => broker.partitions.ofTopic(topic))
  return { partitions: wanted.map(describePartition) }
}

/** Of this node. Where it does not lead, or does not know how far earlier leaders committed, its high watermark is too low: the error says so. */
export function describePartition(partition: Partition): PartitionLogDescription {
  return {
    topic: partition.topic,
    partition: partition.partition,
    error: objectionTo(partition),
    highWatermark: partition.highWatermark,
    ...partition.log.describe(),
  }
}

function objectionTo(partition: Partition): PartitionLogDescription['error'] {
  try {
    partition.checkLeadership(undefined)
    partition.checkWatermarkKnown()
    return undefined
  } catch (error) {
    return toErrorDetail(TidemarkError.from(error))
  }
}

function checkCount(count: number): void {
  if (count > PARTITIONS_MAX)
    throw new TidemarkError('LIMIT_EXCEEDED', `${count} partitions in one request, at most ${PARTITIONS_MAX} are allowed`)
}
