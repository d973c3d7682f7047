/** What the core hands out: work to be done, what became of a proposal, how things stand. */
import type { ConfState, Entry, HardState, Message, Snapshot } from './messages.ts'
import type { ProgressState } from './progress.ts'
import type { ReadState, Role } from './raft.ts'

export interface SoftState {
  readonly leader: number
  readonly role: Role
}

export interface Ready {
  /** What changed since the last `Ready`; undefined when nothing did. */
  readonly softState: SoftState | undefined
  readonly hardState: HardState | undefined
  /** To be written; what is written already from the first of them on is discarded by that. */
  readonly entries: readonly Entry[]
  /** To be written and installed, before `entries`. */
  readonly snapshot: Snapshot | undefined
  /** To be applied, in order, after everything above is durable. */
  readonly committedEntries: readonly Entry[]
  /** May leave at once. */
  readonly messages: readonly Message[]
  /** May leave once everything above is durable. */
  readonly messagesAfterPersist: readonly Message[]
  readonly readStates: readonly ReadState[]
  /** Something has to be durable before `messagesAfterPersist` leave. */
  readonly mustSync: boolean
}

export type ProposeResult =
  | { readonly ok: true; readonly index: number; readonly term: number }
  | { readonly ok: false; readonly reason: ProposeRefusal }

export type ProposeRefusal =
  | 'not-leader'
  | 'transferring'
  | 'too-much-uncommitted'
  | 'pending-conf-change'
  | 'no-commit-in-term'
  | 'removed'
  | 'last-voter'

export interface PeerStatus {
  readonly id: number
  readonly match: number
  readonly next: number
  readonly state: ProgressState
  readonly isPaused: boolean
  readonly isRecentlyActive: boolean
  /** Heard of within the last two election timeouts. */
  readonly isAlive: boolean
  readonly isLearner: boolean
}

export interface Status extends HardState, SoftState {
  readonly id: number
  readonly applied: number
  readonly lastIndex: number
  readonly confState: ConfState
  readonly transferee: number
  /** Known to a leader only. */
  readonly peers: readonly PeerStatus[]
}
