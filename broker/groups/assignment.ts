/** What an assignor gets and gives. */
import type { PartitionKey } from './partition-keys.ts'

/** A member, as far as it matters here. */
export interface Subscriber {
  readonly memberId: string
  /** Puts members in order: a name that outlives a restart, where there is one. */
  readonly name: string
  /** Ids of the topics it subscribes to. */
  readonly topicIds: ReadonlySet<string>
  /** What it was meant to have so far; may name partitions that are gone or that others have as well. */
  readonly target: ReadonlySet<PartitionKey>
}

/** Partitions by member id. */
export type Assignment = ReadonlyMap<string, ReadonlySet<PartitionKey>>
