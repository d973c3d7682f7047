/**
 * Which partition shall belong to which member. Pure: the same members, topics and earlier targets give the same answer.
 *
 * Every partition of a topic that somebody subscribes to goes to exactly one of its subscribers.
 */
import type { Assignment, Subscriber } from './assignment.ts'
import { type PartitionKey, partitionKey } from './partition-keys.ts'
import { assignUniformly } from './uniform-assignor.ts'

export type AssignorName = 'uniform' | 'range'

export const ASSIGNOR_NAMES: readonly AssignorName[] = ['uniform', 'range']

/** `partitionCounts`: of every topic that exists, by id. */
export function assign(
  assignor: AssignorName,
  subscribers: readonly Subscriber[],
  partitionCounts: ReadonlyMap<string, number>,
): Assignment {
  const ordered = [...subscribers].sort(byName)
  return assignor === 'uniform' ? assignUniformly(ordered, partitionCounts) : assignRanges(ordered, partitionCounts)
}

/** The one that most members name; of several, the default. */
export function mostNamed(names: Iterable<AssignorName>): AssignorName {
  const counts = { uniform: 0, range: 0 }
  for (const name of names) counts[name]++
  return counts.range > counts.uniform ? 'range' : 'uniform'
}

/**
 * The partitions of each topic in runs of consecutive numbers, the first members one more where they do not come out even. Topics with the same
 * subscribers and as many partitions are cut alike: the same numbers of all of them belong to one member.
 */
function assignRanges(subscribers: readonly Subscriber[], partitionCounts: ReadonlyMap<string, number>): Assignment {
  const shares = new Map(subscribers.map(({ memberId }) => [memberId, new Set<PartitionKey>()]))
  for (const [topicId, partitionCount] of partitionCounts) {
    const interested = subscribers.filter(({ topicIds }) => topicIds.has(topicId))
    const each = Math.floor(partitionCount / interested.length)
    const withOneMore = partitionCount % interested.length
    let next = 0
    interested.forEach(({ memberId }, place) => {
      const end = next + each + (place < withOneMore ? 1 : 0)
      for (; next < end; next++) shares.get(memberId)?.add(partitionKey(topicId, next))
    })
  }
  return shares
}

function byName(a: Subscriber, b: Subscriber): number {
  if (a.name !== b.name) return a.name < b.name ? -1 : 1
  return a.memberId < b.memberId ? -1 : 1
}
