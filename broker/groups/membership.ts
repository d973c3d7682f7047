/**
 * Joining, staying, leaving: what a heartbeat changes. Pure: throws why it is refused, or returns the records that carry it out; none when
 * nothing changes.
 *
 * ```
 *            epoch 0                    leaves, silent for a session,
 * (unknown) ────────> member ─────────> too slow to let go ──────────> (unknown)
 *                     │    ^
 *  leaves for a while v    │ another process of the same instance, or the same again
 *                      away ──────────> silent for a session ────────> (unknown)
 * ```
 */
import { TidemarkError } from '../../protocol/errors.ts'
import type { AssignorName } from './assignor.ts'
import type { GroupRecord, GroupState, Held, Member } from './group-state.ts'
import { MembersDraft } from './members-draft.ts'
import type { PartitionKey } from './partition-keys.ts'
import { reconcile, retarget } from './reconcile.ts'
import type { TopicView } from './topic-view.ts'

/** A process that comes too early is asked to come again. */
const KNOCK_AGAIN_MS = 1000

export interface Heartbeat {
  readonly memberId: string
  /** 0: it joins. */
  readonly memberEpoch: number
  readonly intent: 'stay' | 'leave' | 'leave-for-a-while'
  readonly instanceId: string
  readonly clientId: string
  /** In order, each once. */
  readonly topics: readonly string[]
  readonly topicPattern: string
  readonly assignor: AssignorName
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly owned: ReadonlySet<PartitionKey>
}

export interface MembershipContext {
  /** Milliseconds since 1970. */
  readonly nowMs: number
  readonly topics: TopicView
  readonly membersMax: number
  /** The largest epoch the member has shown to know; 0: none. */
  readonly knownEpoch: number
}

export function heartbeat(state: GroupState, beat: Heartbeat, context: MembershipContext): GroupRecord[] {
  const member = state.members.get(beat.memberId)
  if (member === undefined) return beat.intent === 'stay' ? join(state, beat, context) : []
  checkIdentity(member, beat)
  checkEpoch(member, beat, context.knownEpoch)
  switch (beat.intent) {
    case 'stay':
      return stay(state, member, beat, context)
    case 'leave':
      return removeMembers(state, [member.memberId], context)
    case 'leave-for-a-while':
      return sendAway(state, member, context)
  }
}

/** Members whose time is over, or that leave. */
export function removeMembers(state: GroupState, memberIds: readonly string[], { nowMs, topics }: TopicsAndTime): GroupRecord[] {
  const draft = new MembersDraft(state)
  for (const memberId of memberIds) draft.remove(memberId)
  retarget(draft, topics)
  reconcile(draft)
  return draft.records(nowMs)
}

/** Keeps the place of a static member whose process is gone. */
export function sendAway(state: GroupState, member: Member, { nowMs }: Pick<MembershipContext, 'nowMs'>): GroupRecord[] {
  if (member.instanceId === '')
    throw new TidemarkError('INVALID_REQUEST', `member ${member.memberId} has no instance id: it can only leave for good`)
  if (member.away) return []
  const draft = new MembersDraft(state)
  const kept = [...member.held].filter(([, { revoked }]) => revoked === 0)
  draft.set({ ...member, held: new Map(kept), away: true, epoch: draft.epoch })
  reconcile(draft)
  return draft.records(nowMs)
}

/** Topics may have been created, deleted or grown. */
export function followTopics(state: GroupState, { nowMs, topics }: TopicsAndTime): GroupRecord[] {
  const draft = new MembersDraft(state)
  retarget(draft, topics)
  reconcile(draft)
  return draft.records(nowMs)
}

type TopicsAndTime = Pick<MembershipContext, 'nowMs' | 'topics'>

function join(state: GroupState, beat: Heartbeat, { nowMs, topics, membersMax }: MembershipContext): GroupRecord[] {
  const { memberId, instanceId } = beat
  const place = instanceId === '' ? undefined : state.memberOfInstance(instanceId)
  if (beat.memberEpoch !== 0) throw place === undefined ? unknownMember(state.group, memberId) : placeTaken(state.group, instanceId)
  if (place !== undefined && !place.away) {
    throw new TidemarkError('UNRELEASED_INSTANCE_ID', `${instanceId} of group ${state.group} is member ${place.memberId}, which is alive`, {
      retryAfterMs: KNOCK_AGAIN_MS,
    })
  }
  if (place === undefined && state.members.size >= membersMax)
    throw new TidemarkError(
      'GROUP_MAX_SIZE_REACHED',
      `group ${state.group} has ${state.members.size} members, at most ${membersMax} are allowed`,
    )
  checkOwnsNothing(beat)
  const draft = new MembersDraft(state)
  if (place !== undefined) draft.remove(place.memberId)
  const { topicPattern, assignor, clientId, sessionTimeoutMs, rebalanceTimeoutMs } = beat
  draft.set({
    memberId,
    instanceId,
    clientId,
    topics: beat.topics,
    topicPattern,
    assignor,
    sessionTimeoutMs,
    rebalanceTimeoutMs,
    epoch: draft.epoch,
    target: place?.target ?? new Set(),
    held: anew(place?.held ?? new Map(), draft.epoch),
    away: false,
  })
  retarget(draft, topics)
  reconcile(draft)
  return draft.records(nowMs)
}

function stay(state: GroupState, member: Member, beat: Heartbeat, { nowMs, topics }: MembershipContext): GroupRecord[] {
  if (beat.memberEpoch === 0) checkOwnsNothing(beat)
  checkOwned(member, beat)
  const wants = isSameSubscription(member, beat) ? member : { ...member, ...subscriptionOf(beat) }
  const left = released(wants, beat)
  if (left === member && !member.away) return []
  const draft = new MembersDraft(state)
  draft.set(member.away ? { ...left, held: anew(left.held, draft.epoch), away: false, epoch: draft.epoch } : left)
  if (wants !== member) retarget(draft, topics)
  reconcile(draft)
  return draft.records(nowMs)
}

/** What it was told to let go of, knows that it was, and says no more that it holds. */
function released(member: Member, { memberEpoch, owned }: Heartbeat): Member {
  const kept = [...member.held].filter(([key, { revoked }]) => revoked === 0 || memberEpoch < revoked || owned.has(key))
  return kept.length === member.held.size ? member : { ...member, held: new Map(kept) }
}

/** Whoever begins behind these partitions knows nothing of what was done with them. */
function anew(held: ReadonlyMap<PartitionKey, Held>, epoch: number): ReadonlyMap<PartitionKey, Held> {
  return new Map([...held].map(([key, { revoked }]) => [key, { assigned: epoch, revoked }]))
}

function checkIdentity(member: Member, { memberId, instanceId }: Heartbeat): void {
  if (member.instanceId === instanceId) return
  throw new TidemarkError('INVALID_REQUEST', `member ${memberId} joined with the instance id ${JSON.stringify(member.instanceId)}`)
}

/** A member may know less than it was told last, when answers were lost, but never less than it has shown to know. */
function checkEpoch(member: Member, { memberEpoch, intent }: Heartbeat, knownEpoch: number): void {
  if (memberEpoch <= member.epoch && memberEpoch >= knownEpoch) return
  // It has lost what it knew, and begins again.
  if (memberEpoch === 0 && intent === 'stay') return
  throw new TidemarkError(
    'FENCED_MEMBER_EPOCH',
    `member ${member.memberId} comes with epoch ${memberEpoch}, possible are ${knownEpoch} to ${member.epoch}`,
  )
}

function checkOwned(member: Member, { owned }: Heartbeat): void {
  for (const key of owned) {
    if (!member.held.has(key))
      throw new TidemarkError('FENCED_MEMBER_EPOCH', `member ${member.memberId} holds ${key}, which is not its own`)
  }
}

function checkOwnsNothing({ memberId, owned }: Heartbeat): void {
  if (owned.size > 0) throw new TidemarkError('INVALID_REQUEST', `member ${memberId} joins and holds partitions already`)
}

function subscriptionOf(beat: Heartbeat) {
  const { clientId, topics, topicPattern, assignor, sessionTimeoutMs, rebalanceTimeoutMs } = beat
  return { clientId, topics, topicPattern, assignor, sessionTimeoutMs, rebalanceTimeoutMs }
}

function isSameSubscription(member: Member, beat: Heartbeat): boolean {
  const { topics, ...rest } = subscriptionOf(beat)
  return (
    topics.length === member.topics.length &&
    topics.every((name, place) => name === member.topics[place]) &&
    (Object.keys(rest) as (keyof typeof rest)[]).every((field) => rest[field] === member[field])
  )
}

export function unknownMember(group: string, memberId: string): TidemarkError {
  return new TidemarkError('UNKNOWN_MEMBER_ID', `group ${group} has no member ${memberId}`)
}

export function placeTaken(group: string, instanceId: string): TidemarkError {
  return new TidemarkError('FENCED_INSTANCE_ID', `another process has taken the place of ${instanceId} in group ${group}`)
}
