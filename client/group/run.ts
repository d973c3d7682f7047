/** Hands the messages of a session to a handler, many at once where their order allows it. */
import { TidemarkError } from '../../protocol/errors.ts'
import type { PartitionFetch } from '../consumer/partition-fetch.ts'
import type { Taken } from '../consumer/reader.ts'
import { checkKnown, type KnownOptions } from '../known-options.ts'
import type { Message } from '../types.ts'
import type { Assigned, Work } from './assigned.ts'
import { deliver, nextOffsetsOf } from './delivered.ts'
import { HandlerPool } from './handler-pool.ts'
import type { GroupSession } from './session.ts'
import type { Delivery, GroupHandler, RunOptions } from './types.ts'

const KNOWN: KnownOptions<RunOptions> = { concurrency: true, ordering: true, signal: true }

/** Messages taken beyond those at work, with order by key: enough to find keys that are free. Beside them one batch may come. */
const WAITING_PER_HANDLER = 16

export async function runHandler<K, V>(
  session: GroupSession<K, V>,
  handler: GroupHandler<K, V>,
  options: RunOptions,
  delivery: Delivery,
): Promise<void> {
  const { concurrency = 1, ordering = 'partition' } = options
  checkKnown(options, KNOWN, 'run')
  if (!Number.isInteger(concurrency) || concurrency < 1)
    throw new TidemarkError('USAGE', `concurrency is ${concurrency}, expected 1 or more`)
  // What is committed ahead must have been begun: a key that waits would be passed over.
  if (delivery === 'at-most-once' && ordering === 'key')
    throw new TidemarkError('USAGE', 'at-most-once keeps the order of partitions, not of keys')
  const pool = new HandlerPool(concurrency, () => session.reader.wake())
  let failure: { readonly error: unknown } | undefined
  const fail = (error: unknown): void => {
    failure ??= { error }
    pool.clear()
    session.reader.close()
  }
  const isWanted = (fetch: PartitionFetch): boolean =>
    ordering === 'key'
      ? pool.waitingCount < concurrency * WAITING_PER_HANDLER
      : pool.laneCount < concurrency && !pool.hasLane(partitionLane(fetch))
  let unkeyedCount = 0
  const laneOf = (assigned: Assigned, { rawKey }: Message<K, V>): string => {
    if (ordering === 'partition') return partitionLane(assigned)
    return rawKey === null ? `any ${unkeyedCount++}` : `${assigned.key} ${rawKey.toString('latin1')}`
  }
  try {
    for (let next = await session.next(isWanted); next !== undefined; next = await session.next(isWanted)) {
      const { taken, assigned } = next
      for (const { message, nextOffset } of nextOffsetsOf(taken)) {
        const work = assigned.plan(nextOffset, taken.leaderEpoch)
        pool.add(laneOf(assigned, message), () => handle(session, handler, { taken, work, message }, delivery).catch(fail))
      }
    }
  } finally {
    pool.clear()
    await session.close()
  }
  if (failure !== undefined) throw failure.error
}

function partitionLane({ topic, partition }: { readonly topic: string; readonly partition: number }): string {
  return `${topic} ${partition}`
}

async function handle<K, V>(
  session: GroupSession<K, V>,
  handler: GroupHandler<K, V>,
  { taken, work, message }: { readonly taken: Taken<K, V>; readonly work: Work; readonly message: Message<K, V> },
  delivery: Delivery,
): Promise<void> {
  if (!session.isCurrent(taken)) return
  session.begin(work)
  try {
    if (delivery === 'at-most-once' && !(await isCommittedAhead(session, taken, work))) return
    await handler(deliver(session, work, message), { signal: work.assigned.signal })
    session.finish(work)
  } finally {
    session.abandon(work)
  }
}

/** False when the partition is not this member's any more: somebody else gets the message. */
export async function isCommittedAhead<K, V>(session: GroupSession<K, V>, taken: Taken<K, V>, work: Work): Promise<boolean> {
  try {
    await session.commitAhead(work)
    return session.isCurrent(taken)
  } catch (caught) {
    const error = TidemarkError.from(caught)
    if (error.code === 'STALE_MEMBER_EPOCH' || error.code === 'UNKNOWN_MEMBER_ID') return false
    throw error
  }
}
