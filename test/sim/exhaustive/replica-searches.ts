/**
 * The searches of replication: what each is about, how far it goes in every run of the tests, and how far when there is time
 * (`TIDEMARK_EXHAUSTIVE=full`, some minutes and a few GiB).
 */
import type { ReplicaBounds } from './replica-bounds.ts'

const NOTHING: ReplicaBounds = {
  minIsr: 2,
  durability: 'fsync',
  outOfSync: [],
  records: 1,
  leaderEpochMax: 1,
  proposals: 0,
  crashes: 0,
  fences: 0,
  wipes: 0,
  hearsLate: false,
  flushesLate: false,
  areFetchesSlow: false,
}

export interface ReplicaSearch {
  readonly about: string
  readonly bounds: ReplicaBounds
  /** Where it is not the same. */
  readonly full?: Partial<ReplicaBounds>
}

export const REPLICA_SEARCHES = {
  elections: {
    about: 'a node is fenced while it is up; decisions are heard and logs flushed at any time',
    bounds: { ...NOTHING, fences: 1, hearsLate: true, flushesLate: true },
    full: { proposals: 1 },
  },
  crashes: {
    about: 'a node crashes and loses what was not flushed; decisions are heard and logs flushed at any time',
    bounds: { ...NOTHING, crashes: 1, hearsLate: true, flushesLate: true },
    full: { records: 2, leaderEpochMax: 2 },
  },
  'in sync': {
    about: 'replicas leave the ISR and come back, and a node is fenced',
    bounds: { ...NOTHING, outOfSync: [3], fences: 1, proposals: 1 },
    full: { proposals: 2, records: 2 },
  },
  'in sync, heard late': {
    about: 'the same without a fence, decisions are heard at any time',
    bounds: { ...NOTHING, outOfSync: [3], proposals: 2, hearsLate: true },
    full: { fences: 1 },
  },
  'in sync, flushed late': {
    about: 'the same, logs are flushed at any time too',
    bounds: { ...NOTHING, outOfSync: [3], proposals: 1, hearsLate: true, flushesLate: true },
    full: { records: 2 },
  },
  'one in sync': {
    about: 'a leader may commit alone',
    bounds: { ...NOTHING, minIsr: 1, outOfSync: [3], fences: 1, proposals: 1 },
    full: { records: 2, leaderEpochMax: 2 },
  },
  'logs that part': {
    about: 'a leader that was deposed has records that nobody else has',
    bounds: { ...NOTHING, records: 2, fences: 1 },
    full: { records: 3, fences: 2, leaderEpochMax: 2 },
  },
  eligible: {
    about: 'two nodes are fenced, a third is alive and lacks records',
    bounds: { ...NOTHING, outOfSync: [3], fences: 2, leaderEpochMax: 2 },
    full: { proposals: 1, records: 2 },
  },
  'another disk': {
    about: 'a node crashes and comes back, with its disk or an empty one',
    bounds: { ...NOTHING, outOfSync: [3], crashes: 1, wipes: 1, proposals: 1 },
    full: { flushesLate: true },
  },
  'another disk, heard late': {
    about: 'the same without records, decisions are heard at any time',
    bounds: { ...NOTHING, outOfSync: [3], crashes: 1, wipes: 1, proposals: 1, records: 0, hearsLate: true },
    full: { crashes: 2 },
  },
  written: {
    about: 'what is written counts, and a crash may lose it',
    bounds: { ...NOTHING, durability: 'replicated', outOfSync: [3], crashes: 1, flushesLate: true },
    full: { hearsLate: true },
  },
  'slow fetches': {
    about: 'fetches and their answers are on their way while a node is fenced',
    bounds: { ...NOTHING, fences: 1, areFetchesSlow: true },
    full: { records: 2, hearsLate: true },
  },
  'slow fetches of one that joins': {
    about: 'fetches and their answers are on their way while a replica comes back into the ISR',
    bounds: { ...NOTHING, outOfSync: [3], proposals: 1, areFetchesSlow: true },
    full: { fences: 1, proposals: 1 },
  },
} as const satisfies Readonly<Record<string, ReplicaSearch>>

export type ReplicaSearchName = keyof typeof REPLICA_SEARCHES
