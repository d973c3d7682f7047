/** What a follower does: takes its leader's entries, heartbeats and snapshots, and drops what only a leader can answer: who asked asks again. */
import { hup } from './campaign.ts'
import type { Message } from './messages.ts'
import { isMember } from './membership.ts'
import type { Raft } from './raft.ts'

export function stepFollower(raft: Raft, message: Message): void {
  switch (message.type) {
    case 'append':
      hearLeader(raft, message.from)
      takeEntries(raft, message)
      return
    case 'heartbeat':
      hearLeader(raft, message.from)
      // Never above what this node has acknowledged: if its log ends before, it has lost entries that were durable.
      raft.log.commitTo(message.commit)
      raft.send({ type: 'heartbeatResponse', to: message.from, context: message.context })
      return
    case 'snapshot':
      hearLeader(raft, message.from)
      takeSnapshot(raft, message)
      return
    case 'timeoutNow':
      // Without a pre-vote: the leader has seen that this node is up to date.
      hup(raft, true)
      return
    case 'readIndexResponse':
      raft.readStates.push({ index: message.index, context: message.context })
      return
    default:
      return
  }
}

function hearLeader(raft: Raft, leader: number): void {
  raft.electionElapsed = 0
  raft.leader = leader
}

function takeEntries(raft: Raft, { from, index, logTerm, entries, commit }: Message): void {
  const { log } = raft
  if (index < log.committed) {
    // An old one; what it is about is agreed on already.
    raft.send({ type: 'appendResponse', to: from, index: log.committed })
    return
  }
  const last = log.acceptAppend(index, logTerm, entries, commit)
  if (last !== undefined) {
    raft.trace('append', last)
    raft.send({ type: 'appendResponse', to: from, index: last })
    return
  }
  // Where the logs may agree: not above the leader's term there, so that whole terms are skipped at once.
  const hint = log.findConflictByTerm(Math.min(index, log.lastIndex), logTerm)
  raft.send({ type: 'appendResponse', to: from, index, reject: true, rejectHint: hint.index, logTerm: hint.term })
}

function takeSnapshot(raft: Raft, { from, snapshot }: Message): void {
  const isTaken = snapshot !== undefined && restore(raft, snapshot)
  raft.send({ type: 'appendResponse', to: from, index: isTaken ? raft.log.lastIndex : raft.log.committed })
}

/** False when the snapshot says nothing new, or is not for this node. */
function restore(raft: Raft, snapshot: NonNullable<Message['snapshot']>): boolean {
  const { index, term, confState } = snapshot.meta
  const { log } = raft
  if (index <= log.committed || !isMember(confState, raft.id)) return false
  if (log.term(index) === term) {
    // The entries are there already.
    log.commitTo(index)
    return false
  }
  log.restore(snapshot)
  raft.setMembers(confState)
  raft.trace('snapshot', index)
  return true
}
