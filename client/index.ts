/** What an application imports as `tidemark`. */
export type { CompressionName } from '../protocol/compression.ts'
export { type ErrorCode, ERRORS, type Outcome, TidemarkError } from '../protocol/errors.ts'
export type { Durability, PartitionerName } from '../protocol/topic-config.ts'
export type { Duration, Size } from '../protocol/units.ts'
export { VERSION } from '../protocol/version.ts'
export type {
  Admin,
  ClusterDescription,
  ConfigEntry,
  CreateTopicOptions,
  FailedPartition,
  NodeInfo,
  PartitionDescription,
  PartitionOffsets,
  PartitionsCall,
  TopicDescription,
  TopicName,
} from './admin.ts'
export { connect, Tidemark } from './connect.ts'
export type { Consumer, Handler, MessageBatch } from './consumer/consumer.ts'
export type { GroupConsumer } from './group/group-consumer.ts'
export type {
  AssignedPartition,
  CommitStyle,
  Delivery,
  GroupBatch,
  GroupConsumerOptions,
  GroupEvents,
  GroupHandler,
  GroupListener,
  GroupMessage,
  GroupPartitionLag,
  OffsetStore,
  RunOptions,
} from './group/types.ts'
export type { GroupAdmin } from './group-admin.ts'
export type {
  CommittedOffset,
  GroupDescription,
  GroupPartition,
  GroupState,
  GroupSummary,
  MemberDescription,
  ResetOptions,
  ResetResult,
  ResetTarget,
} from './group-descriptions.ts'
export type { Producer } from './producer/producer.ts'
export { bytesCodec, type Codec, json, type StandardSchema, stringCodec, type TopicLike, type TopicRef, topic } from './topic.ts'
export type {
  Acks,
  ConnectOptions,
  ConsumerOptions,
  EndPosition,
  HeaderValue,
  Message,
  OutgoingRecord,
  PartitionLag,
  PartitionPosition,
  ProducerOptions,
  ReadingOptions,
  Receipt,
  StartPosition,
} from './types.ts'
