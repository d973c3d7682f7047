/** What an application sees of a consumer group. */
import type { TidemarkError } from '../../protocol/errors.ts'
import type { TopicPartition } from '../../protocol/ids.ts'
import type { Duration } from '../../protocol/units.ts'
import type { MessageBatch } from '../consumer/messages.ts'
import type { Message, PartitionPosition, ReadingOptions, StartPosition } from '../types.ts'

/** A record that was read by a member of a group. */
export interface GroupMessage<K, V> extends Message<K, V> {
  /** Grows every time the partition is given to a member anew: who writes results elsewhere can refuse those of a smaller epoch. */
  readonly epoch: number
  /** The group has come as far as this message, it included. Resolves when that is durable; rejects with `STALE_MEMBER_EPOCH` when the partition is the member's no more. */
  commit(options?: { readonly metadata?: string }): Promise<void>
}

/** Messages of one partition, in order, and the commit of them all. */
export interface GroupBatch<K, V> extends MessageBatch<K, V> {
  readonly epoch: number
  commit(options?: { readonly metadata?: string }): Promise<void>
}

/** What a crash may do. `at-most-once`: lose what was in hand. `at-least-once`: repeat what was not committed. `effectively-once`: neither, where results and offsets are stored together. */
export type Delivery = 'at-most-once' | 'at-least-once' | 'effectively-once'

/** When the group is told how far it has come: when you say so, after each message that was handled, or every so often. */
export type CommitStyle = 'manual' | 'handled' | { readonly interval: Duration }

/** A partition that was given to a member, and the epoch in which it was. */
export interface AssignedPartition extends TopicPartition {
  readonly epoch: number
}

/** Offsets that the application keeps beside its own results, changed in the same transaction. */
export interface OffsetStore {
  /**
   * Where to go on in a partition that was just given to this member: one past the last record whose result is stored; undefined when there is none. From now on
   * the store must refuse what comes with a smaller epoch.
   */
  load(partition: AssignedPartition): bigint | undefined | Promise<bigint | undefined>
}

interface GroupOptions extends ReadingOptions {
  /** 1 to 249 characters. */
  readonly group: string
  /**
   * Where a group begins that has not committed anything of a partition yet; what it has committed counts before it. `committed`: such a partition is the
   * error `OFFSET_NOT_COMMITTED`. Partitions added to a topic while a member runs begin at their start.
   */
  readonly start: StartPosition | 'committed'
  /** A name of this process that outlives a restart: with it the partitions wait for the process to come back, for as long as the session. */
  readonly instanceId?: string
  /** Who gets what. `uniform` (default): balanced, moves as little as possible. `range`: the same numbers of all topics to one member. */
  readonly assignor?: 'uniform' | 'range'
  /** Default: `handled` for `run`, `manual` elsewhere. With `at-most-once` offsets are committed before handling, always. */
  readonly commit?: CommitStyle
  /** How long the coordinator waits for a sign of life before others get the partitions. Default: the node's (30 s). How long a handler takes does not matter to it. */
  readonly sessionTimeout?: Duration
  /** How long work in hand may take once the partition is to go to another member; then its signal aborts and its result counts no more. Default 5 min. */
  readonly rebalanceTimeout?: Duration
  /** How long `close` waits for handlers, then for the last commit. Default 10 s. */
  readonly closeTimeout?: Duration
}

export type GroupConsumerOptions = GroupOptions &
  (
    | { readonly delivery?: 'at-most-once' | 'at-least-once'; readonly offsets?: never }
    | { readonly delivery: 'effectively-once'; readonly offsets: OffsetStore }
  )

export interface RunOptions {
  /** Handlers at work at once. Default 1. */
  readonly concurrency?: number
  /** `partition` (default): one after the other within a partition. `key`: within a key; records without one in any order. */
  readonly ordering?: 'partition' | 'key'
  /** Ends `run`: handlers finish, offsets are committed, the group is left. */
  readonly signal?: AbortSignal
}

/** Aborts when the result counts no more: the partition went to another member, or closing took too long. */
export type GroupHandler<K, V> = (message: GroupMessage<K, V>, context: { readonly signal: AbortSignal }) => void | Promise<void>

/** What listeners are told, by the name of the event. A listener of `revoked` may return a promise: the partitions are held until it settles. */
export interface GroupEvents {
  /** These partitions are read from now on, from these offsets. */
  readonly assigned: { readonly partitions: readonly (AssignedPartition & PartitionPosition)[] }
  /** These partitions go to other members once work in hand is done. Commits still count. */
  readonly revoked: { readonly partitions: readonly AssignedPartition[] }
  /** These partitions are gone already: the session ended, or offsets were reset. Commits are refused. */
  readonly lost: { readonly partitions: readonly AssignedPartition[]; readonly error: TidemarkError }
  /** There are more members than partitions: this one has none and waits in reserve. Or it is needed again. */
  readonly idle: { readonly isIdle: boolean }
  /**
   * Another process has the place of this one's `instanceId`, and is alive or its session has not ended: this one asks on until it gets the place, or fails with
   * `STALLED` after `stallTimeout`. Two processes with the same `instanceId` are a mistake; one that was restarted waits rightly.
   */
  readonly waiting: { readonly error: TidemarkError }
  /** There is no progress although there should be. The consumer fails with `error` right after. */
  readonly stalled: { readonly error: TidemarkError }
}

export type GroupListener<Name extends keyof GroupEvents> = (event: GroupEvents[Name]) => void | Promise<void>

/** How far behind a group is in a partition that this member has. The node's numbers, the same as everywhere. */
export interface GroupPartitionLag extends TopicPartition {
  /** The next offset the application gets. */
  readonly position: bigint
  /** Undefined: nothing was committed. */
  readonly committed: bigint | undefined
  readonly highWatermark: bigint
  /** Records from the committed offset to the high watermark. */
  readonly lag: bigint
  /** Age of the oldest of them in milliseconds. */
  readonly lagMs: number
}
