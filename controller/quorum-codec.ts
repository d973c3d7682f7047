/** What the Raft core speaks of, as bytes: for the store, and for the messages among controllers. */
import { TidemarkError } from '../protocol/errors.ts'
import type { VoterDescription } from '../protocol/gen/tidemark/v1/controller.ts'
import {
  type QuorumChange,
  QuorumChangeType,
  QuorumEntry,
  type QuorumMessage,
  QuorumMessageType,
  QuorumSnapshot,
} from '../protocol/gen/tidemark/v1/quorum.ts'
import { VoterDescription as Voter } from '../protocol/gen/tidemark/v1/controller.ts'
import type { QuorumSender } from './quorum-transport.ts'
import type { ConfChange, Entry, Message, MessageType, Snapshot } from './raft/messages.ts'

const TYPE_NUMBERS: Readonly<Record<MessageType, QuorumMessageType>> = {
  vote: QuorumMessageType.VOTE,
  voteResponse: QuorumMessageType.VOTE_RESPONSE,
  preVote: QuorumMessageType.PRE_VOTE,
  preVoteResponse: QuorumMessageType.PRE_VOTE_RESPONSE,
  append: QuorumMessageType.APPEND,
  appendResponse: QuorumMessageType.APPEND_RESPONSE,
  heartbeat: QuorumMessageType.HEARTBEAT,
  heartbeatResponse: QuorumMessageType.HEARTBEAT_RESPONSE,
  snapshot: QuorumMessageType.SNAPSHOT,
  timeoutNow: QuorumMessageType.TIMEOUT_NOW,
  transferLeader: QuorumMessageType.TRANSFER_LEADER,
  readIndex: QuorumMessageType.READ_INDEX,
  readIndexResponse: QuorumMessageType.READ_INDEX_RESPONSE,
}

const TYPES = new Map(Object.entries(TYPE_NUMBERS).map(([type, number]) => [number, type as MessageType]))

const CHANGE_NUMBERS: Readonly<Record<ConfChange['type'], QuorumChangeType>> = {
  addVoter: QuorumChangeType.ADD_VOTER,
  addLearner: QuorumChangeType.ADD_LEARNER,
  remove: QuorumChangeType.REMOVE,
}

const CHANGE_TYPES = new Map(Object.entries(CHANGE_NUMBERS).map(([type, number]) => [number, type as ConfChange['type']]))

export function encodeEntry(entry: Entry): Buffer {
  return Buffer.from(QuorumEntry.encode(entryToWire(entry)).finish())
}

/** Throws `CORRUPT_LOG`. */
export function decodeEntry(bytes: Uint8Array): Entry {
  try {
    return entryFromWire(QuorumEntry.decode(bytes))
  } catch (error) {
    throw new TidemarkError('CORRUPT_LOG', 'an entry of the metadata log cannot be read', { cause: error })
  }
}

/** A message without the snapshot, which goes in pieces, and without what says where it comes from. */
export function messageToWire(message: Message): Omit<QuorumMessage, keyof QuorumSender | 'snapshot' | 'snapshotBytes'> {
  const { type, from, to, term, logTerm, index, commit, entries, reject, rejectHint, context } = message
  const number = TYPE_NUMBERS[type]
  return { type: number, from, to, term, logTerm, index, commit, entries: entries.map(entryToWire), reject, rejectHint, context }
}

/** Throws `INVALID_REQUEST` when it is none of ours. `snapshot` is the whole of it, once all pieces are there. */
export function messageFromWire(wire: QuorumMessage, snapshot: Buffer | undefined): Message {
  const { from, to, term, logTerm, index, commit, reject, rejectHint, context } = wire
  const type = TYPES.get(wire.type)
  if (type === undefined) throw new TidemarkError('INVALID_REQUEST', `a message of the quorum has the type ${wire.type}`)
  const entries = wire.entries.map(entryFromWire)
  if (entries.some((entry, at) => entry.index !== index + 1 + at))
    throw new TidemarkError('INVALID_REQUEST', `entries behind ${index} do not follow on each other`)
  return {
    type,
    from,
    to,
    term,
    logTerm,
    index,
    commit,
    entries,
    reject,
    rejectHint,
    context,
    snapshot: snapshot === undefined ? undefined : snapshotFromBytes(snapshot),
  }
}

/** The core's snapshot is an encoded `QuorumSnapshot`. Throws `CORRUPT_LOG`. */
export function snapshotFromBytes(data: Uint8Array): Snapshot {
  const { index, term, voters, learners } = decodeSnapshot(data)
  return { meta: { index, term, confState: { voters: idsOf(voters), learners: idsOf(learners) } }, data }
}

/** Throws `CORRUPT_LOG`. */
export function decodeSnapshot(data: Uint8Array): QuorumSnapshot {
  try {
    return QuorumSnapshot.decode(data)
  } catch (error) {
    throw new TidemarkError('CORRUPT_LOG', 'a snapshot of the metadata cannot be read', { cause: error })
  }
}

/** Who a change is about, with where and on which disk: what the core passes through as `context`. */
export function changeOf(type: ConfChange['type'], voter: VoterDescription): ConfChange {
  return { type, nodeId: voter.nodeId, context: Voter.encode(voter).finish() }
}

export function voterOf(change: ConfChange): VoterDescription {
  return Voter.decode(change.context)
}

function entryToWire(entry: Entry): QuorumEntry {
  const { index, term } = entry
  if (entry.type === 'normal') return { index, term, payload: { $case: 'data', value: Buffer.from(entry.data) } }
  return { index, term, payload: { $case: 'change', value: changeToWire(entry.change) } }
}

function entryFromWire({ index, term, payload }: QuorumEntry): Entry {
  switch (payload?.$case) {
    case 'change':
      return { index, term, type: 'confChange', change: changeFromWire(payload.value) }
    case 'data':
      return { index, term, type: 'normal', data: payload.value }
    case undefined:
      return { index, term, type: 'normal', data: Buffer.alloc(0) }
  }
}

function changeToWire(change: ConfChange): QuorumChange {
  return { type: CHANGE_NUMBERS[change.type], voter: voterOf(change) }
}

function changeFromWire({ type, voter }: QuorumChange): ConfChange {
  const known = CHANGE_TYPES.get(type)
  if (known === undefined || voter === undefined) throw new TidemarkError('INVALID_REQUEST', `a change of the quorum has the type ${type}`)
  return changeOf(known, voter)
}

function idsOf(voters: readonly VoterDescription[]): number[] {
  return voters.map(({ nodeId }) => nodeId).sort((a, b) => a - b)
}
