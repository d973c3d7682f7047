/**
 * The searches of Raft: what each is about, how far it goes in every run of the tests, and how far when there is time
 * (`TIDEMARK_EXHAUSTIVE=full`, some minutes and a few GiB).
 */
import type { Disk, RaftBounds } from './raft-bounds.ts'

const EMPTY: Disk = { log: [], term: 0, vote: 0, commit: 0 }

const NOTHING: RaftBounds = {
  preVote: false,
  checkQuorum: false,
  hasTicks: false,
  termMax: 2,
  proposals: 0,
  crashes: 0,
  pauses: 0,
  duplicates: 0,
  messagesMax: 2,
  compactions: 0,
  transfers: 0,
  removals: 0,
  reads: 0,
  disks: [EMPTY, EMPTY, EMPTY],
}

/** As the driver of the controller sets it. */
const SHIPPED = { ...NOTHING, preVote: true, checkQuorum: true }

export interface RaftSearch {
  readonly about: string
  readonly bounds: RaftBounds
  /** Where it is not the same. */
  readonly full?: Partial<RaftBounds>
}

export const RAFT_SEARCHES = {
  elections: {
    about: 'two terms, an entry, a crash',
    bounds: { ...NOTHING, proposals: 1, crashes: 1 },
    full: { messagesMax: 3, duplicates: 1 },
  },
  stops: {
    about: 'a driver stopped between two of its steps, an entry, a crash',
    bounds: { ...NOTHING, termMax: 1, proposals: 1, crashes: 1, pauses: 1 },
    full: { termMax: 2 },
  },
  'stops in two terms': {
    about: 'a driver stopped between two of its steps, two terms, a crash',
    bounds: { ...NOTHING, crashes: 1, pauses: 1, messagesMax: 1 },
    full: { pauses: 2, proposals: 1 },
  },
  'figure 8': {
    about: 'figure 8 of the paper from (c) on: an entry of an earlier term is on a majority, a log with a later one is not',
    bounds: {
      ...NOTHING,
      termMax: 4,
      disks: [
        { log: ['1'], term: 1, vote: 1, commit: 0 },
        { log: [], term: 2, vote: 3, commit: 0 },
        { log: ['2'], term: 2, vote: 3, commit: 0 },
      ],
    },
    full: { messagesMax: 3, termMax: 5, proposals: 1 },
  },
  'logs that part': {
    about: 'a long log of an earlier term, a shorter one of a later term that has committed',
    bounds: {
      ...NOTHING,
      termMax: 4,
      disks: [
        { log: ['1', '1', '1'], term: 1, vote: 1, commit: 1 },
        { log: ['1', '2'], term: 2, vote: 3, commit: 0 },
        { log: ['1', '2'], term: 2, vote: 3, commit: 2 },
      ],
    },
    full: { crashes: 1, messagesMax: 3 },
  },
  shipped: {
    about: 'two terms as the controller runs it, with pre-vote and check-quorum; timeouts come at any time',
    bounds: SHIPPED,
    full: { transfers: 1, crashes: 1 },
  },
  ticks: {
    about: 'the same by ticks: heartbeats, and leaders that step down because nobody answers',
    bounds: { ...SHIPPED, termMax: 1, hasTicks: true, messagesMax: 1 },
    full: { crashes: 1, proposals: 1 },
  },
  snapshots: {
    about: 'logs that are compacted, snapshots that arrive, get lost and come twice',
    bounds: { ...NOTHING, compactions: 2, duplicates: 1 },
    full: { proposals: 1, crashes: 1 },
  },
  'reads and transfers': {
    about: 'a read, and a leader that hands over',
    bounds: { ...NOTHING, reads: 1, transfers: 1 },
    full: { messagesMax: 3, crashes: 1 },
  },
  members: {
    about: 'two removals, one after the other, and an entry',
    bounds: { ...NOTHING, removals: 2, proposals: 1, messagesMax: 1 },
    full: { crashes: 1, messagesMax: 2 },
  },
  'members after a restart': {
    about: 'all start again; two removals are committed, and only who is left knows of the second',
    bounds: {
      ...NOTHING,
      removals: 1,
      pauses: 1,
      disks: [
        { log: ['1', '1 remove 2', '1 remove 3'], term: 1, vote: 1, commit: 3 },
        { log: ['1'], term: 1, vote: 1, commit: 1 },
        { log: ['1', '1 remove 2', '1 remove 3'], term: 1, vote: 1, commit: 2 },
      ],
    },
    full: { termMax: 3, crashes: 1, proposals: 1 },
  },
} as const satisfies Readonly<Record<string, RaftSearch>>

export type RaftSearchName = keyof typeof RAFT_SEARCHES
