/** Heartbeats of group members: checks what a member says, has it decided, and answers at once or when there is something new for it. */
import { TidemarkError } from '../../protocol/errors.ts'
import {
  type AssignedPartitions,
  HeartbeatIntent,
  type HeartbeatRequest,
  type HeartbeatResponse,
} from '../../protocol/gen/tidemark/v1/groups.ts'
import { TOPIC_NAME_MAX_LENGTH, validateGroupId } from '../../protocol/names.ts'
import type { Broker } from '../broker.ts'
import { ASSIGNOR_NAMES, type AssignorName } from '../groups/assignor.ts'
import { type Member, pendingOf } from '../groups/group-state.ts'
import type { LiveGroup } from '../groups/live-group.ts'
import { type Heartbeat, unknownMember } from '../groups/membership.ts'
import { type PartitionKey, partitionKey, partitionOf, topicIdOf } from '../groups/partition-keys.ts'
import type { GroupSettings } from '../groups/settings.ts'
import type { TopicView } from '../groups/topic-view.ts'

export const MEMBER_ID_LENGTH_MAX = 64
const CLIENT_ID_LENGTH_MAX = 255
const TOPICS_MAX = 1000
/** Partitions a member may say that it holds: those of the largest cluster. */
const OWNED_MAX = 100_000

/** Heartbeats that fit into a session at least. */
const BEATS_PER_SESSION = 4

/** Who sends a heartbeat. */
export interface Sender {
  /** The other end of its connection. */
  readonly peer: string
  /** Aborted when it gives up. */
  readonly signal: AbortSignal
}

export async function heartbeat(broker: Broker, request: HeartbeatRequest, sender: Sender): Promise<HeartbeatResponse> {
  broker.checkServing()
  validateGroupId(request.group)
  const { groups, runtime, config } = broker
  const beat = heartbeatOf(request, config.groups)
  if (beat.topicPattern !== '') {
    await groups.patterns.load()
    groups.patterns.check(beat.topicPattern)
  }
  const shard = await groups.shardOf(request.group)
  const answer = await shard.change(request.group, (group) => {
    const context = {
      nowMs: runtime.clock.now(),
      monotonicMs: runtime.clock.monotonic(),
      topics: groups.topics,
      membersMax: config.limits.groupMembersMax,
      peer: sender.peer,
    }
    const decision = group.beat(beat, context)
    if (decision.records.length > 0 && group.state.epoch === 0) checkRoom(broker)
    return { records: decision.records, answer: () => answerTo(group, beat, decision.answer(), broker) }
  })
  const waitMs = Math.min(request.maxWaitMs, answer.heartbeatIntervalMs)
  if (beat.intent !== 'stay' || answer.memberEpoch !== beat.memberEpoch || waitMs === 0) return answer
  await shard.groups.get(request.group)?.parked.park(beat.memberId, beat.memberEpoch, { ...sender, waitMs, timers: runtime.timers })
  return shard.change(request.group, (group) => ({
    records: [],
    answer: () => answerTo(group, beat, group.state.members.get(beat.memberId), broker),
  }))
}

/** Throws what is wrong with the request. */
function heartbeatOf(request: HeartbeatRequest, settings: GroupSettings): Heartbeat {
  const { memberId, memberEpoch, instanceId, clientId, topicPattern } = request
  const intent = intentOf(request.intent)
  if (memberId === '') throw new TidemarkError('INVALID_REQUEST', 'a member needs an id')
  checkLength('member_id', memberId, MEMBER_ID_LENGTH_MAX)
  checkLength('instance_id', instanceId, MEMBER_ID_LENGTH_MAX)
  checkLength('client_id', clientId, CLIENT_ID_LENGTH_MAX)
  if (request.topics.length > TOPICS_MAX)
    throw new TidemarkError('LIMIT_EXCEEDED', `${request.topics.length} topics in one subscription, at most ${TOPICS_MAX} are allowed`)
  for (const name of request.topics) checkLength('a topic name', name, TOPIC_NAME_MAX_LENGTH)
  if (intent === 'stay' && request.topics.length === 0 && topicPattern === '')
    throw new TidemarkError('INVALID_REQUEST', `member ${memberId} subscribes to nothing`)
  const { sessionTimeoutMinMs, sessionTimeoutMaxMs, rebalanceTimeoutMaxMs } = settings
  return {
    memberId,
    memberEpoch,
    intent,
    instanceId,
    clientId,
    topics: [...new Set(request.topics)].sort(),
    topicPattern,
    assignor: assignorOf(request.assignor),
    sessionTimeoutMs: within(
      'session_timeout_ms',
      request.sessionTimeoutMs || settings.sessionTimeoutMs,
      sessionTimeoutMinMs,
      sessionTimeoutMaxMs,
    ),
    rebalanceTimeoutMs: within('rebalance_timeout_ms', request.rebalanceTimeoutMs || settings.rebalanceTimeoutMs, 1, rebalanceTimeoutMaxMs),
    owned: ownedOf(request),
  }
}

function ownedOf({ memberId, owned }: HeartbeatRequest): ReadonlySet<PartitionKey> {
  const count = owned.reduce((sum, { partitions }) => sum + partitions.length, 0)
  if (count > OWNED_MAX)
    throw new TidemarkError('LIMIT_EXCEEDED', `member ${memberId} holds ${count} partitions, at most ${OWNED_MAX} are allowed`)
  return new Set(owned.flatMap(({ topicId, partitions }) => partitions.map((partition) => partitionKey(idOf(topicId), partition))))
}

/** Throws `INVALID_REQUEST` unless it has the length of a topic id. */
export function idOf(topicId: Buffer): string {
  if (topicId.length !== 16) throw new TidemarkError('INVALID_REQUEST', `a topic id has 16 bytes, not ${topicId.length}`)
  return topicId.toString('base64url')
}

function intentOf(intent: HeartbeatIntent): Heartbeat['intent'] {
  switch (intent) {
    case HeartbeatIntent.STAY:
      return 'stay'
    case HeartbeatIntent.LEAVE:
      return 'leave'
    case HeartbeatIntent.LEAVE_FOR_A_WHILE:
      return 'leave-for-a-while'
    default:
      throw new TidemarkError('INVALID_REQUEST', `unknown intent ${String(intent)}`)
  }
}

function assignorOf(text: string): AssignorName {
  if (text === '') return 'uniform'
  const name = ASSIGNOR_NAMES.find((known) => known === text)
  if (name === undefined)
    throw new TidemarkError('UNSUPPORTED_ASSIGNOR', `assignor ${JSON.stringify(text.slice(0, 80))}, known are ${ASSIGNOR_NAMES.join(', ')}`)
  return name
}

function within(field: string, value: number, min: number, max: number): number {
  if (value < min || value > max)
    throw new TidemarkError('INVALID_SESSION_TIMEOUT', `${field} is ${value}, this node allows ${min} to ${max}`)
  return value
}

function checkLength(field: string, text: string, max: number): void {
  if (text.length > max) throw new TidemarkError('INVALID_REQUEST', `${field} has ${text.length} characters, at most ${max} are allowed`)
}

/** Throws when the node coordinates as many groups as it may. */
export function checkRoom({ groups, config }: Broker): void {
  const count = groups.shards().reduce((sum, shard) => sum + shard.groups.size, 0)
  if (count >= config.limits.groupsMax)
    throw new TidemarkError('LIMIT_EXCEEDED', `this node coordinates ${count} groups, at most ${config.limits.groupsMax} are allowed`)
}

function answerTo({ state }: LiveGroup, beat: Heartbeat, member: Member | undefined, { config, groups }: Broker): HeartbeatResponse {
  if (beat.intent !== 'stay') return answer(state.epoch, beat, config.groups)
  if (member === undefined) throw unknownMember(state.group, beat.memberId)
  const { topics } = groups
  return {
    ...answer(member.epoch, member, config.groups),
    assignment: assignmentOf(member, topics),
    idle: member.target.size === 0,
    pendingPartitions: pendingOf(member).length,
    unknownTopics: member.topics.filter((name) => topics.byName(name) === undefined),
  }
}

function answer(
  memberEpoch: number,
  { sessionTimeoutMs, rebalanceTimeoutMs }: Pick<Member, 'sessionTimeoutMs' | 'rebalanceTimeoutMs'>,
  { heartbeatIntervalMs }: GroupSettings,
): HeartbeatResponse {
  return {
    memberEpoch,
    heartbeatIntervalMs: Math.max(1, Math.min(heartbeatIntervalMs, Math.floor(sessionTimeoutMs / BEATS_PER_SESSION))),
    sessionTimeoutMs,
    assignment: [],
    idle: false,
    pendingPartitions: 0,
    unknownTopics: [],
    rebalanceTimeoutMs,
  }
}

/** What the member has, by topic and epoch; of topics that are gone nothing. */
export function assignmentOf(member: Member, topics: TopicView, isRevoking = false): AssignedPartitions[] {
  const bundles = new Map<string, AssignedPartitions>()
  for (const [key, { assigned, revoked }] of member.held) {
    const topic = topics.byId(topicIdOf(key))
    if (topic === undefined || (revoked !== 0) !== isRevoking) continue
    const name = `${topic.topicId} ${assigned}`
    const present = bundles.get(name)
    if (present !== undefined) present.partitions.push(partitionOf(key))
    else {
      const topicId = Buffer.from(topic.topicId, 'base64url')
      bundles.set(name, { topic: topic.name, topicId, assignedEpoch: assigned, partitions: [partitionOf(key)] })
    }
  }
  const all = [...bundles.values()]
  for (const { partitions } of all) partitions.sort((a, b) => a - b)
  return all
}
