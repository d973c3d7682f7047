/** What happens in a scenario, in words. */
import { type Entry, type Message, TRANSFER } from '../../../../controller/raft/messages.ts'
import type { RaftEvent, Ready } from '../../../../controller/raft/raw-node.ts'
import type { TestNode } from '../network.ts'

/** `from->to`, the term, and of the other fields those that say something. */
export function describeMessage(message: Message): string {
  const { type, from, to, term, index, logTerm, commit, entries, reject, rejectHint, snapshot, context } = message
  const words = [`${from}->${to} ${type} term=${term}`]
  if (type === 'vote' || type === 'preVote') words.push(`last=${index}/${logTerm}`)
  if (type === 'append') words.push(`behind=${index}/${logTerm}`, `commit=${commit}`, `entries=${describeEntries(entries)}`)
  if (type === 'heartbeat') words.push(`commit=${commit}`)
  if (type === 'appendResponse') words.push(reject ? `refused=${index} hint=${rejectHint}/${logTerm}` : `has=${index}`)
  else if (reject) words.push('refused')
  if (snapshot !== undefined) {
    const { meta } = snapshot
    words.push(`of=${meta.index}/${meta.term} voters=[${meta.confState.voters.join(' ')}]`)
  }
  if (context !== '') words.push(context === TRANSFER ? 'asked by the leader' : `context=${context}`)
  return words.join(' ')
}

/** Undefined: said by something else already. */
export function describeEvent({ kind, id, term, role, value }: RaftEvent): string | undefined {
  switch (kind) {
    case 'role':
      if (role === 'follower') return `${id} follows ${value === 0 ? 'nobody' : value} in term ${term}`
      return `${id} becomes ${role} ${role === 'preCandidate' ? `for term ${term + 1}` : `of term ${term}`}`
    case 'vote':
      return value === id ? undefined : `${id} votes for ${value} in term ${term}`
    case 'commit':
      return `${id} commits ${value}`
    case 'snapshot':
      return `${id} takes the snapshot of ${value}`
    case 'members':
      return `${id} has other members`
    case 'term':
    case 'append':
      return undefined
  }
}

/** What is to be done with a `Ready`, for who does it step by step. */
export function describeReady({ hardState, entries, committedEntries, messages, messagesAfterPersist }: Ready): string {
  const parts: string[] = []
  if (hardState !== undefined) parts.push(`term=${hardState.term} vote=${hardState.vote} commit=${hardState.commit}`)
  if (entries.length > 0) parts.push(`entries=${describeEntries(entries)}`)
  if (committedEntries.length > 0) parts.push(`to apply=${describeEntries(committedEntries)}`)
  if (messages.length > 0) parts.push(`${messages.length} messages`)
  if (messagesAfterPersist.length > 0) parts.push(`${messagesAfterPersist.length} messages that promise it`)
  return `a Ready: ${parts.join(', ')}`
}

export function describeNode({ id, status, storage, terms }: TestNode): string {
  const { role, term, vote, leader, commit, applied, confState, peers } = status
  const first = storage.firstIndex() > 1 ? `${storage.firstIndex()}: ` : ''
  const members = `voters=[${confState.voters.join(' ')}]${confState.learners.length > 0 ? ` learners=[${confState.learners.join(' ')}]` : ''}`
  const others = peers
    .filter((peer) => peer.id !== id)
    .map(({ id: peer, state, match, next, isPaused }) => `\n    ${peer} ${state} match=${match} next=${next}${isPaused ? ' paused' : ''}`)
  return `${id} ${role} term=${term} vote=${vote} leader=${leader} commit=${commit} applied=${applied} log=[${first}${terms.join(' ')}] ${members}${others.join('')}`
}

/** Index, term, and what it says. */
function describeEntries(entries: readonly Entry[]): string {
  const texts = entries.map((entry) => {
    const text = entry.type === 'normal' ? Buffer.from(entry.data).toString() : `${entry.change.type} ${entry.change.nodeId}`
    return `${entry.index}/${entry.term}${text === '' ? '' : ` ${text}`}`
  })
  return `[${texts.join(', ')}]`
}
