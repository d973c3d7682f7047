/** Groups with everything there is to know of them. */
import { toErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import {
  type DescribeGroupsRequest,
  type DescribeGroupsResponse,
  type GroupDescription,
  type GroupPartition,
  GroupState as WireState,
  type MemberDescription,
} from '../../protocol/gen/tidemark/v1/groups.ts'
import { validateGroupId } from '../../protocol/names.ts'
import type { Broker } from '../broker.ts'
import type { LiveGroup } from '../groups/live-group.ts'
import { type Member, nameOf, ownersOf, pendingOf } from '../groups/group-state.ts'
import type { GroupLag } from '../groups/lag.ts'
import { type PartitionKey, partitionOf, topicIdOf } from '../groups/partition-keys.ts'
import { groupAssignor } from '../groups/reconcile.ts'
import type { TopicView } from '../groups/topic-view.ts'
import { partitionsOf, recentLags } from './group-lag.ts'
import { checkCount, checkKnown, GROUPS_PER_REQUEST_MAX, stateOf } from './groups.ts'
import { assignmentOf } from './heartbeat.ts'

export async function describeGroups(broker: Broker, { groups, withoutLag }: DescribeGroupsRequest): Promise<DescribeGroupsResponse> {
  broker.checkServing()
  checkCount('groups', groups.length, GROUPS_PER_REQUEST_MAX)
  const described = await Promise.all(groups.map((group) => describeGroup(broker, group)))
  if (withoutLag) return { groups: described.map(({ description }) => description) }
  const lags = await recentLags(
    broker,
    described.flatMap(({ live }) => live ?? []),
  )
  return { groups: described.map(({ description }) => withLag(description, lags.get(description.group))) }
}

interface Described {
  /** Undefined: with an error. */
  readonly live: LiveGroup | undefined
  readonly description: GroupDescription
}

async function describeGroup(broker: Broker, id: string): Promise<Described> {
  try {
    validateGroupId(id)
    const shard = broker.groups.presentShardOf(id)
    return await shard.change(id, (live) => {
      checkKnown(live.state, id)
      return { records: [], answer: () => ({ live, description: descriptionOf(broker, live) }) }
    })
  } catch (error) {
    const description = { ...nothingOf(id), coordinatorId: broker.config.nodeId, error: toErrorDetail(TidemarkError.from(error)) }
    return { live: undefined, description }
  }
}

function descriptionOf(broker: Broker, group: LiveGroup): GroupDescription {
  const { state } = group
  const members = [...state.members.values()].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))
  return {
    group: state.group,
    error: undefined,
    state: stateOf(state),
    assignor: members.length === 0 ? '' : groupAssignor(members),
    groupEpoch: state.epoch,
    members: members.map((member) => memberDescription(member, group, broker)),
    partitions: groupPartitions(group, broker.groups.topics),
    emptySinceMs: state.emptySinceMs,
    coordinatorId: broker.config.nodeId,
  }
}

function memberDescription(member: Member, { sessions }: LiveGroup, { groups, runtime }: Broker): MemberDescription {
  const { memberId, instanceId, clientId, epoch, topics, topicPattern, assignor, away, sessionTimeoutMs, rebalanceTimeoutMs } = member
  return {
    memberId,
    instanceId,
    clientId,
    peer: sessions.peer(memberId),
    memberEpoch: epoch,
    topics: [...topics],
    topicPattern,
    assignor,
    assignment: assignmentOf(member, groups.topics),
    revoking: assignmentOf(member, groups.topics, true),
    pendingPartitions: pendingOf(member).length,
    idle: member.target.size === 0,
    away,
    silentMs: Math.round(sessions.silentMs(memberId, runtime.clock.monotonic())),
    sessionTimeoutMs,
    rebalanceTimeoutMs,
  }
}

function groupPartitions({ state }: LiveGroup, topics: TopicView): GroupPartition[] {
  const owners = ownersOf(state.members.values())
  const partitions = partitionsOf(state).map((key): GroupPartition => {
    const stored = state.offsets.get(key)
    return {
      topic: topics.byId(topicIdOf(key))?.name ?? stored?.topic ?? '',
      topicId: Buffer.from(topicIdOf(key), 'base64url'),
      partition: partitionOf(key),
      memberId: owners.get(key) ?? '',
      committedOffset: stored?.offset,
      leaderEpochPlusOne: (stored?.leaderEpoch ?? -1) + 1,
      metadata: stored?.metadata ?? '',
      commitTimeMs: stored?.commitTimeMs ?? 0,
      error: undefined,
      logStartOffset: undefined,
      highWatermark: undefined,
      lagRecords: undefined,
      lagMs: undefined,
      noProgressMs: undefined,
      lastProgressMs: stored?.progressTimeMs ?? 0,
    }
  })
  return partitions.sort((a, b) => (a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1))
}

function withLag(description: GroupDescription, lags: GroupLag | undefined): GroupDescription {
  const partitions = description.partitions.map((partition) => {
    const lag = lags?.get(keyOf(partition))
    if (lag === undefined) return partition
    return TidemarkError.is(lag) ? { ...partition, error: toErrorDetail(lag) } : { ...partition, ...lag }
  })
  return { ...description, partitions }
}

function keyOf({ topicId, partition }: GroupPartition): PartitionKey {
  return `${topicId.toString('base64url')}/${partition}`
}

function nothingOf(group: string): GroupDescription {
  return {
    group,
    error: undefined,
    state: WireState.EMPTY,
    assignor: '',
    groupEpoch: 0,
    members: [],
    partitions: [],
    emptySinceMs: 0,
    coordinatorId: -1,
  }
}
