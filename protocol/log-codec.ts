/**
 * The codec of the messages that carry record batches, without copying the batches.
 *
 * `ProduceRequest` and `FetchResponse` are read and written by hand here: decoding hands out slices of
 * the received message, encoding scatters header pieces and batches into the frame. On the wire they are
 * exactly what the generated code reads and writes; a property test compares the two. Everything
 * else uses the generated code.
 */
import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire'
import type * as grpc from '@grpc/grpc-js'
import { TidemarkError } from './errors.ts'
import { ErrorDetail } from './gen/tidemark/v1/errors.ts'
import {
  type Acks,
  type DeleteRecordsRequest,
  type DeleteRecordsResponse,
  type DescribeLogsRequest,
  type DescribeLogsResponse,
  FetchRequest,
  type ListOffsetsRequest,
  type ListOffsetsResponse,
  LogService,
  ProduceResponse,
} from './gen/tidemark/v1/log.ts'
import { FIELDS_MAX } from './request-bounds.ts'
import { scatter } from './scatter-message.ts'

export interface PartitionProduceMessage {
  readonly topic: string
  /** 16 bytes or none. */
  readonly topicId: Buffer
  readonly partition: number
  readonly leaderEpochPlusOne: number
  readonly batch: Buffer
}

export interface ProduceRequestMessage {
  readonly correlationId: number
  readonly acks: Acks
  readonly timeoutMs: number
  readonly partitions: readonly PartitionProduceMessage[]
}

export interface PartitionFetchResultMessage {
  readonly topic: string
  readonly partition: number
  readonly error: ErrorDetail | undefined
  readonly highWatermark: number
  readonly logStartOffset: number
  /** Whole batches; each buffer holds one or more back to back. */
  readonly batches: readonly Buffer[]
}

export interface FetchResponseMessage {
  readonly correlationId: number
  readonly partitions: readonly PartitionFetchResultMessage[]
}

export type ProduceResponseMessage = ProduceResponse
export type FetchRequestMessage = FetchRequest

const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const

const NO_BYTES: Buffer = Buffer.alloc(0)

export function encodeProduceRequest(message: ProduceRequestMessage): Buffer {
  const pieces: Uint8Array[] = []
  let head = new BinaryWriter()
  if (message.correlationId !== 0) head.uint32(8).uint64(message.correlationId)
  if (message.acks !== 0) head.uint32(16).int32(message.acks)
  if (message.timeoutMs !== 0) head.uint32(24).uint32(message.timeoutMs)
  for (const entry of message.partitions) {
    const body = new BinaryWriter()
    if (entry.topic !== '') body.uint32(10).string(entry.topic)
    if (entry.topicId.length > 0) body.uint32(18).bytes(entry.topicId)
    if (entry.partition !== 0) body.uint32(24).int32(entry.partition)
    if (entry.leaderEpochPlusOne !== 0) body.uint32(32).int32(entry.leaderEpochPlusOne)
    if (entry.batch.length > 0) body.uint32(42).uint32(entry.batch.length)
    const bodyBytes = body.finish()
    head.uint32(34).uint32(bodyBytes.length + entry.batch.length)
    pieces.push(head.finish(), bodyBytes, entry.batch)
    head = new BinaryWriter()
  }
  pieces.push(head.finish())
  return scatter(pieces)
}

export function decodeProduceRequest(bytes: Buffer): ProduceRequestMessage {
  return decoding('ProduceRequest', () => {
    const reader = new BinaryReader(bytes)
    const message = { correlationId: 0, acks: 0 as Acks, timeoutMs: 0, partitions: [] as PartitionProduceMessage[] }
    while (reader.pos < bytes.length) {
      const [field, wire] = reader.tag()
      if (field === 1 && wire === WIRE.varint) message.correlationId = uint53(reader)
      else if (field === 2 && wire === WIRE.varint) message.acks = reader.int32() as Acks
      else if (field === 3 && wire === WIRE.varint) message.timeoutMs = reader.uint32()
      else if (field === 4 && wire === WIRE.bytes) pushBounded(message.partitions, decodePartitionProduce(slice(reader, bytes)))
      else reader.skip(wire, field)
    }
    return message
  })
}

function decodePartitionProduce(bytes: Buffer): PartitionProduceMessage {
  const reader = new BinaryReader(bytes)
  let topic = ''
  let topicId: Buffer = NO_BYTES
  let partition = 0
  let leaderEpochPlusOne = 0
  let batch: Buffer = NO_BYTES
  while (reader.pos < bytes.length) {
    const [field, wire] = reader.tag()
    if (field === 1 && wire === WIRE.bytes) topic = reader.string()
    else if (field === 2 && wire === WIRE.bytes) topicId = slice(reader, bytes)
    else if (field === 3 && wire === WIRE.varint) partition = reader.int32()
    else if (field === 4 && wire === WIRE.varint) leaderEpochPlusOne = reader.int32()
    else if (field === 5 && wire === WIRE.bytes) batch = slice(reader, bytes)
    else reader.skip(wire, field)
  }
  return { topic, topicId, partition, leaderEpochPlusOne, batch }
}

export function encodeFetchResponse(message: FetchResponseMessage): Buffer {
  const pieces: Uint8Array[] = []
  let head = new BinaryWriter()
  if (message.correlationId !== 0) head.uint32(8).uint64(message.correlationId)
  for (const result of message.partitions) {
    const body = new BinaryWriter()
    if (result.topic !== '') body.uint32(10).string(result.topic)
    if (result.partition !== 0) body.uint32(16).int32(result.partition)
    if (result.error !== undefined) ErrorDetail.encode(result.error, body.uint32(26).fork()).join()
    if (result.highWatermark !== 0) body.uint32(32).uint64(result.highWatermark)
    if (result.logStartOffset !== 0) body.uint32(40).uint64(result.logStartOffset)
    let batchesBytes = 0
    for (const batch of result.batches) batchesBytes += batch.length
    if (batchesBytes > 0) body.uint32(50).uint32(batchesBytes)
    const bodyBytes = body.finish()
    head.uint32(18).uint32(bodyBytes.length + batchesBytes)
    pieces.push(head.finish(), bodyBytes, ...result.batches)
    head = new BinaryWriter()
  }
  pieces.push(head.finish())
  return scatter(pieces)
}

export function decodeFetchResponse(bytes: Buffer): FetchResponseMessage {
  return decoding('FetchResponse', () => {
    const reader = new BinaryReader(bytes)
    const message = { correlationId: 0, partitions: [] as PartitionFetchResultMessage[] }
    while (reader.pos < bytes.length) {
      const [field, wire] = reader.tag()
      if (field === 1 && wire === WIRE.varint) message.correlationId = uint53(reader)
      else if (field === 2 && wire === WIRE.bytes) pushBounded(message.partitions, decodePartitionFetchResult(slice(reader, bytes)))
      else reader.skip(wire, field)
    }
    return message
  })
}

function decodePartitionFetchResult(bytes: Buffer): PartitionFetchResultMessage {
  const reader = new BinaryReader(bytes)
  const result = {
    topic: '',
    partition: 0,
    error: undefined as ErrorDetail | undefined,
    highWatermark: 0,
    logStartOffset: 0,
    batches: [] as Buffer[],
  }
  while (reader.pos < bytes.length) {
    const [field, wire] = reader.tag()
    if (field === 1 && wire === WIRE.bytes) result.topic = reader.string()
    else if (field === 2 && wire === WIRE.varint) result.partition = reader.int32()
    else if (field === 3 && wire === WIRE.bytes) result.error = ErrorDetail.decode(slice(reader, bytes))
    else if (field === 4 && wire === WIRE.varint) result.highWatermark = uint53(reader)
    else if (field === 5 && wire === WIRE.varint) result.logStartOffset = uint53(reader)
    else if (field === 6 && wire === WIRE.bytes) result.batches = [slice(reader, bytes)]
    else reader.skip(wire, field)
  }
  return result
}

/** The next length-delimited field as a slice of `bytes`. The length is checked before it is believed. */
function slice(reader: BinaryReader, bytes: Buffer): Buffer {
  const length = reader.uint32()
  const start = reader.pos
  if (length > bytes.length - start) throw new RangeError(`a field claims ${length} bytes, ${bytes.length - start} are left`)
  reader.pos = start + length
  return bytes.subarray(start, start + length)
}

function pushBounded<T>(list: T[], item: T): void {
  if (list.length >= FIELDS_MAX) throw new RangeError(`more than ${FIELDS_MAX} partitions`)
  list.push(item)
}

function uint53(reader: BinaryReader): number {
  const value = Number(reader.uint64())
  if (value > Number.MAX_SAFE_INTEGER) throw new RangeError('a number passes 2^53')
  return value
}

function decoding<T>(what: string, decode: () => T): T {
  try {
    return decode()
  } catch (error) {
    throw new TidemarkError('INVALID_REQUEST', `a ${what} cannot be decoded: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    })
  }
}

/** The generated service with the codec above in its place: what servers and clients are built from. */
export const logService = {
  ...LogService,
  produce: { ...LogService.produce, requestSerialize: encodeProduceRequest, requestDeserialize: decodeProduceRequest },
  produceStream: { ...LogService.produceStream, requestSerialize: encodeProduceRequest, requestDeserialize: decodeProduceRequest },
  fetch: { ...LogService.fetch, responseSerialize: encodeFetchResponse, responseDeserialize: decodeFetchResponse },
  fetchStream: { ...LogService.fetchStream, responseSerialize: encodeFetchResponse, responseDeserialize: decodeFetchResponse },
} as const

/** What a server implements for `logService`. */
export interface LogHandlers extends grpc.UntypedServiceImplementation {
  produce: grpc.handleUnaryCall<ProduceRequestMessage, ProduceResponse>
  fetch: grpc.handleUnaryCall<FetchRequest, FetchResponseMessage>
  produceStream: grpc.handleBidiStreamingCall<ProduceRequestMessage, ProduceResponse>
  fetchStream: grpc.handleBidiStreamingCall<FetchRequest, FetchResponseMessage>
  listOffsets: grpc.handleUnaryCall<ListOffsetsRequest, ListOffsetsResponse>
  deleteRecords: grpc.handleUnaryCall<DeleteRecordsRequest, DeleteRecordsResponse>
  describeLogs: grpc.handleUnaryCall<DescribeLogsRequest, DescribeLogsResponse>
}
