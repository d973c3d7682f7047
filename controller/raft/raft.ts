/**
 * The state of one node and how its role changes. What it does in each role is in `step.ts`, `campaign.ts`, `election.ts`,
 * `leader.ts` and `follower.ts`.
 *
 * ```
 *             timeout             majority would vote          majority votes
 *  follower ──────────> preCandidate ──────────────> candidate ──────────────> leader
 *     ^                     │                            │                        │
 *     └──── a leader of this term, a higher term, or a majority refuses ──────────┘  or no majority is heard of
 * ```
 * Time is counted in ticks; randomness is an argument. Nothing here waits, and nothing is sent: messages are
 * collected until `RawNode.ready` hands them out.
 */
import { EntryLog } from './entry-log.ts'
import { Inflights } from './inflights.ts'
import { invariant } from './invariant.ts'
import { type ConfState, type HardState, type Message, makeMessage, NO_NODE } from './messages.ts'
import { isMember } from './membership.ts'
import { Progress } from './progress.ts'
import { ReadRequests } from './read-index.ts'
import type { RaftStorage } from './storage.ts'

export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader'

/** A transition, for whoever traces or checks. */
export interface RaftEvent {
  readonly kind: 'role' | 'term' | 'vote' | 'commit' | 'append' | 'members' | 'snapshot'
  readonly id: number
  readonly term: number
  readonly role: Role
  /** kind `vote`: for whom. `commit`, `append`, `snapshot`: the index. Else the leader. */
  readonly value: number
}

export interface RaftConfig {
  readonly id: number
  /** Without a leader for this many ticks, up to twice as many by chance, a node asks for votes. */
  readonly electionTicks: number
  readonly heartbeatTicks: number
  readonly storage: RaftStorage
  /** The last entry that the state machine has. */
  readonly applied: number
  /** Entries in one append. */
  readonly maxMessageBytes: number
  /** Entries handed out to be applied at once. */
  readonly maxCommittedBytes: number
  /** What was proposed and is not applied yet. */
  readonly maxUncommittedBytes: number
  /** Appends under way to one follower. */
  readonly maxInflightMessages: number
  readonly maxInflightBytes: number
  readonly preVote: boolean
  readonly checkQuorum: boolean
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly trace?: (event: RaftEvent) => void
}

export interface ReadState {
  readonly index: number
  readonly context: string
}

export class Raft {
  readonly config: RaftConfig
  readonly id: number
  readonly log: EntryLog
  term: number
  vote: number
  role: Role = 'follower'
  leader: number = NO_NODE
  members: ConfState
  /** Of every member, this node among them. Meaningful while this node leads. */
  progress = new Map<number, Progress>()
  /** Of the election under way. */
  votes = new Map<number, boolean>()
  readonly reads = new ReadRequests()
  readStates: ReadState[] = []
  /** May leave at once. */
  messages: Message[] = []
  /** Promise something: may leave once what they promise is durable. Those to this node itself are its own vote and acknowledgements. */
  messagesAfterPersist: Message[] = []
  /** Bytes proposed in this term and not applied. */
  uncommittedBytes = 0
  /** While entries up to here are not applied, no other change of the members may be proposed. */
  pendingChangeIndex = 0
  /** To whom leadership is being handed over. */
  transferee: number = NO_NODE
  electionElapsed = 0
  heartbeatElapsed = 0
  electionTimeout = 0

  constructor(config: RaftConfig) {
    const { id, storage, electionTicks, heartbeatTicks } = config
    invariant(Number.isSafeInteger(id) && id > NO_NODE, `node ids are whole numbers from 1 on, not ${id}`)
    invariant(heartbeatTicks >= 1 && electionTicks > heartbeatTicks, 'elections time out later than heartbeats are sent')
    const { hardState, confState } = storage.initialState()
    this.config = config
    this.id = id
    this.term = hardState.term
    this.vote = hardState.vote
    this.members = confState
    this.log = new EntryLog(storage, hardState.commit, config.applied)
    this.#resetProgress()
    this.becomeFollower(this.term, NO_NODE)
  }

  get hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.log.committed }
  }

  /** It votes and may lead: it is a voter, and does not wait for a snapshot to be installed. */
  get isPromotable(): boolean {
    return this.members.voters.includes(this.id) && this.log.unstable.snapshot === undefined
  }

  get others(): number[] {
    return [...this.members.voters, ...this.members.learners].filter((id) => id !== this.id)
  }

  becomeFollower(term: number, leader: number): void {
    this.#reset(term)
    this.leader = leader
    this.#setRole('follower')
  }

  /** Changes nothing that others would have to know of: neither the term nor the vote. */
  becomePreCandidate(): void {
    invariant(this.role !== 'leader', 'a leader does not ask for votes')
    this.votes = new Map()
    this.leader = NO_NODE
    this.#setRole('preCandidate')
  }

  becomeCandidate(): void {
    invariant(this.role !== 'leader', 'a leader does not ask for votes')
    this.#reset(this.term + 1)
    this.vote = this.id
    this.trace('vote', this.id)
    this.#setRole('candidate')
  }

  becomeLeader(): void {
    invariant(this.role === 'candidate', 'only a candidate becomes leader')
    this.#reset(this.term)
    this.leader = this.id
    this.progressOf(this.id).becomeReplicate()
    // Changes of the members may be among the entries behind the commit index: none is proposed before they are applied.
    this.pendingChangeIndex = this.log.lastIndex
    this.#setRole('leader')
  }

  /** The members are others from now on. Followers known before keep their progress. */
  setMembers(members: ConfState): void {
    this.members = members
    this.#resetProgress(this.progress)
    this.trace('members', this.leader)
  }

  progressOf(id: number): Progress {
    const progress = this.progress.get(id)
    invariant(progress !== undefined, `the progress of member ${id} is known`)
    return progress
  }

  /** Of this node's present term, unless `fields` names another. */
  send(fields: Pick<Message, 'type' | 'to'> & Partial<Message>): void {
    const message = makeMessage({ ...fields, from: this.id, term: fields.term ?? this.term })
    // A follower's words may promise what is not durable yet; a leader's do not: it counts its own entries once they are.
    const isFree = this.role === 'leader' && message.to !== this.id
    if (isFree) this.messages.push(message)
    else this.messagesAfterPersist.push(message)
  }

  trace(kind: RaftEvent['kind'], value: number): void {
    this.config.trace?.({ kind, id: this.id, term: this.term, role: this.role, value })
  }

  #reset(term: number): void {
    if (term !== this.term) {
      invariant(term > this.term, 'terms do not go back')
      this.term = term
      this.vote = NO_NODE
      this.trace('term', NO_NODE)
    }
    this.leader = NO_NODE
    this.electionElapsed = 0
    this.heartbeatElapsed = 0
    this.electionTimeout = this.config.electionTicks + Math.floor(this.config.random() * this.config.electionTicks)
    this.transferee = NO_NODE
    this.votes = new Map()
    this.#resetProgress()
    this.pendingChangeIndex = 0
    this.uncommittedBytes = 0
    this.reads.reset()
  }

  #resetProgress(known: ReadonlyMap<number, Progress> = new Map()): void {
    const { maxInflightMessages, maxInflightBytes } = this.config
    const next = this.log.lastIndex + 1
    const fresh = (id: number, isLearner: boolean): Progress => {
      const before = known.get(id)
      if (before?.isLearner === isLearner) return before
      const inflights = new Inflights(maxInflightMessages, maxInflightBytes)
      const isSelf = id === this.id
      // Its own entries count once they are durable.
      const progress = new Progress(isSelf ? this.log.stableIndex : (before?.match ?? 0), before?.next ?? next, isLearner, inflights)
      // A new member is heard of as soon as it is one: it gets the time of one check to answer.
      progress.isRecentlyActive = isSelf || known.size > 0
      return progress
    }
    const entries = [
      ...this.members.voters.map((id) => [id, fresh(id, false)] as const),
      ...this.members.learners.map((id) => [id, fresh(id, true)] as const),
    ]
    this.progress = new Map(entries)
    invariant(this.progress.size === entries.length, 'a member is a voter or a learner')
  }

  #setRole(role: Role): void {
    this.role = role
    this.trace('role', this.leader)
  }

  isMember(id: number): boolean {
    return isMember(this.members, id)
  }
}
