/**
 * What a search of replication may do, and how much of it. One partition with replicas on nodes 1, 2 and 3, of which 1 leads at
 * first; within the bounds every order of events is tried.
 */
export interface ReplicaBounds {
  readonly minIsr: 1 | 2
  /** `replicated`: what is written counts, and a crash may lose it. */
  readonly durability: 'fsync' | 'replicated'
  /** Nodes that were fenced and are back: up, and not in sync. Not 1. */
  readonly outOfSync: readonly number[]
  /** Records that are produced. */
  readonly records: number
  /** States of a later leader epoch are not looked at. */
  readonly leaderEpochMax: number
  /** Requests for another ISR. */
  readonly proposals: number
  readonly crashes: number
  /** Nodes that are fenced though they are up; one that is down may be fenced at any time. */
  readonly fences: number
  /** Nodes that come back with an empty disk. */
  readonly wipes: number
  /** Nodes hear of decisions any time later. Else at once. */
  readonly hearsLate: boolean
  /** Logs are flushed any time later. Else at once. */
  readonly flushesLate: boolean
  /** Whether a fetch, its answer, or both are on their way while other things happen. Else an answer comes at once, or gets lost. */
  readonly areFetchesSlow: boolean
}
