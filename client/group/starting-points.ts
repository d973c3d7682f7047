/** Where to begin in partitions that a member was given: what the application's store says, else what the group committed, else where a new group starts. */
import { fromErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { ClusterClient } from '../cluster-client.ts'
import { startOffsets, toOffset } from '../consumer/positions.ts'
import type { GroupCalls } from '../group-calls.ts'
import type { Assigned } from './assigned.ts'
import type { GroupSettings } from './settings.ts'

export interface StartingPoint {
  readonly offset: number
  /** What the group has committed; undefined: nothing. */
  readonly committed: number | undefined
}

export interface StartingPointParts {
  readonly client: ClusterClient
  readonly calls: GroupCalls
  readonly settings: GroupSettings
  readonly memberId: string
  readonly signal: AbortSignal
  /** Whether the partition was added to its topic while this member ran: nobody can have read it. */
  readonly isNew: (assigned: Assigned) => boolean
}

/** In the order of `partitions`. */
export async function startingPoints(partitions: readonly Assigned[], parts: StartingPointParts): Promise<StartingPoint[]> {
  const stored = await Promise.all(partitions.map(async ({ place }) => parts.settings.offsets?.load(place)))
  const committed = await committedOffsets(partitions, parts)
  // A store that has nothing of a partition begins it: what the group committed belongs to results that are not there.
  const known = partitions.map((_, index) => {
    const own = stored[index]
    if (own !== undefined) return toOffset(own)
    return parts.settings.offsets === undefined ? committed[index] : undefined
  })
  const missing = partitions.filter((_, index) => known[index] === undefined)
  const starts = await newOffsets(missing, parts)
  return partitions.map((assigned, index) => ({
    offset: known[index] ?? (starts.get(assigned) as number),
    committed: committed[index],
  }))
}

/** Throws `STALE_MEMBER_EPOCH` when the one that was asked did not give the partitions: it may not know what was committed before. */
async function committedOffsets(
  partitions: readonly Assigned[],
  { calls, memberId, signal }: StartingPointParts,
): Promise<(number | undefined)[]> {
  const wanted = partitions.map(({ topic, topicId, partition, epoch }) => ({ topic, topicId, partition, assignedEpoch: epoch }))
  const answer = await calls.call('fetchOffsets', { group: calls.group, memberId, partitions: wanted }, { signal })
  return partitions.map((_, index) => {
    const found = answer.partitions[index]
    if (found?.error !== undefined) throw fromErrorDetail(found.error)
    return found?.offset
  })
}

async function newOffsets(partitions: readonly Assigned[], parts: StartingPointParts): Promise<Map<Assigned, number>> {
  const { client, settings, signal, isNew } = parts
  const offsets = new Map(partitions.filter(isNew).map((assigned) => [assigned, 0]))
  const others = partitions.filter((assigned) => !offsets.has(assigned))
  const [first] = others
  if (first === undefined) return offsets
  if (settings.start === 'committed')
    throw new TidemarkError(
      'OFFSET_NOT_COMMITTED',
      `group ${settings.group} has not committed an offset of ${first.topic}-${first.partition}`,
    )
  const starts = await startOffsets(client, others, settings.start, signal)
  for (const [index, assigned] of others.entries()) offsets.set(assigned, starts[index] as number)
  return offsets
}
