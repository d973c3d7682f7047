/**
 * From what members want to what they shall have, and from there to what they may have now. Pure.
 *
 * A partition is given to a member only when nobody holds it. Whoever holds it and is not meant to is told to let go first, and holds it until it has said
 * that it did, or is not a member any more. So no partition is ever held by two, and whoever keeps a partition does not notice that others move.
 */
import type { Subscriber } from './assignment.ts'
import { assign, mostNamed } from './assignor.ts'
import { type Held, type Member, nameOf, ownersOf } from './group-state.ts'
import type { MembersDraft } from './members-draft.ts'
import type { PartitionKey } from './partition-keys.ts'
import { subscribedTopics, type TopicView } from './topic-view.ts'

/** Works out anew who is meant to have what. */
export function retarget(draft: MembersDraft, topics: TopicView): void {
  const partitionCounts = new Map<string, number>()
  const subscribers = [...draft.members.values()].map((member): Subscriber => {
    const wanted = subscribedTopics(member, topics)
    for (const { topicId, partitionCount } of wanted) partitionCounts.set(topicId, partitionCount)
    const topicIds = new Set(wanted.map(({ topicId }) => topicId))
    return { memberId: member.memberId, name: nameOf(member), topicIds, target: member.target }
  })
  const assignment = assign(groupAssignor(draft.members.values()), subscribers, partitionCounts)
  for (const member of draft.members.values()) {
    const target = assignment.get(member.memberId) ?? new Set()
    if (!isSame(target, member.target)) draft.set({ ...member, target })
  }
}

export function groupAssignor(members: Iterable<Member>): Member['assignor'] {
  return mostNamed([...members].map(({ assignor }) => assignor))
}

/** Takes away what members are not meant to have, and gives them what they are meant to have and nobody holds. */
export function reconcile(draft: MembersDraft): void {
  for (const member of draft.members.values()) takeAway(draft, member)
  const owners = ownersOf(draft.members.values())
  for (const member of draft.members.values()) give(draft, member, owners)
}

function takeAway(draft: MembersDraft, member: Member): void {
  const surplus = [...member.held].filter(([key, { revoked }]) => !member.target.has(key) && (member.away || revoked === 0))
  if (surplus.length === 0) return
  const held = new Map(member.held)
  for (const [key, { assigned }] of surplus) {
    // Nobody is behind a member that is away: there is nothing to let go of.
    if (member.away) held.delete(key)
    else held.set(key, { assigned, revoked: draft.epoch })
  }
  draft.set({ ...member, held, epoch: draft.epoch })
}

function give(draft: MembersDraft, member: Member, owners: Map<PartitionKey, string>): void {
  const given = [...member.target].filter((key) => {
    const present = member.held.get(key)
    // What it was told to let go of and gets back it may have let go of already: it begins anew.
    return present === undefined ? !owners.has(key) : present.revoked !== 0
  })
  if (given.length === 0) return
  const held = new Map<PartitionKey, Held>(member.held)
  for (const key of given) {
    held.set(key, { assigned: draft.epoch, revoked: 0 })
    owners.set(key, member.memberId)
  }
  draft.set({ ...member, held, epoch: draft.epoch })
}

function isSame<T>(a: ReadonlySet<T>, b: ReadonlySet<T>): boolean {
  return a.size === b.size && [...a].every((value) => b.has(value))
}
