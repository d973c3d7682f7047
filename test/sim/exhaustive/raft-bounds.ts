/**
 * What a search of Raft may do, and how much of it. Three nodes; within the bounds every order of events is tried: messages
 * arrive in any order or never, a node stops between any two steps of its driver.
 */
export interface RaftBounds {
  readonly preVote: boolean
  readonly checkQuorum: boolean
  /** Time passes in ticks, two to an election timeout. Else an election timeout may be over at any time, and no heartbeats are sent. */
  readonly hasTicks: boolean
  /** States with a higher term are not looked at. */
  readonly termMax: number
  readonly proposals: number
  readonly crashes: number
  /** How often a driver is stopped between two of its steps, for as long as it may be. */
  readonly pauses: number
  /** Messages that arrive and stay under way. */
  readonly duplicates: number
  /** Messages under way; of those that would be more, any may get lost. */
  readonly messagesMax: number
  readonly compactions: number
  readonly transfers: number
  /** Of members. */
  readonly removals: number
  readonly reads: number
  /** What each node has at first. */
  readonly disks: readonly Disk[]
}

export interface Disk {
  /** Contents of its entries (`contentOf`): a term, or a term and a member that is removed. */
  readonly log: readonly string[]
  readonly term: number
  readonly vote: number
  readonly commit: number
}
