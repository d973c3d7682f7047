/** What a leader does: replicates, commits, answers reads, looks whether a majority still follows, hands over. */
import { type Entry, entryBytes, type Message, NO_NODE, payloadBytes } from './messages.ts'
import type { Progress } from './progress.ts'
import { committedIndex, majority } from './quorum.ts'
import type { Raft } from './raft.ts'

const NO_DATA = new Uint8Array(0)

/** A candidate won: begins its term with an empty entry, because only entries of its own term may be counted to commit. */
export function becomeLeading(raft: Raft): void {
  raft.becomeLeader()
  appendEntry(raft, { index: 0, term: 0, type: 'normal', data: NO_DATA })
  broadcastAppend(raft)
}

export function tickLeader(raft: Raft): void {
  raft.heartbeatElapsed++
  raft.electionElapsed++
  if (raft.electionElapsed >= raft.config.electionTicks) {
    raft.electionElapsed = 0
    if (raft.config.checkQuorum) checkQuorum(raft)
    // Handing over took too long: go on leading.
    raft.transferee = NO_NODE
  }
  if (raft.role === 'leader' && raft.heartbeatElapsed >= raft.config.heartbeatTicks) {
    raft.heartbeatElapsed = 0
    broadcastHeartbeat(raft)
  }
}

export function stepLeader(raft: Raft, message: Message): void {
  const progress = raft.progress.get(message.from)
  if (progress === undefined) return
  switch (message.type) {
    case 'appendResponse':
      progress.isRecentlyActive = true
      if (message.reject) retryAppend(raft, progress, message)
      else accepted(raft, progress, message)
      return
    case 'heartbeatResponse':
      hearFollower(raft, progress, message)
      return
    case 'transferLeader':
      // `index` names whom; a follower passes on what it was asked.
      transfer(raft, message.index)
      return
    case 'readIndex':
      read(raft, message.from, message.context)
      return
    default:
      return
  }
}

/** Appends one entry of this term; its index and term are set here. False when too much is proposed and not applied. */
export function appendEntry(raft: Raft, entry: Entry): boolean {
  const bytes = payloadBytes(entry)
  // One proposal is always let in, and entries without content: a leader's first one must be.
  if (bytes > 0 && raft.uncommittedBytes > 0 && raft.uncommittedBytes + bytes > raft.config.maxUncommittedBytes) return false
  raft.uncommittedBytes += bytes
  const index = raft.log.lastIndex + 1
  raft.log.append([{ ...entry, index, term: raft.term }])
  raft.trace('append', index)
  // Once it is durable here. It carries the term: should the entry be replaced meanwhile, it counts for nothing.
  raft.send({ type: 'appendResponse', to: raft.id, index })
  return true
}

export function broadcastAppend(raft: Raft): void {
  for (const id of raft.others) sendAppend(raft, id, true)
}

export function broadcastHeartbeat(raft: Raft): void {
  const context = raft.reads.lastRound
  for (const id of raft.others) {
    // No more than the follower has: its log may end elsewhere.
    raft.send({ type: 'heartbeat', to: id, commit: Math.min(raft.progressOf(id).match, raft.log.committed), context })
  }
}

/** Sends what the follower lacks, if it may be sent now. Returns whether something was. */
export function sendAppend(raft: Raft, to: number, mayBeEmpty: boolean): boolean {
  const progress = raft.progressOf(to)
  if (progress.isPaused) return false
  const prevTerm = raft.log.term(progress.next - 1)
  const entries = raft.log.entriesFrom(progress.next, raft.config.maxMessageBytes)
  if (prevTerm === undefined || entries === undefined) return sendSnapshot(raft, to, progress)
  if (entries.length === 0 && !mayBeEmpty) return false
  const bytes = entries.reduce((sum, entry) => sum + entryBytes(entry), 0)
  raft.send({ type: 'append', to, index: progress.next - 1, logTerm: prevTerm, entries, commit: raft.log.committed })
  progress.sent(entries.length, bytes)
  return true
}

/** Commits what a majority has, if it is of this term: an entry of an earlier one could still be replaced. */
export function maybeCommit(raft: Raft): boolean {
  const index = committedIndex(raft.members.voters.map((id) => raft.progressOf(id).match))
  if (index <= raft.log.committed || raft.log.term(index) !== raft.term) return false
  raft.log.commitTo(index)
  raft.trace('commit', index)
  return true
}

/** The leader has committed an entry of its own term, so it knows everything that was committed before. */
export function hasCommittedInTerm(raft: Raft): boolean {
  return raft.log.term(raft.log.committed) === raft.term
}

export function transfer(raft: Raft, to: number): void {
  if (to === raft.transferee || !raft.members.voters.includes(to)) return
  if (to === raft.id) {
    // It is to go on leading, whatever was asked before.
    raft.transferee = NO_NODE
    return
  }
  raft.electionElapsed = 0
  raft.transferee = to
  if (raft.progressOf(to).match === raft.log.lastIndex) raft.send({ type: 'timeoutNow', to })
  else sendAppend(raft, to, true)
}

/** False when it may not be answered: what is committed is not known before an entry of this term is, or too many reads wait. */
export function read(raft: Raft, from: number, context: string): boolean {
  if (!hasCommittedInTerm(raft) || raft.reads.isFull) return false
  const request = { from, context, index: raft.log.committed }
  if (raft.members.voters.length === 1 && raft.members.voters[0] === raft.id) {
    answerRead(raft, request)
    return true
  }
  raft.reads.add(request, raft.id)
  broadcastHeartbeat(raft)
  return true
}

function sendSnapshot(raft: Raft, to: number, progress: Progress): boolean {
  if (!progress.isRecentlyActive) return false
  const snapshot = raft.log.snapshot()
  raft.send({ type: 'snapshot', to, snapshot })
  progress.becomeSnapshot(snapshot.meta.index)
  return true
}

function retryAppend(raft: Raft, progress: Progress, { from, index, rejectHint, logTerm }: Message): void {
  // Skips the whole of our terms that are above the follower's there.
  const hint = logTerm > 0 ? raft.log.findConflictByTerm(rejectHint, logTerm).index : rejectHint
  if (!progress.refuse(index, hint)) return
  if (progress.state === 'replicate') progress.becomeProbe()
  sendAppend(raft, from, true)
}

function accepted(raft: Raft, progress: Progress, { from, index }: Message): void {
  const wasPaused = progress.isPaused
  const isNews = progress.update(Math.min(index, raft.log.lastIndex))
  if (!isNews && !(progress.state === 'probe' && progress.match === index)) return
  if (progress.state === 'probe') progress.becomeReplicate()
  else if (progress.state === 'replicate') progress.inflights.freeUpTo(index)
  // It got at the entries we have, by the snapshot or without it.
  else if (progress.match + 1 >= raft.log.firstIndex) progress.becomeReplicate()
  if (maybeCommit(raft)) broadcastAppend(raft)
  else if (wasPaused && from !== raft.id) sendAppend(raft, from, true)
  if (from === raft.id) return
  while (sendAppend(raft, from, false)) {
    // As much as the window takes.
  }
  if (from === raft.transferee && progress.match === raft.log.lastIndex) raft.send({ type: 'timeoutNow', to: from })
}

function hearFollower(raft: Raft, progress: Progress, { from, context }: Message): void {
  progress.isRecentlyActive = true
  progress.isFlowPaused = false
  // Should an answer have been lost, the window opens by one append for each heartbeat.
  if (progress.state === 'replicate' && progress.inflights.isFull) progress.inflights.freeFirst()
  if (progress.match < raft.log.lastIndex || progress.state === 'probe') sendAppend(raft, from, true)
  if (context === '') return
  for (const request of raft.reads.acknowledge(from, context, raft.members.voters)) answerRead(raft, request)
}

function answerRead(raft: Raft, { from, index, context }: { from: number; index: number; context: string }): void {
  if (from === raft.id) raft.readStates.push({ index, context })
  else raft.send({ type: 'readIndexResponse', to: from, index, context })
}

function checkQuorum(raft: Raft): void {
  const { voters } = raft.members
  const active = voters.filter((id) => id === raft.id || raft.progressOf(id).isRecentlyActive).length
  if (active < majority(voters.length)) raft.becomeFollower(raft.term, NO_NODE)
  else
    for (const [id, progress] of raft.progress) {
      progress.wasRecentlyActive = progress.isRecentlyActive
      progress.isRecentlyActive = id === raft.id
    }
}
