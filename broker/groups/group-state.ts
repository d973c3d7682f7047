/**
 * What is known of a group: all that its records amount to, and nothing else. Pure.
 *
 * A decision makes records from the state (`membership.ts`, `offsets.ts`); `apply` is the only way the state changes, when they are written as
 * when they are read again after a restart. What is written here is therefore never lost, and what is not (who was heard when, `sessions.ts`) begins anew.
 */
import type { AssignorName } from './assignor.ts'
import { type PartitionKey, partitionKey } from './partition-keys.ts'

/** A partition a member holds. Epochs are the member's. */
export interface Held {
  /** In which it was given the partition; commits have to know it. */
  readonly assigned: number
  /** In which it was told to let go, and has not yet; 0: it was not told. */
  readonly revoked: number
}

/** The epoch of an assignment in which nothing can be committed any more: the offset was reset while the member was letting go. */
export const NEVER: number = Number.MAX_SAFE_INTEGER

export interface Member {
  readonly memberId: string
  /** Empty: not a static member. */
  readonly instanceId: string
  readonly clientId: string
  /** Names of topics, in order, each once. */
  readonly topics: readonly string[]
  /** Empty: none. */
  readonly topicPattern: string
  readonly assignor: AssignorName
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  /** Of the last change of what it is told. Larger than every `assigned` and `revoked` below, or equal; never larger than the group's. */
  readonly epoch: number
  /** What it is meant to have; no partition is meant for two members. */
  readonly target: ReadonlySet<PartitionKey>
  /** What it has: no partition is held by two members. */
  readonly held: ReadonlyMap<PartitionKey, Held>
  /** Static, and left for a while: nobody is behind it, its place is kept. */
  readonly away: boolean
}

export interface StoredOffset {
  readonly offset: number
  /** -1: not known. */
  readonly leaderEpoch: number
  readonly metadata: string
  readonly commitTimeMs: number
  /** When the offset last moved. */
  readonly progressTimeMs: number
  /** Of the metadata in which the committer knew the topic. */
  readonly metadataVersion: number
  /** Name of the topic, for people: it may be gone. */
  readonly topic: string
}

/** A null value removes what the key names. */
export type GroupRecord =
  | { readonly kind: 'group'; readonly group: string; readonly value: { readonly epoch: number; readonly emptySinceMs: number } | null }
  | { readonly kind: 'member'; readonly group: string; readonly memberId: string; readonly value: Member | null }
  | {
      readonly kind: 'offset'
      readonly group: string
      readonly topicId: string
      readonly partition: number
      readonly value: StoredOffset | null
    }

export class GroupState {
  readonly group: string
  readonly #members = new Map<string, Member>()
  readonly #offsets = new Map<PartitionKey, StoredOffset>()
  #epoch = 0
  #emptySinceMs = 0

  constructor(group: string) {
    this.group = group
  }

  /** Grows with every change of members and of what they are told. */
  get epoch(): number {
    return this.#epoch
  }

  /** When its last member left; 0: it has some. Milliseconds since 1970. */
  get emptySinceMs(): number {
    return this.#emptySinceMs
  }

  get members(): ReadonlyMap<string, Member> {
    return this.#members
  }

  get offsets(): ReadonlyMap<PartitionKey, StoredOffset> {
    return this.#offsets
  }

  /** Nothing is known of it: it may be forgotten. */
  get isGone(): boolean {
    return this.#epoch === 0 && this.#members.size === 0 && this.#offsets.size === 0
  }

  memberOfInstance(instanceId: string): Member | undefined {
    for (const member of this.#members.values()) if (member.instanceId === instanceId) return member
    return undefined
  }

  apply(record: GroupRecord): void {
    switch (record.kind) {
      case 'group':
        this.#epoch = record.value?.epoch ?? 0
        this.#emptySinceMs = record.value?.emptySinceMs ?? 0
        return
      case 'member':
        if (record.value === null) this.#members.delete(record.memberId)
        else this.#members.set(record.memberId, record.value)
        return
      case 'offset': {
        const key = partitionKey(record.topicId, record.partition)
        if (record.value === null) this.#offsets.delete(key)
        else this.#offsets.set(key, record.value)
        return
      }
    }
  }
}

/** What puts members in order: a static member's place outlives its process. */
export function nameOf({ instanceId, memberId }: Member): string {
  return instanceId === '' ? memberId : instanceId
}

/** Meant for the member, and held by nobody yet or by somebody else. */
export function pendingOf({ target, held }: Member): PartitionKey[] {
  return [...target].filter((key) => held.get(key)?.revoked !== 0)
}

/** The member that holds each partition. */
export function ownersOf(members: Iterable<Member>): Map<PartitionKey, string> {
  const owners = new Map<PartitionKey, string>()
  for (const { memberId, held } of members) for (const key of held.keys()) owners.set(key, memberId)
  return owners
}
