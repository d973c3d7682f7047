/**
 * Sets a group to other places. The logs are asked first; then everything is decided at once, against the group as it is at that moment, so that what is
 * answered as the previous offset is what was replaced.
 */
import { toErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import {
  GroupsService,
  type ResetOffsetsRequest,
  type ResetOffsetsResponse,
  type ResetPartitionResult,
} from '../../protocol/gen/tidemark/v1/groups.ts'
import { OffsetPosition } from '../../protocol/gen/tidemark/v1/log.ts'
import { validateGroupId } from '../../protocol/names.ts'
import type { Broker } from '../broker.ts'
import { type GroupState, ownersOf } from '../groups/group-state.ts'
import type { LogPosition } from '../groups/lag.ts'
import { resetOffsets as decideReset } from '../groups/offsets.ts'
import { type PartitionKey, partitionKey, partitionOf, topicIdOf } from '../groups/partition-keys.ts'
import type { TopicView } from '../groups/topic-view.ts'
import { checkRoom } from './heartbeat.ts'
import { partitionsOf } from './group-lag.ts'
import { checkCount, checkKnown, fetchOffsets, PARTITIONS_PER_REQUEST_MAX } from './groups.ts'
import { askPositions, type Lookup } from './log-positions.ts'

const ASK_TIMEOUT_MS = 5000

type Target = Exclude<ResetOffsetsRequest['target'], undefined>

/** A partition to reset. */
interface Place {
  readonly topic: string
  readonly key: PartitionKey
  /** By request, or from another group; the log decides otherwise. */
  readonly explicit: number | undefined
}

/** One that exists, or one that does not, with why. */
type Selected = Place | ResetPartitionResult

export async function resetOffsets(broker: Broker, request: ResetOffsetsRequest): Promise<ResetOffsetsResponse> {
  broker.checkServing()
  const { group, target, dryRun } = request
  validateGroupId(group)
  if (target === undefined) throw new TidemarkError('INVALID_REQUEST', 'a reset needs to know where to')
  const shard = await broker.groups.shardOf(group)
  shard.checkActive()
  const selected = await select(broker, request, target, shard.groups.get(group)?.state)
  const places = selected.filter((one): one is Place => 'key' in one)
  const positions = await askPositions(
    broker,
    places.map(({ topic, key }) => ({ topic, partition: partitionOf(key), lookup: lookupOf(target) })),
  )
  return shard.change(group, ({ state }) => {
    if (state.epoch === 0) checkRoom(broker)
    const owners = ownersOf(state.members.values())
    const results = places.map((place, index) => resultOf(place, positions[index], target, state, owners))
    const offsets = new Map(
      places.flatMap(({ topic, key }, index) => {
        const result = results[index]
        return result === undefined || result.error !== undefined ? [] : [[key, { topic, offset: result.offset }] as const]
      }),
    )
    const context = { nowMs: broker.runtime.clock.now(), topics: broker.groups.topics, offsetsMax: () => Number.POSITIVE_INFINITY }
    const refused = selected.filter((one): one is ResetPartitionResult => !('key' in one))
    return {
      records: dryRun ? [] : decideReset(state, offsets, context),
      answer: () => ({ partitions: [...results, ...refused].sort(byPlace) }),
    }
  })
}

async function select(broker: Broker, request: ResetOffsetsRequest, target: Target, state: GroupState | undefined): Promise<Selected[]> {
  const { topics } = broker.groups
  if (target.$case === 'offsets') {
    checkCount('partitions', target.value.partitions.length, PARTITIONS_PER_REQUEST_MAX)
    const selected = target.value.partitions.map(({ topic, partition, offset }) => placeOf(topics, topic, partition, offset))
    checkOnce(selected)
    return selected
  }
  const selected = request.topics.length > 0 ? selectNamed(topics, request.topics) : selectKnown(topics, state, request.group)
  checkOnce(selected)
  if (target.$case !== 'fromGroup') return selected
  const offsets = await offsetsOfOther(broker, target.value)
  return selected.map((one) => {
    if (!('key' in one)) return one
    const explicit = offsets.get(one.key)
    if (explicit !== undefined) return { ...one, explicit }
    return refuse(one.topic, partitionOf(one.key), new TidemarkError('OFFSET_OUT_OF_RANGE', `group ${target.value} has no offset of it`))
  })
}

function selectNamed(topics: TopicView, selection: ResetOffsetsRequest['topics']): Selected[] {
  return selection.flatMap(({ topic, partitions }) => {
    const count = topics.byName(topic)?.partitionCount ?? 1
    const numbers = partitions.length > 0 ? partitions : Array.from({ length: count }, (_, number) => number)
    return numbers.map((partition) => placeOf(topics, topic, partition, undefined))
  })
}

/** Throws `GROUP_ID_NOT_FOUND`. Topics that are gone are left out. */
function selectKnown(topics: TopicView, state: GroupState | undefined, group: string): Selected[] {
  checkKnown(state, group)
  return partitionsOf(state).flatMap((key) => {
    const topic = topics.byId(topicIdOf(key))?.name
    return topic === undefined ? [] : [{ topic, key, explicit: undefined }]
  })
}

function placeOf(topics: TopicView, topic: string, partition: number, explicit: number | undefined): Selected {
  const known = topics.byName(topic)
  if (known === undefined) return refuse(topic, partition, new TidemarkError('UNKNOWN_TOPIC', `no topic named ${JSON.stringify(topic)}`))
  if (partition < 0 || partition >= known.partitionCount)
    return refuse(
      topic,
      partition,
      new TidemarkError('UNKNOWN_PARTITION', `topic ${topic} has ${known.partitionCount} partitions, there is no ${partition}`),
    )
  return { topic, key: partitionKey(known.topicId, partition), explicit }
}

function checkOnce(selected: readonly Selected[]): void {
  const keys = selected.flatMap((one) => ('key' in one ? [one.key] : []))
  if (new Set(keys).size < keys.length) throw new TidemarkError('INVALID_REQUEST', 'a partition stands twice in one request')
}

/** Wherever it is coordinated. */
async function offsetsOfOther(broker: Broker, group: string): Promise<ReadonlyMap<PartitionKey, number>> {
  const place = broker.groups.topic.partitionOf(group)
  const leader = place?.metadata.leader ?? -1
  if (leader < 0) throw new TidemarkError('COORDINATOR_NOT_AVAILABLE', `no node coordinates group ${group}`, { retryAfterMs: 100 })
  const request = { group, partitions: [], memberId: '' }
  const { partitions } =
    leader === broker.config.nodeId
      ? await fetchOffsets(broker, request)
      : await broker.nodeCalls.ask(leader, GroupsService.fetchOffsets, request, ASK_TIMEOUT_MS)
  return new Map(
    partitions.flatMap(({ topicId, partition, offset }) =>
      offset === undefined ? [] : [[partitionKey(topicId.toString('base64url'), partition), offset] as const],
    ),
  )
}

function lookupOf(target: Target): Lookup {
  if (target.$case === 'timestampMs') return { $case: 'timestampMs', value: target.value }
  return { $case: 'position', value: OffsetPosition.LATEST }
}

function resultOf(
  { topic, key, explicit }: Place,
  position: LogPosition | TidemarkError | undefined,
  target: Target,
  state: GroupState,
  owners: ReadonlyMap<PartitionKey, string>,
): ResetPartitionResult {
  const previousOffset = state.offsets.get(key)?.offset
  const base = {
    ...nothingOf(topic, partitionOf(key)),
    topicId: Buffer.from(topicIdOf(key), 'base64url'),
    previousOffset,
    memberId: owners.get(key) ?? '',
  }
  if (position === undefined || TidemarkError.is(position))
    return { ...base, error: toErrorDetail(position ?? new TidemarkError('INTERNAL', 'nobody was asked')) }
  const wanted = explicit ?? offsetWanted(target, position, previousOffset)
  const offset = Math.min(Math.max(wanted, position.logStartOffset), position.highWatermark)
  return { ...base, offset, clamped: offset !== wanted }
}

function offsetWanted(target: Target, { logStartOffset, highWatermark, found }: LogPosition, previous: number | undefined): number {
  switch (target.$case) {
    case 'position':
      if (target.value === OffsetPosition.MAX_TIMESTAMP)
        throw new TidemarkError('INVALID_REQUEST', 'a reset goes to the earliest or the latest offset, or to a time')
      return target.value === OffsetPosition.EARLIEST ? logStartOffset : highWatermark
    case 'timestampMs':
      return found?.offset ?? highWatermark
    case 'shift':
      return (previous ?? logStartOffset) + target.value
    case 'offsets':
    case 'fromGroup':
      throw new TidemarkError('INTERNAL', 'the offset was named')
  }
}

function refuse(topic: string, partition: number, error: TidemarkError): ResetPartitionResult {
  return { ...nothingOf(topic, partition), error: toErrorDetail(error) }
}

function nothingOf(topic: string, partition: number): ResetPartitionResult {
  return {
    topic,
    topicId: Buffer.alloc(0),
    partition,
    error: undefined,
    previousOffset: undefined,
    offset: 0,
    clamped: false,
    memberId: '',
  }
}

function byPlace(a: ResetPartitionResult, b: ResetPartitionResult): number {
  return a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1
}
