/** Asking for votes. */
import { TRANSFER } from './messages.ts'
import type { Raft } from './raft.ts'

/** Asks for votes, unless it leads already or may not. `isTransfer`: the leader asked it to. */
export function hup(raft: Raft, isTransfer: boolean): void {
  if (raft.role === 'leader' || !raft.isPromotable || hasPendingChange(raft)) return
  campaign(raft, raft.config.preVote && !isTransfer ? 'preVote' : 'vote', isTransfer)
}

/** Asks every voter, itself among them, for its vote in the next term; a pre-vote asks whether it would get it. */
export function campaign(raft: Raft, kind: 'preVote' | 'vote', isTransfer: boolean): void {
  if (kind === 'preVote') raft.becomePreCandidate()
  else raft.becomeCandidate()
  const term = kind === 'preVote' ? raft.term + 1 : raft.term
  for (const id of raft.members.voters) {
    // Its own vote counts, like any other, once it is durable.
    if (id === raft.id) raft.send({ type: `${kind}Response`, to: id, term })
    else raft.send({ type: kind, to: id, term, index: raft.log.lastIndex, logTerm: raft.log.lastTerm, context: isTransfer ? TRANSFER : '' })
  }
}

/** A change of the members that is committed and not applied: who votes is about to change. */
function hasPendingChange(raft: Raft): boolean {
  const { log } = raft
  for (let from = log.applied + 1; from <= log.committed; ) {
    if (from < log.firstIndex) return true
    const entries = log.slice(from, log.committed + 1, raft.config.maxCommittedBytes)
    if (entries.some(({ type }) => type === 'confChange')) return true
    from += entries.length
  }
  return false
}
