/**
 * Committing, looking up, expiring and removing offsets. Pure: a decision is the records that carry it out, and what to answer.
 *
 * Only who holds a partition commits to it, with the epoch in which it was given: a commit that comes late, from a former holder or from before a reset, is
 * refused. A committed offset does not go back, save by a reset or a commit that says that it may: a commit of what was committed already, or has been
 * passed, is a late repetition and fine.
 */
import { TidemarkError } from '../../protocol/errors.ts'
import { type GroupRecord, type GroupState, type Member, ownersOf, type StoredOffset } from './group-state.ts'
import { MembersDraft } from './members-draft.ts'
import { placeTaken, unknownMember } from './membership.ts'
import { NEVER } from './group-state.ts'
import { type PartitionKey, partitionKey, partitionOf, topicIdOf } from './partition-keys.ts'
import { type KnownTopic, subscribedTopics, type TopicView } from './topic-view.ts'

/** Beside one offset. */
export const METADATA_BYTES_MAX = 4096

/** A topic as a request names it: by id where it knows one, else by name. */
export interface NamedPartition {
  readonly topic: string
  readonly topicId: string | undefined
  readonly partition: number
}

export interface WantedCommit extends NamedPartition {
  readonly assignedEpoch: number
  readonly offset: number
  readonly leaderEpoch: number
  readonly metadata: string
}

export interface Commit {
  /** Empty: no member commits. */
  readonly memberId: string
  readonly instanceId: string
  readonly partitions: readonly WantedCommit[]
  readonly mayGoBack: boolean
}

export interface CommitResult {
  readonly topic: string
  readonly partition: number
  readonly error: TidemarkError | undefined
  /** As it is committed now. */
  readonly offset: number
}

export interface OffsetsContext {
  /** Milliseconds since 1970. */
  readonly nowMs: number
  readonly topics: TopicView
  /** Offsets the group may have in all; asked only when there is one more. */
  readonly offsetsMax: () => number
}

export interface Committed {
  readonly records: GroupRecord[]
  /** In the order of the request. */
  readonly results: readonly CommitResult[]
}

export function commitOffsets(state: GroupState, commit: Commit, context: OffsetsContext): Committed {
  const member = committer(state, commit)
  const records = new Map<PartitionKey, GroupRecord>()
  const results = commit.partitions.map((wanted): CommitResult => {
    const { topic, partition } = wanted
    try {
      const known = knownTopic(wanted, context.topics)
      const key = partitionKey(known.topicId, partition)
      if (records.has(key)) throw new TidemarkError('INVALID_REQUEST', `${topic}-${partition} stands twice in one request`)
      checkMetadata(wanted)
      checkHolder(known, wanted, member)
      const present = state.offsets.get(key)
      if (present === undefined) checkRoom(state, records.size, context)
      const value = nextOffset(present, wanted, commit.mayGoBack, known.name, context)
      if (value !== present) records.set(key, { kind: 'offset', group: state.group, topicId: known.topicId, partition, value })
      return { topic: known.name, partition, error: undefined, offset: value.offset }
    } catch (error) {
      if (!TidemarkError.is(error)) throw error
      return { topic, partition, error, offset: 0 }
    }
  })
  return { records: [...beginning(state, records.size, context.nowMs), ...records.values()], results }
}

/**
 * The offset of one partition; undefined where nothing was committed. For a member only if it holds the partition as it says: a coordinator that does not know so is
 * not the one that gave it, and may not know what was committed before.
 */
export function fetchOffset(
  state: GroupState,
  wanted: NamedPartition & { readonly assignedEpoch: number },
  member: Member | undefined,
  topics: TopicView,
): { readonly key: PartitionKey; readonly topic: string; readonly stored: StoredOffset | undefined } {
  const known = knownTopic(wanted, topics)
  const key = partitionKey(known.topicId, wanted.partition)
  checkHolder(known, wanted, member)
  return { key, topic: known.name, stored: state.offsets.get(key) }
}

/** Sets offsets, whoever holds the partitions: members begin again at the new offset, and what they commit of before is refused. */
export function resetOffsets(
  state: GroupState,
  offsets: ReadonlyMap<PartitionKey, { readonly topic: string; readonly offset: number }>,
  { nowMs, topics }: OffsetsContext,
): GroupRecord[] {
  const draft = new MembersDraft(state)
  for (const member of draft.members.values()) fence(draft, member, offsets)
  const members = draft.records(nowMs)
  const records = [...offsets].map(([key, { topic, offset }]): GroupRecord => {
    const value = {
      offset,
      leaderEpoch: -1,
      metadata: '',
      commitTimeMs: nowMs,
      progressTimeMs: nowMs,
      metadataVersion: topics.version,
      topic,
    }
    return { kind: 'offset', group: state.group, topicId: topicIdOf(key), partition: partitionOf(key), value }
  })
  return [...(members.length > 0 ? members : beginning(state, records.length, nowMs)), ...records]
}

/** Offsets of topics that are gone, of groups that have had no members for as long as `retentionMs`, and of topics no member has read for as long; last, the group. */
export function expireOffsets(
  state: GroupState,
  retentionMs: number,
  { nowMs, topics }: Pick<OffsetsContext, 'nowMs' | 'topics'>,
): GroupRecord[] {
  const read = new Set([...state.members.values()].flatMap((member) => subscribedTopics(member, topics).map(({ topicId }) => topicId)))
  const held = ownersOf(state.members.values())
  const expired = [...state.offsets].filter(([key, { commitTimeMs, metadataVersion }]) => {
    const topicId = topicIdOf(key)
    // This node may have yet to hear of a topic; one it has heard of before and does not find is gone.
    if (topics.byId(topicId) === undefined && topics.version >= metadataVersion) return true
    if (read.has(topicId) || held.has(key)) return false
    return nowMs - Math.max(commitTimeMs, state.emptySinceMs) >= retentionMs
  })
  const records = expired.map(([key]) => tombstone(state.group, key))
  const isOver = state.members.size === 0 && expired.length === state.offsets.size && nowMs - state.emptySinceMs >= retentionMs
  return isOver ? [...records, { kind: 'group', group: state.group, value: null }] : records
}

/** Throws `NON_EMPTY_GROUP`. */
export function deleteGroup(state: GroupState): GroupRecord[] {
  if (state.members.size > 0) throw new TidemarkError('NON_EMPTY_GROUP', `group ${state.group} has ${state.members.size} members`)
  return [...[...state.offsets.keys()].map((key) => tombstone(state.group, key)), { kind: 'group', group: state.group, value: null }]
}

/** Throws `GROUP_SUBSCRIBED_TO_TOPIC` when a member reads the topic of `key`. */
export function deleteOffset(state: GroupState, key: PartitionKey, topics: TopicView): GroupRecord {
  const topicId = topicIdOf(key)
  for (const member of state.members.values()) {
    const read = subscribedTopics(member, topics).find((topic) => topic.topicId === topicId)
    if (read !== undefined || member.held.has(key))
      throw new TidemarkError('GROUP_SUBSCRIBED_TO_TOPIC', `member ${member.memberId} of group ${state.group} reads ${read?.name ?? 'it'}`)
  }
  return tombstone(state.group, key)
}

/** Throws `UNKNOWN_TOPIC`, `UNKNOWN_TOPIC_ID`, `UNKNOWN_PARTITION`. */
export function knownTopic({ topic, topicId, partition }: NamedPartition, topics: TopicView): KnownTopic {
  const known = topicId === undefined ? topics.byName(topic) : topics.byId(topicId)
  if (known === undefined) {
    if (topicId === undefined) throw new TidemarkError('UNKNOWN_TOPIC', `no topic named ${JSON.stringify(topic)}`)
    throw new TidemarkError('UNKNOWN_TOPIC_ID', `no topic has the id ${topicId}`)
  }
  if (partition < 0 || partition >= known.partitionCount)
    throw new TidemarkError('UNKNOWN_PARTITION', `topic ${known.name} has ${known.partitionCount} partitions, there is no ${partition}`)
  return known
}

/** Undefined: nobody in particular, which only a group without members lets commit. */
function committer(state: GroupState, { memberId, instanceId }: Commit): Member | undefined {
  const { group, members } = state
  if (memberId === '') {
    if (members.size === 0) return undefined
    throw new TidemarkError('UNKNOWN_MEMBER_ID', `group ${group} has ${members.size} members: only they commit`)
  }
  const member = members.get(memberId)
  if (member !== undefined) return member
  throw instanceId !== '' && state.memberOfInstance(instanceId) !== undefined
    ? placeTaken(group, instanceId)
    : unknownMember(group, memberId)
}

function checkRoom({ group, offsets }: GroupState, added: number, { offsetsMax }: OffsetsContext): void {
  const max = offsetsMax()
  if (offsets.size + added >= max) throw new TidemarkError('LIMIT_EXCEEDED', `group ${group} would have more than ${max} offsets`)
}

function checkMetadata({ topic, partition, metadata }: WantedCommit): void {
  const bytes = Buffer.byteLength(metadata)
  if (bytes <= METADATA_BYTES_MAX) return
  throw new TidemarkError(
    'OFFSET_METADATA_TOO_LARGE',
    `${bytes} bytes beside the offset of ${topic}-${partition}, at most ${METADATA_BYTES_MAX} are allowed`,
  )
}

/** Throws unless the member, if it is one, holds the partition as it was given in `assignedEpoch`. */
function checkHolder(
  { name, topicId }: KnownTopic,
  wanted: { readonly partition: number; readonly assignedEpoch: number },
  member: Member | undefined,
): void {
  const { partition, assignedEpoch } = wanted
  const held = member?.held.get(partitionKey(topicId, partition))
  if (member === undefined || held?.assigned === assignedEpoch) return
  throw new TidemarkError(
    'STALE_MEMBER_EPOCH',
    held === undefined
      ? `member ${member.memberId} does not hold ${name}-${partition}`
      : `member ${member.memberId} holds ${name}-${partition} since epoch ${held.assigned}, not ${assignedEpoch}`,
  )
}

function nextOffset(
  present: StoredOffset | undefined,
  { offset, leaderEpoch, metadata }: WantedCommit,
  mayGoBack: boolean,
  topic: string,
  { nowMs, topics }: OffsetsContext,
): StoredOffset {
  if (present !== undefined) {
    if (offset < present.offset && !mayGoBack) return present
    if (offset === present.offset && leaderEpoch === present.leaderEpoch && metadata === present.metadata) return present
  }
  const progressTimeMs = present?.offset === offset ? present.progressTimeMs : nowMs
  return { offset, leaderEpoch, metadata, commitTimeMs: nowMs, progressTimeMs, metadataVersion: topics.version, topic }
}

/** A group that comes to be by its offsets alone has had no members since now. */
function beginning(state: GroupState, changeCount: number, nowMs: number): GroupRecord[] {
  return changeCount > 0 && state.epoch === 0 ? [{ kind: 'group', group: state.group, value: { epoch: 1, emptySinceMs: nowMs } }] : []
}

/** Whoever is letting go of a partition commits nothing to it any more; whoever keeps it begins anew. */
function fence(draft: MembersDraft, member: Member, offsets: ReadonlyMap<PartitionKey, unknown>): void {
  const fenced = [...member.held].filter(([key]) => offsets.has(key))
  if (fenced.length === 0) return
  const held = new Map(member.held)
  for (const [key, { revoked }] of fenced) held.set(key, { assigned: revoked === 0 ? draft.epoch : NEVER, revoked })
  draft.set({ ...member, held, epoch: draft.epoch })
}

function tombstone(group: string, key: PartitionKey): GroupRecord {
  return { kind: 'offset', group, topicId: topicIdOf(key), partition: partitionOf(key), value: null }
}
