/** Mistakes that a search must find, planted in the core, and where. */
import type { Mistake } from './open-core.ts'
import type { RaftSearchName } from './raft-searches.ts'

export interface RaftMistake extends Mistake {
  readonly search: RaftSearchName
  /** That it breaks, or the end of it. */
  readonly rule: string
  /** On the shortest way there. */
  readonly events: number
}

export const RAFT_MISTAKES: readonly RaftMistake[] = [
  {
    name: 'a vote is not written (M14)',
    search: 'elections',
    file: 'controller/raft/raw-node.ts',
    find: 'hardState: isHardStateNew ? hardState : undefined',
    replace: 'hardState: isHardStateNew ? { ...hardState, vote: 0 } : undefined',
    rule: 'a vote that leaves is durable',
    events: 2,
  },
  {
    name: 'promises leave before they are written (M13, M14)',
    search: 'stops',
    file: 'controller/raft/raft.ts',
    find: "const isFree = this.role === 'leader' && message.to !== this.id",
    replace: 'const isFree = message.to !== this.id',
    rule: 'has its own vote on its disk',
    events: 5,
  },
  {
    name: 'a leader counts what it has not written (M15)',
    search: 'stops',
    file: 'controller/raft/leader.ts',
    find: "raft.send({ type: 'appendResponse', to: raft.id, index })",
    replace: 'raft.progressOf(raft.id).update(index)',
    rule: 'entry 1 is committed and not on the disks of a majority',
    events: 5,
  },
  {
    name: 'an entry that was replaced while it was written counts as written',
    search: 'stops in two terms',
    file: 'controller/raft/unstable.ts',
    find: 'if (index < this.offset || this.term(index) !== term) return',
    replace: 'if (index < this.offset || this.term(index) === undefined) return',
    rule: 'entry 1 is committed and not on the disks of a majority',
    events: 9,
  },
  {
    name: 'an entry of an earlier term is committed by counting (M16)',
    search: 'figure 8',
    file: 'controller/raft/leader.ts',
    find: ' || raft.log.term(index) !== raft.term',
    replace: '',
    rule: 'leader 3 of term 4 lacks entry 1, committed in term 3',
    events: 12,
  },
  {
    name: 'votes go to logs that are behind',
    search: 'elections',
    file: 'controller/raft/election.ts',
    find: ' || !raft.log.isUpToDate(index, logTerm)',
    replace: '',
    rule: 'of term 2 lacks entry 1, committed in term 1',
    events: 8,
  },
  {
    name: 'a longer log counts for more than a later one (M24)',
    search: 'logs that part',
    file: 'controller/raft/entry-log.ts',
    find: 'term > this.lastTerm || (term === this.lastTerm && index >= this.lastIndex)',
    replace: 'index >= this.lastIndex',
    rule: 'of term 3 lacks entry 2, committed in term 2',
    events: 5,
  },
  {
    name: 'a second vote in a term',
    search: 'elections',
    file: 'controller/raft/election.ts',
    find: 'raft.vote === from || (raft.vote === NO_NODE && raft.leader === NO_NODE)',
    replace: 'raft.leader === NO_NODE',
    rule: 'a node votes once in each term',
    events: 3,
  },
  {
    name: 'an append of an earlier term is taken (M34)',
    search: 'elections',
    file: 'controller/raft/step.ts',
    find: '} else if (message.term < raft.term) {',
    replace: "} else if (message.term < raft.term && message.type !== 'append') {",
    rule: 'terms do not go back',
    events: 5,
  },
  {
    name: 'an append is taken behind an entry of another term (M24)',
    search: 'logs that part',
    file: 'controller/raft/entry-log.ts',
    find: 'if (this.term(prevIndex) !== prevTerm) return undefined',
    replace: 'if (this.term(prevIndex) === undefined) return undefined',
    rule: 'logs that have an entry in common have all before it in common',
    events: 5,
  },
  {
    name: 'a snapshot older than what is committed is installed (M19)',
    search: 'snapshots',
    file: 'controller/raft/follower.ts',
    find: 'index <= log.committed || ',
    replace: '',
    rule: 'a snapshot is not replaced by an older one',
    events: 19,
  },
  {
    name: 'a heartbeat commits more than the follower is known to have',
    search: 'ticks',
    file: 'controller/raft/leader.ts',
    find: 'commit: Math.min(raft.progressOf(id).match, raft.log.committed), context',
    replace: 'commit: raft.log.committed, context',
    rule: 'what is committed, up to 1, is in the log, which ends at 0',
    events: 10,
  },
  {
    name: 'a read is answered before a commit of the own term (M38)',
    search: 'reads and transfers',
    file: 'controller/raft/leader.ts',
    find: '!hasCommittedInTerm(raft) || ',
    replace: '',
    rule: 'a read is answered with all that was committed when it was asked',
    events: 11,
  },
  {
    name: 'a second change of the members is proposed before the first is applied',
    search: 'members',
    file: 'controller/raft/raw-node.ts',
    find: "(raft.pendingChangeIndex > raft.log.applied ? 'pending-conf-change' : undefined) ??",
    replace: '',
    rule: 'of term 2 lacks entry 4, committed in term 1',
    events: 14,
  },
  {
    name: 'a node asks for votes with a change of the members not applied',
    search: 'members after a restart',
    file: 'controller/raft/campaign.ts',
    find: ' || hasPendingChange(raft)',
    replace: '',
    rule: 'one leader in term 2',
    events: 7,
  },
]
