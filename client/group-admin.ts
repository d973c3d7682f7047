/** Administration of consumer groups: what there is, how far it has come, and where it shall go on. */
import { fromErrorDetail } from '../protocol/error-wire.ts'
import { TidemarkError } from '../protocol/errors.ts'
import {
  type GroupDescription as WireDescription,
  type GroupPartition as WirePartition,
  type MemberDescription as WireMember,
  GroupState as WireState,
  type ResetOffsetsRequest,
  type ResetPartitionResult,
} from '../protocol/gen/tidemark/v1/groups.ts'
import { OffsetPosition } from '../protocol/gen/tidemark/v1/log.ts'
import type { TopicPartition } from '../protocol/ids.ts'
import { CONSUMER_OFFSETS_TOPIC } from '../protocol/internal-topics.ts'
import type { ClusterClient } from './cluster-client.ts'
import { toOffset } from './consumer/positions.ts'
import type {
  CommittedOffset,
  GroupDescription,
  GroupPartition,
  GroupState,
  GroupSummary,
  MemberDescription,
  ResetOptions,
  ResetResult,
  ResetTarget,
} from './group-descriptions.ts'
import { GroupCalls } from './group-calls.ts'
import { withRetries } from './retry.ts'

export interface GroupCall {
  readonly signal?: AbortSignal
}

/** A node that does not answer is not waited for longer: another may coordinate by now. */
const ATTEMPT_TIMEOUT_MS = 5000

export class GroupAdmin {
  readonly #client: ClusterClient

  constructor(client: ClusterClient) {
    this.#client = client
  }

  /** All groups of the cluster, by id. */
  async list({ signal }: GroupCall = {}): Promise<GroupSummary[]> {
    const client = this.#client
    const deadlineMs = client.runtime.clock.monotonic() + client.requestTimeoutMs
    const found = await withRetries(client.runtime, deadlineMs, signal, async () => {
      const addresses = await this.#coordinators()
      const answers = await Promise.all(
        addresses.map((address) =>
          client.connection(address).call('listGroups', { states: [] }, { timeoutMs: ATTEMPT_TIMEOUT_MS, signal }),
        ),
      )
      if (answers.some(({ loadingPartitions }) => loadingPartitions.length > 0)) throw new TidemarkError('COORDINATOR_LOAD_IN_PROGRESS')
      return answers.flatMap(({ groups }) => groups)
    })
    return found
      .map(({ group, state, memberCount, idleMemberCount, offsetCount, topics }) => ({
        group,
        state: stateOf(state),
        memberCount,
        idleMemberCount,
        offsetCount,
        topics,
      }))
      .sort((a, b) => (a.group < b.group ? -1 : 1))
  }

  /** Members, assignment, offsets and lag of a group. Throws `GROUP_ID_NOT_FOUND`. */
  async describe(group: string, { signal }: GroupCall = {}): Promise<GroupDescription> {
    const request = { groups: [group], withoutLag: false }
    const { groups } = await this.#calls(group).call('describeGroups', request, { signal }, (answer) => throwIf(answer.groups[0]?.error))
    const [found] = groups
    if (found === undefined) throw new TidemarkError('GROUP_ID_NOT_FOUND', `the node says nothing of group ${group}`)
    return descriptionOf(found)
  }

  /** What a group has committed; a group that does not exist has nothing. */
  async offsets(group: string, { signal }: GroupCall = {}): Promise<CommittedOffset[]> {
    const { partitions } = await this.#calls(group).call('fetchOffsets', { group, memberId: '', partitions: [] }, { signal })
    return partitions.flatMap(({ topic, partition, offset, metadata, commitTimeMs }) =>
      offset === undefined ? [] : [{ topic, partition, offset: BigInt(offset), metadata, commitTimeMs }],
    )
  }

  /**
   * Sets a group to another place; all its partitions, or those that are named. Works while it is at work: its members begin again there, and what they commit of
   * before is refused. With `dryRun` everything is worked out and nothing changed.
   */
  async resetOffsets(group: string, target: ResetTarget, options: ResetOptions = {}): Promise<ResetResult[]> {
    const { dryRun = false, topics = [], signal } = options
    const request = {
      group,
      dryRun,
      topics: topics.map(({ topic, partitions }) => ({ topic, partitions: [...(partitions ?? [])] })),
      target: targetOf(target),
    }
    const { partitions } = await this.#calls(group).call('resetOffsets', request, { signal })
    return partitions.map(resetOf)
  }

  /** Removes a group with all its offsets. Throws `NON_EMPTY_GROUP`, `GROUP_ID_NOT_FOUND`. */
  async delete(group: string, { signal }: GroupCall = {}): Promise<void> {
    await this.#calls(group).call('deleteGroups', { groups: [group] }, { signal }, ({ groups }) => throwIf(groups[0]?.error))
  }

  /** Removes offsets of topics that no member reads; of whole topics, or of partitions. Throws `GROUP_SUBSCRIBED_TO_TOPIC`. */
  async deleteOffsets(
    group: string,
    topics: readonly { readonly topic: string; readonly partitions?: readonly number[] }[],
    { signal }: GroupCall = {},
  ): Promise<TopicPartition[]> {
    const wanted = topics.map(({ topic, partitions }) => ({ topic, partitions: [...(partitions ?? [])] }))
    const answer = await this.#calls(group).call('deleteOffsets', { group, topics: wanted }, { signal })
    for (const { error } of answer.partitions) throwIf(error)
    return answer.partitions.map(({ topic, partition }) => ({ topic, partition }))
  }

  #calls(group: string): GroupCalls {
    return new GroupCalls(this.#client, group)
  }

  /** The leaders of the internal topic; none before there are groups. */
  async #coordinators(): Promise<string[]> {
    try {
      const { partitions } = await this.#client.refresh(CONSUMER_OFFSETS_TOPIC)
      const missing = partitions.findIndex(({ address }) => address === undefined)
      if (missing >= 0)
        throw new TidemarkError('COORDINATOR_NOT_AVAILABLE', `partition ${missing} of ${CONSUMER_OFFSETS_TOPIC} has no leader`)
      return [...new Set(partitions.flatMap(({ address }) => address ?? []))]
    } catch (error) {
      if (TidemarkError.is(error) && error.code === 'UNKNOWN_TOPIC') return []
      throw error
    }
  }
}

function throwIf(error: Parameters<typeof fromErrorDetail>[0] | undefined): void {
  if (error !== undefined) throw fromErrorDetail(error)
}

function stateOf(state: WireState): GroupState {
  switch (state) {
    case WireState.EMPTY:
      return 'empty'
    case WireState.STABLE:
      return 'stable'
    case WireState.RECONCILING:
      return 'reconciling'
    default:
      return 'unknown'
  }
}

function targetOf(target: ResetTarget): NonNullable<ResetOffsetsRequest['target']> {
  if (target === 'earliest') return { $case: 'position', value: OffsetPosition.EARLIEST }
  if (target === 'latest') return { $case: 'position', value: OffsetPosition.LATEST }
  if ('at' in target) return { $case: 'timestampMs', value: target.at instanceof Date ? target.at.getTime() : target.at }
  if ('shift' in target) return { $case: 'shift', value: target.shift }
  if ('group' in target) return { $case: 'fromGroup', value: target.group }
  const partitions = target.offsets.map(({ topic, partition, offset }) => ({ topic, partition, offset: toOffset(offset) }))
  return { $case: 'offsets', value: { partitions } }
}

function resetOf({ topic, partition, error, previousOffset, offset, clamped, memberId }: ResetPartitionResult): ResetResult {
  return {
    topic,
    partition,
    error: error && fromErrorDetail(error),
    previous: previousOffset === undefined ? undefined : BigInt(previousOffset),
    offset: BigInt(offset),
    isClamped: clamped,
    memberId,
  }
}

function descriptionOf({
  group,
  state,
  assignor,
  groupEpoch,
  members,
  partitions,
  emptySinceMs,
  coordinatorId,
}: WireDescription): GroupDescription {
  return {
    group,
    state: stateOf(state),
    assignor,
    epoch: groupEpoch,
    coordinatorId,
    emptySinceMs,
    members: members.map(memberOf),
    partitions: partitions.map(partitionOf),
  }
}

function memberOf(member: WireMember): MemberDescription {
  const { memberId, instanceId, clientId, peer, memberEpoch, topics, topicPattern, pendingPartitions, silentMs } = member
  const placesOf = (bundles: WireMember['assignment']): TopicPartition[] =>
    bundles.flatMap(({ topic, partitions }) => partitions.map((partition) => ({ topic, partition })))
  return {
    memberId,
    instanceId,
    clientId,
    peer,
    epoch: memberEpoch,
    topics,
    topicPattern,
    assigned: placesOf(member.assignment),
    revoking: placesOf(member.revoking),
    pendingPartitions,
    isIdle: member.idle,
    isAway: member.away,
    silentMs,
    sessionTimeoutMs: member.sessionTimeoutMs,
    rebalanceTimeoutMs: member.rebalanceTimeoutMs,
  }
}

function partitionOf(partition: WirePartition): GroupPartition {
  const { topic, memberId, metadata, commitTimeMs, lagMs, noProgressMs, error } = partition
  return {
    topic,
    partition: partition.partition,
    memberId,
    metadata,
    commitTimeMs,
    lagMs,
    noProgressMs,
    committed: bigOrNone(partition.committedOffset),
    logStart: bigOrNone(partition.logStartOffset),
    highWatermark: bigOrNone(partition.highWatermark),
    lag: bigOrNone(partition.lagRecords),
    error: error && fromErrorDetail(error),
  }
}

function bigOrNone(offset: number | undefined): bigint | undefined {
  return offset === undefined ? undefined : BigInt(offset)
}
