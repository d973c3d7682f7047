/** What is asked of groups beside heartbeats: offsets, lists, deletion. Checks requests, has them decided, makes answers. */
import { CONSUMER_OFFSETS_TOPIC } from '../../protocol/internal-topics.ts'
import { toErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type {
  CommitOffsetsRequest,
  CommitOffsetsResponse,
  CommittedOffset,
  DeletedOffset,
  DeleteGroupsRequest,
  DeleteGroupsResponse,
  DeleteOffsetsRequest,
  DeleteOffsetsResponse,
  FetchOffsetsRequest,
  FetchOffsetsResponse,
  FindCoordinatorsRequest,
  FindCoordinatorsResponse,
  GroupCoordinator,
  GroupResult,
  GroupSummary,
  ListGroupsRequest,
  ListGroupsResponse,
  PartitionOfGroup,
  TopicSelection,
} from '../../protocol/gen/tidemark/v1/groups.ts'
import { GroupState as WireState } from '../../protocol/gen/tidemark/v1/groups.ts'
import { validateGroupId } from '../../protocol/names.ts'
import type { Broker } from '../broker.ts'
import type { GroupState, Member, StoredOffset } from '../groups/group-state.ts'
import { pendingOf } from '../groups/group-state.ts'
import { unknownMember } from '../groups/membership.ts'
import {
  commitOffsets as decideCommit,
  deleteGroup,
  deleteOffset,
  fetchOffset,
  type NamedPartition,
  type WantedCommit,
} from '../groups/offsets.ts'
import { type PartitionKey, partitionKey, partitionOf, topicIdOf } from '../groups/partition-keys.ts'
import { subscribedTopics, type TopicView } from '../groups/topic-view.ts'
import { checkRoom, idOf } from './heartbeat.ts'
import { nodeDescriber } from './topics.ts'

export const GROUPS_PER_REQUEST_MAX = 1000
export const PARTITIONS_PER_REQUEST_MAX = 10_000

export async function findCoordinators(
  broker: Broker,
  { groups }: FindCoordinatorsRequest,
  authority: string,
): Promise<FindCoordinatorsResponse> {
  broker.checkServing()
  checkCount('groups', groups.length, GROUPS_PER_REQUEST_MAX)
  await broker.groups.topic.ensure()
  const describe = nodeDescriber(broker, authority)
  const coordinators = groups.map((group): GroupCoordinator => {
    const nothing = { group, error: undefined, partition: -1, nodeId: -1, host: '', port: 0 }
    try {
      validateGroupId(group)
      const place = broker.groups.topic.partitionOf(group)
      const node = place && broker.view.image.nodes.get(place.metadata.leader)
      if (place === undefined || node === undefined)
        throw new TidemarkError('COORDINATOR_NOT_AVAILABLE', `partition ${place?.number} of ${CONSUMER_OFFSETS_TOPIC} has no leader`, {
          retryAfterMs: 50,
        })
      const { nodeId, host, port } = describe(node)
      return { ...nothing, partition: place.number, nodeId, host, port }
    } catch (error) {
      return { ...nothing, error: toErrorDetail(TidemarkError.from(error)) }
    }
  })
  return { coordinators }
}

export async function commitOffsets(broker: Broker, request: CommitOffsetsRequest): Promise<CommitOffsetsResponse> {
  broker.checkServing()
  const { group, memberId, instanceId, rewind } = request
  validateGroupId(group)
  checkCount('partitions', request.partitions.length, PARTITIONS_PER_REQUEST_MAX)
  const partitions = request.partitions.map(
    ({ topic, topicId, partition, assignedEpoch, offset, leaderEpochPlusOne, metadata }): WantedCommit => ({
      ...named({ topic, topicId, partition }),
      assignedEpoch,
      offset,
      leaderEpoch: leaderEpochPlusOne - 1,
      metadata,
    }),
  )
  const shard = await broker.groups.shardOf(group)
  const results = await shard.change(group, ({ state }) => {
    if (state.epoch === 0) checkRoom(broker)
    let room: number | undefined
    const context = {
      nowMs: broker.runtime.clock.now(),
      topics: broker.groups.topics,
      offsetsMax: () => state.offsets.size + (room ??= roomForOffsets(broker)),
    }
    const committed = decideCommit(state, { memberId, instanceId, partitions, mayGoBack: rewind }, context)
    return { records: committed.records, answer: () => committed.results }
  })
  return { partitions: results.map(({ error, ...result }) => ({ ...result, error: error && toErrorDetail(error) })) }
}

export async function fetchOffsets(broker: Broker, request: FetchOffsetsRequest): Promise<FetchOffsetsResponse> {
  broker.checkServing()
  const { group } = request
  validateGroupId(group)
  checkCount('partitions', request.partitions.length, PARTITIONS_PER_REQUEST_MAX)
  const wanted = request.partitions.map((one) => ({ ...named(one), assignedEpoch: one.assignedEpoch }))
  const shard = await broker.groups.shardOf(group)
  const partitions = await shard.change(group, ({ state }) => {
    const { topics } = broker.groups
    const member = memberOf(state, request.memberId)
    const answer = (): CommittedOffset[] =>
      wanted.length === 0 ? allOffsets(state, topics) : wanted.map((one) => wantedOffset(state, one, member, topics))
    return { records: [], answer }
  })
  return { partitions }
}

/** The groups of the partitions that this node leads. */
export function listGroups(broker: Broker, request: ListGroupsRequest): ListGroupsResponse {
  broker.checkServing()
  const { topics } = broker.groups
  const groups = broker.groups
    .shards()
    .flatMap((shard) => [...shard.groups.values()].map(({ state }) => summaryOf(state, topics)))
    .filter(({ state }) => request.states.length === 0 || request.states.includes(state))
    .sort((a, b) => (a.group < b.group ? -1 : 1))
  return { groups, loadingPartitions: broker.groups.loadingPartitions() }
}

export async function deleteGroups(broker: Broker, { groups }: DeleteGroupsRequest): Promise<DeleteGroupsResponse> {
  broker.checkServing()
  checkCount('groups', groups.length, GROUPS_PER_REQUEST_MAX)
  const results = await Promise.all(
    groups.map(async (group): Promise<GroupResult> => {
      try {
        validateGroupId(group)
        const shard = broker.groups.presentShardOf(group)
        shard.checkActive()
        checkKnown(shard.groups.get(group)?.state, group)
        await shard.changeInPieces(group, ({ state }) => deleteGroup(state))
        return { group, error: undefined }
      } catch (error) {
        return { group, error: toErrorDetail(TidemarkError.from(error)) }
      }
    }),
  )
  return { groups: results }
}

export async function deleteOffsets(broker: Broker, { group, topics: selection }: DeleteOffsetsRequest): Promise<DeleteOffsetsResponse> {
  broker.checkServing()
  validateGroupId(group)
  const shard = broker.groups.presentShardOf(group)
  const partitions = await shard.change(group, ({ state }) => {
    checkKnown(state, group)
    const { topics } = broker.groups
    const results: DeletedOffset[] = []
    const records = selection.flatMap((selected) => {
      const offsets = selectedOffsets(state, selected, topics)
      if (offsets.length === 0 && topics.byName(selected.topic) === undefined) results.push(unknownTopic(selected.topic))
      return offsets.flatMap(({ key, stored }) => {
        const result = { topic: selected.topic, partition: partitionOf(key), error: undefined, offset: stored.offset }
        try {
          const record = deleteOffset(state, key, topics)
          results.push(result)
          return [record]
        } catch (error) {
          results.push({ ...result, error: toErrorDetail(TidemarkError.from(error)) })
          return []
        }
      })
    })
    return { records, answer: () => results }
  })
  return { partitions }
}

function unknownTopic(topic: string): DeletedOffset {
  const error = toErrorDetail(new TidemarkError('UNKNOWN_TOPIC', `no topic named ${JSON.stringify(topic)}`))
  return { topic, partition: -1, error, offset: 0 }
}

/** Throws `GROUP_ID_NOT_FOUND`. */
export function checkKnown(state: GroupState | undefined, group: string): asserts state is GroupState {
  if (state === undefined || state.isGone) throw new TidemarkError('GROUP_ID_NOT_FOUND', `no group named ${JSON.stringify(group)}`)
}

export function stateOf({ members }: GroupState): WireState {
  if (members.size === 0) return WireState.EMPTY
  const isSettled = [...members.values()].every((member) => pendingOf(member).length === 0 && member.held.size === member.target.size)
  return isSettled ? WireState.STABLE : WireState.RECONCILING
}

export function checkCount(what: string, count: number, max: number): void {
  if (count > max) throw new TidemarkError('LIMIT_EXCEEDED', `${count} ${what} in one request, at most ${max} are allowed`)
}

function named({ topic, topicId, partition }: Pick<PartitionOfGroup, 'topic' | 'topicId' | 'partition'>): NamedPartition {
  return { topic, topicId: topicId.length === 0 ? undefined : idOf(topicId), partition }
}

/** Offsets that this node may still take. */
function roomForOffsets({ groups, config }: Broker): number {
  let count = 0
  for (const shard of groups.shards()) for (const { state } of shard.groups.values()) count += state.offsets.size
  return Math.max(0, config.limits.groupOffsetsMax - count)
}

function allOffsets(state: GroupState, topics: TopicView): CommittedOffset[] {
  return [...state.offsets]
    .map(([key, stored]) => committedOffset(topics.byId(topicIdOf(key))?.name ?? stored.topic, key, stored))
    .sort((a, b) => (a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1))
}

function wantedOffset(
  state: GroupState,
  wanted: NamedPartition & { readonly assignedEpoch: number },
  member: Member | undefined,
  topics: TopicView,
): CommittedOffset {
  try {
    const { topic, key, stored } = fetchOffset(state, wanted, member, topics)
    return committedOffset(topic, key, stored)
  } catch (error) {
    const { topic, topicId, partition } = wanted
    const nothing = committedOffset(topic, partitionKey(topicId ?? '', partition), undefined)
    return { ...nothing, topicId: Buffer.from(topicId ?? '', 'base64url'), partition, error: toErrorDetail(TidemarkError.from(error)) }
  }
}

/** Throws `UNKNOWN_MEMBER_ID`. */
function memberOf({ group, members }: GroupState, memberId: string): Member | undefined {
  const member = members.get(memberId)
  if (memberId !== '' && member === undefined) throw unknownMember(group, memberId)
  return member
}

function committedOffset(topic: string, key: PartitionKey, stored: StoredOffset | undefined): CommittedOffset {
  return {
    topic,
    topicId: Buffer.from(topicIdOf(key), 'base64url'),
    partition: partitionOf(key),
    error: undefined,
    offset: stored?.offset,
    leaderEpochPlusOne: (stored?.leaderEpoch ?? -1) + 1,
    metadata: stored?.metadata ?? '',
    commitTimeMs: stored?.commitTimeMs ?? 0,
  }
}

function summaryOf(state: GroupState, topics: TopicView): GroupSummary {
  const members = [...state.members.values()]
  const read = members.flatMap((member) => subscribedTopics(member, topics).map(({ name }) => name))
  const committed = [...state.offsets].map(([key, stored]) => topics.byId(topicIdOf(key))?.name ?? stored.topic)
  return {
    group: state.group,
    state: stateOf(state),
    memberCount: members.length,
    offsetCount: state.offsets.size,
    idleMemberCount: members.filter(({ target }) => target.size === 0).length,
    topics: [...new Set([...read, ...committed])].sort(),
  }
}

/** The offsets of a topic, which may have been deleted. */
function selectedOffsets(
  state: GroupState,
  { topic, partitions }: TopicSelection,
  topics: TopicView,
): { readonly key: PartitionKey; readonly stored: StoredOffset }[] {
  const topicId = topics.byName(topic)?.topicId
  return [...state.offsets].flatMap(([key, stored]) => {
    const isOfTopic = topicId === undefined ? stored.topic === topic : topicIdOf(key) === topicId
    return isOfTopic && (partitions.length === 0 || partitions.includes(partitionOf(key))) ? [{ key, stored }] : []
  })
}
