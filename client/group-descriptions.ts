/** What administration tells of consumer groups. Times are milliseconds since 1970. */
import type { TidemarkError } from '../protocol/errors.ts'
import type { TopicPartition } from '../protocol/ids.ts'
import type { PartitionPosition } from './types.ts'

/** `reconciling`: partitions are on their way from one member to another. `unknown`: a state that only a newer node knows. */
export type GroupState = 'empty' | 'stable' | 'reconciling' | 'unknown'

export interface GroupSummary {
  readonly group: string
  readonly state: GroupState
  readonly memberCount: number
  /** Members without a partition. */
  readonly idleMemberCount: number
  /** Partitions it has committed offsets of. */
  readonly offsetCount: number
  readonly topics: readonly string[]
}

export interface MemberDescription {
  readonly memberId: string
  /** Empty: not a static member. */
  readonly instanceId: string
  readonly clientId: string
  /** The other end of its connection. */
  readonly peer: string
  readonly epoch: number
  readonly topics: readonly string[]
  readonly topicPattern: string
  readonly assigned: readonly TopicPartition[]
  /** What it was told to let go of and has not yet. */
  readonly revoking: readonly TopicPartition[]
  /** Meant for it and still with others. */
  readonly pendingPartitions: number
  /** There are more members than partitions, and it has none. */
  readonly isIdle: boolean
  /** A static member that has left for a while. */
  readonly isAway: boolean
  /** Since its last heartbeat. */
  readonly silentMs: number
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
}

export interface GroupPartition extends TopicPartition {
  /** Who has it; empty: nobody. */
  readonly memberId: string
  /** Undefined: nothing was committed. */
  readonly committed: bigint | undefined
  readonly metadata: string
  /** 0: never. */
  readonly commitTimeMs: number
  /** The rest is undefined when its leader could not be asked; `error` says why. */
  readonly logStart: bigint | undefined
  readonly highWatermark: bigint | undefined
  /** Records still to be read. */
  readonly lag: bigint | undefined
  /** Age of the oldest of them. */
  readonly lagMs: number | undefined
  /** For how long there was something to read and nothing was committed. */
  readonly noProgressMs: number | undefined
  readonly error: TidemarkError | undefined
}

export interface GroupDescription {
  readonly group: string
  readonly state: GroupState
  readonly assignor: string
  readonly epoch: number
  readonly coordinatorId: number
  /** Since when it has no members; 0: it has some. */
  readonly emptySinceMs: number
  readonly members: readonly MemberDescription[]
  readonly partitions: readonly GroupPartition[]
}

export interface CommittedOffset extends PartitionPosition {
  readonly metadata: string
  readonly commitTimeMs: number
}

/** `at`: the first record at or after a time. `shift`: so many records forward, or back. `group`: where another group is. */
export type ResetTarget =
  | 'earliest'
  | 'latest'
  | { readonly at: number | Date }
  | { readonly shift: number }
  | { readonly group: string }
  | { readonly offsets: readonly PartitionPosition[] }

export interface ResetOptions {
  /** Work everything out, change nothing. */
  readonly dryRun?: boolean
  /** Whole topics, or some of their partitions. Default: all that the group has offsets of or is assigned. */
  readonly topics?: readonly { readonly topic: string; readonly partitions?: readonly number[] }[]
  readonly signal?: AbortSignal
}

export interface ResetResult extends PartitionPosition {
  /** Why it was not set; the others were. */
  readonly error: TidemarkError | undefined
  /** What was committed before; undefined: nothing. */
  readonly previous: bigint | undefined
  /** The target lay outside the log: `offset` is its start or end. */
  readonly isClamped: boolean
  /** Who had it and began again; empty: nobody. */
  readonly memberId: string
}
