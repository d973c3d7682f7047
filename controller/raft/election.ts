/** Giving votes, and counting them. */
import { campaign } from './campaign.ts'
import { stepFollower } from './follower.ts'
import { becomeLeading } from './leader.ts'
import { type Message, NO_NODE } from './messages.ts'
import { voteResult } from './quorum.ts'
import type { Raft } from './raft.ts'

export function stepVoteRequest(raft: Raft, { type, from, term, index, logTerm }: Message): void {
  const isFree = raft.vote === from || (raft.vote === NO_NODE && raft.leader === NO_NODE) || (type === 'preVote' && term > raft.term)
  // A learner votes too: it may have been made a voter by an entry that it has not seen yet.
  if (!isFree || !raft.log.isUpToDate(index, logTerm)) {
    raft.send({ type: `${type === 'vote' ? 'vote' : 'preVote'}Response`, to: from, reject: true })
    return
  }
  if (type === 'preVote') {
    raft.send({ type: 'preVoteResponse', to: from, term })
    return
  }
  raft.electionElapsed = 0
  raft.vote = from
  raft.trace('vote', from)
  raft.send({ type: 'voteResponse', to: from })
}

export function stepCandidate(raft: Raft, message: Message): void {
  const { type, from, term, reject } = message
  switch (type) {
    case 'append':
    case 'heartbeat':
    case 'snapshot':
      raft.becomeFollower(term, from)
      stepFollower(raft, message)
      return
    case 'voteResponse':
      if (raft.role === 'candidate') countVote(raft, from, !reject)
      return
    case 'preVoteResponse':
      // Consent carries the term that would begin.
      if (raft.role === 'preCandidate' && (reject || term === raft.term + 1)) countVote(raft, from, !reject)
      return
    default:
      return
  }
}

function countVote(raft: Raft, from: number, isGranted: boolean): void {
  if (!raft.votes.has(from)) raft.votes.set(from, isGranted)
  switch (voteResult(raft.members.voters, raft.votes)) {
    case 'won':
      if (raft.role === 'preCandidate') campaign(raft, 'vote', false)
      else becomeLeading(raft)
      return
    case 'lost':
      raft.becomeFollower(raft.term, NO_NODE)
      return
    case 'pending':
      return
  }
}
