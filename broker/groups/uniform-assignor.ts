/**
 * Balanced, and sticky: whoever has something keeps it unless somebody else has too little. Pure.
 *
 * 1. Each member keeps what it was meant to have and still subscribes to.
 * 2. What is left goes, one partition after the other, to the subscriber that has least.
 * 3. As long as a member has two more than one it could relieve itself to, a partition moves. It may go by way of others: A gives to B a
 *    partition of a topic that C does not read, B one of another topic to C. Where no such way is left, no assignment is more balanced
 *    (a semi-matching without a cost-reducing path is optimal).
 *
 * Where all members read the same topics, their shares differ by one at most, and no assignment as balanced as that moves less.
 */
import { invariant } from '../../runtime/invariant.ts'
import type { Assignment, Subscriber } from './assignment.ts'
import { type PartitionKey, partitionKey, topicIdOf } from './partition-keys.ts'

/** What one member gets. */
class Share {
  readonly memberId: string
  /** By topic id; never empty. */
  readonly byTopic: Map<string, PartitionKey[]> = new Map()
  count = 0

  constructor(memberId: string) {
    this.memberId = memberId
  }

  add(key: PartitionKey): void {
    const topicId = topicIdOf(key)
    const present = this.byTopic.get(topicId)
    if (present === undefined) this.byTopic.set(topicId, [key])
    else present.push(key)
    this.count++
  }

  /** Gives away the newest of a topic it has something of. */
  take(topicId: string): PartitionKey {
    const present = this.byTopic.get(topicId) ?? []
    const key = present.pop()
    invariant(key !== undefined, 'a way of relief leads over members that have something of its topics')
    if (present.length === 0) this.byTopic.delete(topicId)
    this.count--
    return key
  }
}

type SharesByTopic = ReadonlyMap<string, readonly Share[]>

/** `subscribers` in the order that decides between equals. */
export function assignUniformly(subscribers: readonly Subscriber[], partitionCounts: ReadonlyMap<string, number>): Assignment {
  const shares = subscribers.map(({ memberId }) => new Share(memberId))
  const kept = keep(subscribers, shares, partitionCounts)
  const interested = sharesByTopic(subscribers, shares, partitionCounts)
  distribute(interested, partitionCounts, kept)
  balance(shares, interested)
  return new Map(shares.map(({ memberId, byTopic }) => [memberId, new Set([...byTopic.values()].flat())]))
}

function keep(
  subscribers: readonly Subscriber[],
  shares: readonly Share[],
  partitionCounts: ReadonlyMap<string, number>,
): ReadonlySet<PartitionKey> {
  const kept = new Set<PartitionKey>()
  subscribers.forEach(({ topicIds, target }, place) => {
    for (const key of target) {
      const topicId = topicIdOf(key)
      // Topics only grow: a partition exists as long as its topic does.
      if (!partitionCounts.has(topicId) || !topicIds.has(topicId) || kept.has(key)) continue
      kept.add(key)
      shares[place]?.add(key)
    }
  })
  return kept
}

function sharesByTopic(
  subscribers: readonly Subscriber[],
  shares: readonly Share[],
  partitionCounts: ReadonlyMap<string, number>,
): SharesByTopic {
  const byTopic = new Map<string, Share[]>()
  subscribers.forEach(({ topicIds }, place) => {
    for (const topicId of topicIds) {
      if (!partitionCounts.has(topicId)) continue
      const present = byTopic.get(topicId)
      const share = shares[place] as Share
      if (present === undefined) byTopic.set(topicId, [share])
      else present.push(share)
    }
  })
  return byTopic
}

/** Topics with the fewest subscribers first: they have the least choice. */
function distribute(interested: SharesByTopic, partitionCounts: ReadonlyMap<string, number>, kept: ReadonlySet<PartitionKey>): void {
  const topics = [...interested].sort(([a, sharesA], [b, sharesB]) => sharesA.length - sharesB.length || (a < b ? -1 : 1))
  for (const [topicId, shares] of topics) {
    const partitionCount = partitionCounts.get(topicId) ?? 0
    for (let partition = 0; partition < partitionCount; partition++) {
      const key = partitionKey(topicId, partition)
      if (!kept.has(key)) leastLoaded(shares).add(key)
    }
  }
}

function leastLoaded(shares: readonly Share[]): Share {
  return shares.reduce((least, share) => (share.count < least.count ? share : least))
}

function balance(shares: readonly Share[], interested: SharesByTopic): void {
  /** Those that cannot relieve themselves, as things are. */
  const stuck = new Set<Share>()
  for (;;) {
    const loaded = shares.filter((share) => !stuck.has(share))
    if (loaded.length === 0) return
    const most = loaded.reduce((largest, share) => (share.count > largest.count ? share : largest))
    if (most.count - leastLoaded(shares).count <= 1) return
    if (relieve(most, interested)) stuck.clear()
    else stuck.add(most)
  }
}

interface Step {
  readonly giver: Share
  readonly topicId: string
}

/** Moves one partition's worth of load from `share` to the member it can reach that has least, if that has at least two less. */
function relieve(share: Share, interested: SharesByTopic): boolean {
  const steps = new Map<Share, Step | undefined>([[share, undefined]])
  const expanded = new Set<string>()
  let taker = share
  // The map grows while it is walked: breadth first.
  for (const [giver] of steps) {
    if (giver.count < taker.count) taker = giver
    for (const topicId of giver.byTopic.keys()) {
      if (expanded.has(topicId)) continue
      expanded.add(topicId)
      for (const next of interested.get(topicId) ?? []) if (!steps.has(next)) steps.set(next, { giver, topicId })
    }
  }
  if (share.count - taker.count <= 1) return false
  for (let step = steps.get(taker); step !== undefined; step = steps.get(step.giver)) {
    taker.add(step.giver.take(step.topicId))
    taker = step.giver
  }
  return true
}
