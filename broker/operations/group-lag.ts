/** Asks the leaders of a group's partitions how far it is behind, when somebody wants to know. */
import { TidemarkError } from '../../protocol/errors.ts'
import type { Broker } from '../broker.ts'
import type { LiveGroup } from '../groups/group-shard.ts'
import { type GroupState, ownersOf, type StoredOffset } from '../groups/group-state.ts'
import { type GroupLag, lagOf, type PartitionLag } from '../groups/lag.ts'
import { type PartitionKey, partitionOf, topicIdOf } from '../groups/partition-keys.ts'
import { askPositions, type Question } from './log-positions.ts'

/** Every partition the group has an offset of, or that a member of it holds. */
export function partitionsOf(state: GroupState): PartitionKey[] {
  return [...new Set([...state.offsets.keys(), ...ownersOf(state.members.values()).keys()])]
}

/** As it was within the last second, with the offsets of now. */
export function groupLag(broker: Broker, { state, writtenOffset }: LiveGroup): Promise<GroupLag> {
  return broker.groupLags.get(`${writtenOffset} ${state.group}`, () => measure(broker, state))
}

async function measure(broker: Broker, state: GroupState): Promise<GroupLag> {
  const lag = new Map<PartitionKey, PartitionLag | TidemarkError>()
  const asked: { readonly key: PartitionKey; readonly stored: StoredOffset | undefined; readonly question: Question }[] = []
  for (const key of partitionsOf(state)) {
    const topic = broker.groups.topics.byId(topicIdOf(key))?.name
    const stored = state.offsets.get(key)
    if (topic === undefined) lag.set(key, new TidemarkError('UNKNOWN_TOPIC_ID', 'the topic was deleted'))
    else
      asked.push({
        key,
        stored,
        question: { topic, partition: partitionOf(key), lookup: { $case: 'atOffset', value: stored?.offset ?? 0 } },
      })
  }
  const positions = await askPositions(
    broker,
    asked.map(({ question }) => question),
  )
  const nowMs = broker.runtime.clock.now()
  asked.forEach(({ key, stored }, index) => {
    const position = positions[index]
    if (position !== undefined) lag.set(key, TidemarkError.is(position) ? position : lagOf(stored, position, nowMs))
  })
  return lag
}
