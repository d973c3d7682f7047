/** What a message or a tick means to a node, whatever its role. */
import { hup } from './campaign.ts'
import { stepCandidate, stepVoteRequest } from './election.ts'
import { stepFollower } from './follower.ts'
import { stepLeader, tickLeader } from './leader.ts'
import { type Message, NO_NODE, TRANSFER } from './messages.ts'
import type { Raft } from './raft.ts'

export function tick(raft: Raft): void {
  if (raft.role === 'leader') {
    tickLeader(raft)
    return
  }
  raft.electionElapsed++
  if (raft.isPromotable && raft.electionElapsed >= raft.electionTimeout) {
    raft.electionElapsed = 0
    hup(raft, false)
  }
}

export function step(raft: Raft, message: Message): void {
  if (message.term > raft.term) {
    if (!followTerm(raft, message)) return
  } else if (message.term < raft.term) {
    answerOldTerm(raft, message)
    return
  }
  if (message.type === 'vote' || message.type === 'preVote') stepVoteRequest(raft, message)
  else if (raft.role === 'leader') stepLeader(raft, message)
  else if (raft.role === 'follower') stepFollower(raft, message)
  else stepCandidate(raft, message)
}

/** A message of a higher term: adopts it, if the message says that it has begun. False: the message is to be ignored. */
function followTerm(raft: Raft, { type, term, from, context, reject }: Message): boolean {
  if (type === 'vote' || type === 'preVote') {
    // Whoever hears its leader does not help to depose it, unless the leader wants that.
    const hearsLeader = raft.config.checkQuorum && raft.leader !== NO_NODE && raft.electionElapsed < raft.config.electionTicks
    if (hearsLeader && context !== TRANSFER) return false
  }
  // A pre-vote, and the consent to one, speak of a term that has not begun.
  if (type === 'preVote' || (type === 'preVoteResponse' && !reject)) return true
  const isOfLeader = type === 'append' || type === 'heartbeat' || type === 'snapshot'
  raft.becomeFollower(term, isOfLeader ? from : NO_NODE)
  return true
}

function answerOldTerm(raft: Raft, { type, from }: Message): void {
  // A leader that was cut off learns so that its time is over, and a node stuck with a higher term gets back in: its
  // higher term reaches the leader, which steps down, and the next election is above it.
  const isOfLeader = type === 'append' || type === 'heartbeat'
  if (isOfLeader && (raft.config.checkQuorum || raft.config.preVote)) raft.send({ type: 'appendResponse', to: from })
  else if (type === 'preVote') raft.send({ type: 'preVoteResponse', to: from, reject: true })
}
