/**
 * What the core speaks of: entries, states, snapshots and the messages between nodes. Plain values, never changed after
 * they were made.
 *
 * Indexes and terms are integers up to 2^53 - 1, from 1 on; 0 is "before the first". Node ids are from 1 on.
 */

export const NO_NODE = 0

/** A change of the membership, one node at a time. `context` means nothing to the core. */
export interface ConfChange {
  readonly type: 'addVoter' | 'addLearner' | 'remove'
  readonly nodeId: number
  readonly context: Uint8Array
}

/** Empty data: the entry with which a new leader begins its term. */
export type Entry =
  | { readonly index: number; readonly term: number; readonly type: 'normal'; readonly data: Uint8Array }
  | { readonly index: number; readonly term: number; readonly type: 'confChange'; readonly change: ConfChange }

/** What a node must not forget. */
export interface HardState {
  readonly term: number
  /** Whom it voted for in `term`. */
  readonly vote: number
  readonly commit: number
}

/** Who votes and who only learns; both sorted, no node in both. */
export interface ConfState {
  readonly voters: readonly number[]
  readonly learners: readonly number[]
}

export interface SnapshotMeta {
  readonly index: number
  readonly term: number
  readonly confState: ConfState
}

/** The state after the entry at `meta.index`. */
export interface Snapshot {
  readonly meta: SnapshotMeta
  readonly data: Uint8Array
}

export type MessageType =
  | 'vote'
  | 'voteResponse'
  | 'preVote'
  | 'preVoteResponse'
  | 'append'
  | 'appendResponse'
  | 'heartbeat'
  | 'heartbeatResponse'
  | 'snapshot'
  | 'timeoutNow'
  | 'transferLeader'
  | 'readIndex'
  | 'readIndexResponse'

/** Fields that a type does not use are 0, empty, false or undefined. */
export interface Message {
  readonly type: MessageType
  readonly from: number
  readonly to: number
  readonly term: number
  /** vote: term of the sender's last entry. append: term of the entry before `entries`. appendResponse, refused: term at `rejectHint`. */
  readonly logTerm: number
  /** vote: the sender's last entry. append: the entry before `entries`. appendResponse: the last entry accepted, or the one refused. */
  readonly index: number
  readonly commit: number
  readonly entries: readonly Entry[]
  readonly reject: boolean
  /** appendResponse, refused: where the follower's log may agree with the leader's. */
  readonly rejectHint: number
  readonly snapshot: Snapshot | undefined
  /** vote, preVote: `TRANSFER` when the leader itself asked for the election. heartbeat and its answer: the round of reads it confirms. readIndex and its answer: which read it is. */
  readonly context: string
}

/** Context of the votes of an election that the leader asked for: not refused because there is a leader. */
export const TRANSFER = 'transfer'

const BLANK = {
  term: 0,
  logTerm: 0,
  index: 0,
  commit: 0,
  entries: [],
  reject: false,
  rejectHint: 0,
  snapshot: undefined,
  context: '',
} as const

/** A message with the fields given, all others unused. */
export function makeMessage(fields: Pick<Message, 'type' | 'from' | 'to'> & Partial<Message>): Message {
  return { ...BLANK, ...fields }
}

/** Bytes that an entry counts for in limits. */
export function entryBytes(entry: Entry): number {
  return ENTRY_OVERHEAD_BYTES + payloadBytes(entry)
}

/** Bytes of what was proposed. */
export function payloadBytes(entry: Entry): number {
  return entry.type === 'normal' ? entry.data.length : entry.change.context.length
}

const ENTRY_OVERHEAD_BYTES = 16

/** The longest beginning of `entries` within `maxBytes`, but at least one entry. */
export function limitBytes(entries: readonly Entry[], maxBytes: number): readonly Entry[] {
  let bytes = 0
  for (const [count, entry] of entries.entries()) {
    bytes += entryBytes(entry)
    if (bytes > maxBytes && count > 0) return entries.slice(0, count)
  }
  return entries
}
