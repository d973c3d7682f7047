/** What an application sees of records and where they are. Offsets are bigint, times milliseconds since 1970. */
import type { CompressionName } from '../protocol/compression.ts'
import type { Duration, Size } from '../protocol/units.ts'
import type { TidemarkError } from '../protocol/errors.ts'

export type HeaderValue = string | Buffer | null

/** A record to send. */
export interface OutgoingRecord<K, V> {
  /** Picks the partition. Without one, records go to one partition after the other. */
  readonly key?: K | null
  /** null is a tombstone. */
  readonly value: V | null
  readonly headers?: Readonly<Record<string, HeaderValue>>
  /** Default: now. */
  readonly timestamp?: number
  /** Overrides the key's choice. Records of one key are then no longer sure to be in one partition. */
  readonly partition?: number
}

/** Where a record went. */
export interface Receipt {
  readonly topic: string
  readonly partition: number
  /** -1n with `acks: 'none'`. */
  readonly offset: bigint
  /** The record's, or the node's when the topic stamps the time of appending. */
  readonly timestamp: number
}

/** A record that was read. */
export interface Message<K, V> {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  readonly timestamp: number
  readonly key: K | null
  readonly value: V | null
  readonly headers: ReadonlyMap<string, Buffer | null>
  /** The value's bytes as stored. */
  readonly raw: Buffer | null
  /** The key's. */
  readonly rawKey: Buffer | null
}

export type Acks = 'all' | 'leader' | 'none'

export interface ProducerOptions {
  /** When a send counts as done. Default `all`. */
  readonly acks?: Acks
  /** Retries never write a record twice. Default true; needs acks `all`. */
  readonly idempotent?: boolean
  /** How long to wait for more records before a batch is sent. Default 0: send at once when idle, and let batches form while requests are under way. */
  readonly linger?: Duration
  /** Bytes of a batch before it is sent; never above the topic's max.message.bytes. Default 256 KiB. */
  readonly batchBytes?: Size
  /** Bytes of records not yet acknowledged; beyond, `send` waits and `enqueue` says false. Default 32 MiB. */
  readonly bufferBytes?: Size
  /** How long `send` waits for room before `BUFFER_FULL`. Default 60 s. */
  readonly maxBlock?: Duration
  readonly compression?: CompressionName
  /** Batches of one partition under way at once, 1 to 16. Default 16, of large ones fewer. */
  readonly maxInFlight?: number
  /** How long a record may take from its place in a batch to its acknowledgement, retries included. Looking up the topic and waiting for room come before it. Default 2 min. */
  readonly deliveryTimeout?: Duration
  /** How long one request may take. Default 30 s. */
  readonly requestTimeout?: Duration
  /** Told of records given to `enqueue` that were not delivered. */
  readonly onFailure?: (
    error: TidemarkError,
    lost: { readonly topic: string; readonly partition: number; readonly recordCount: number },
  ) => void
}

/** Where to start reading. `at`: the first record at or after a time. `last`: so many records before the end of each partition. */
export type StartPosition =
  | 'earliest'
  | 'latest'
  | { readonly at: number | Date }
  | { readonly last: number }
  | { readonly offset: (topic: string, partition: number) => bigint }

/** Where to stop. `now`: at the end as it is at the start. */
export type EndPosition = 'never' | 'now' | { readonly offset: (topic: string, partition: number) => bigint }

/** How to read, with and without a group. */
export interface ReadingOptions {
  /** Bytes read ahead, over all partitions. Default 16 MiB. */
  readonly prefetchBytes?: Size
  /** Most bytes per request. Default 8 MiB. */
  readonly fetchBytes?: Size
  /** Longest time a request is parked at the node. Default 60 s. */
  readonly maxWait?: Duration
  /** A request is answered when so many bytes are there. Default 1. */
  readonly minBytes?: Size
  /** What to do when the position was deleted. Never goes back behind what was read: that is an error always. Default `error`. */
  readonly onOutOfRange?: 'error' | 'earliest' | 'latest'
  /** Verify the checksum of every batch. Default true. */
  readonly checkCrc?: boolean
  /** Without progress for this long, although there is something to read, the consumer fails with `STALLED`. Default 5 min, in a group 15; `false`: never. */
  readonly stallTimeout?: Duration | false
  readonly signal?: AbortSignal
}

export interface ConsumerOptions extends ReadingOptions {
  /** Belongs to consumers in a group. */
  readonly group?: never
  readonly start: StartPosition
  /** Default `never`. */
  readonly end?: EndPosition
  /** These partitions of every topic. Default: all, new ones included. */
  readonly partitions?: readonly number[]
}

/** Where a partition goes on. */
export interface PartitionPosition {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
}

/** The position of one partition. */
export interface PartitionLag {
  readonly topic: string
  readonly partition: number
  /** The next offset the application gets. */
  readonly position: bigint
  readonly highWatermark: bigint
  readonly lag: bigint
}

export interface ConnectOptions {
  /** Names the application in the logs of the nodes. */
  readonly clientId?: string
  /** How long a call may take, retries included. Default 30 s. */
  readonly requestTimeout?: Duration
  /** How long connecting may take. Default 10 s. */
  readonly connectTimeout?: Duration
  readonly signal?: AbortSignal
}
