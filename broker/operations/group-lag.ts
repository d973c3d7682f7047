/** Asks the leaders of groups' partitions how far the groups are behind, when somebody wants to know. */
import { TidemarkError } from '../../protocol/errors.ts'
import type { Broker } from '../broker.ts'
import type { LiveGroup } from '../groups/live-group.ts'
import { type GroupState, ownersOf, type StoredOffset } from '../groups/group-state.ts'
import { type GroupLag, lagOf, type PartitionLag } from '../groups/lag.ts'
import { type PartitionKey, partitionOf, topicIdOf } from '../groups/partition-keys.ts'
import { askPositions, type Question } from './log-positions.ts'

/** Every partition the group has an offset of, or that a member of it holds. */
export function partitionsOf(state: GroupState): PartitionKey[] {
  return [...new Set([...state.offsets.keys(), ...ownersOf(state.members.values()).keys()])]
}

/** By group, as it was within the last second, with the offsets of now. */
export function recentLags(broker: Broker, groups: readonly LiveGroup[]): Promise<ReadonlyMap<string, GroupLag>> {
  const name = groups.map(({ state, writtenOffset }) => `${writtenOffset} ${state.group}`).join('\n')
  return broker.groups.lags.get(name, () =>
    groupLags(
      broker,
      groups.map(({ state }) => state),
    ),
  )
}

/** By group. Each leader is asked about all of them at once. */
export async function groupLags(broker: Broker, states: readonly GroupState[]): Promise<ReadonlyMap<string, GroupLag>> {
  const lags = new Map<string, Map<PartitionKey, PartitionLag | TidemarkError>>()
  const asked: { readonly state: GroupState; readonly key: PartitionKey; readonly stored: StoredOffset | undefined }[] = []
  const questions: Question[] = []
  for (const state of states) {
    const lag = new Map<PartitionKey, PartitionLag | TidemarkError>()
    lags.set(state.group, lag)
    for (const key of partitionsOf(state)) {
      const topic = broker.groups.topics.byId(topicIdOf(key))?.name
      const stored = state.offsets.get(key)
      if (topic === undefined) lag.set(key, new TidemarkError('UNKNOWN_TOPIC_ID', 'the topic was deleted'))
      else {
        asked.push({ state, key, stored })
        questions.push({ topic, partition: partitionOf(key), lookup: { $case: 'atOffset', value: stored?.offset ?? 0 } })
      }
    }
  }
  const positions = await askPositions(broker, questions)
  const nowMs = broker.runtime.clock.now()
  asked.forEach(({ state, key, stored }, index) => {
    const position = positions[index]
    if (position !== undefined) lags.get(state.group)?.set(key, TidemarkError.is(position) ? position : lagOf(stored, position, nowMs))
  })
  return lags
}
