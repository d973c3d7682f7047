/** What a leader makes of a follower's fetch. Pure. */
import type { PartitionLog } from '../../log/partition-log.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { EpochEnd, ReplicaFetchPartition } from '../../protocol/gen/tidemark/v1/replica.ts'
import type { ReplicaFetched } from './leader-state.ts'

/** A partition that this node leads. */
interface Led {
  readonly topic: string
  readonly partition: number
  readonly log: Pick<PartitionLog, 'logStartOffset' | 'logEndOffset' | 'epochEnd'>
  replicaFetched(fetched: ReplicaFetched): void
}

/**
 * Takes the follower's word for how far it is, unless its log is not a prefix of ours: then it does not know it itself. Throws
 * `OFFSET_OUT_OF_RANGE`, and as `replicaFetched`.
 */
export function noteProgress(led: Led, entry: ReplicaFetchPartition, { nodeId, nodeEpoch }: { nodeId: number; nodeEpoch: number }): void {
  if (divergenceOf(led, entry) !== undefined) return
  checkRange(led, entry)
  const { fetchOffset, flushedOffset } = entry
  led.replicaFetched({ nodeId, nodeEpoch, fetchOffset, flushedOffset: Math.min(flushedOffset, fetchOffset) })
}

/** Where the follower's log parts from ours; undefined when it is a prefix of it, as far as epochs tell. */
export function divergenceOf(
  { log }: Pick<Led, 'log'>,
  { fetchOffset, lastFetchedEpochPlusOne }: ReplicaFetchPartition,
): EpochEnd | undefined {
  if (lastFetchedEpochPlusOne === 0 || fetchOffset < log.logStartOffset) return undefined
  const lastEpoch = lastFetchedEpochPlusOne - 1
  const ours = log.epochEnd(lastEpoch)
  if (ours.epoch === lastEpoch && ours.endOffset >= fetchOffset) return undefined
  // It goes on where our log starts: of what was before, the epochs are not known here any more.
  if (ours.epoch < 0 && fetchOffset === log.logStartOffset) return undefined
  return { epoch: ours.epoch, endOffset: ours.endOffset }
}

/** What the follower has of our log, by its own word and by where the logs part. */
export function agreedOf(
  led: Pick<Led, 'log'>,
  entry: ReplicaFetchPartition,
  { nodeId, nodeEpoch }: { nodeId: number; nodeEpoch: number },
): ReplicaFetched {
  const fetchOffset = Math.min(entry.fetchOffset, divergenceOf(led, entry)?.endOffset ?? entry.fetchOffset)
  return { nodeId, nodeEpoch, fetchOffset, flushedOffset: Math.min(entry.flushedOffset, fetchOffset) }
}

/** Throws `OFFSET_OUT_OF_RANGE` for what is not in the log, nor just behind it. */
export function checkRange({ log, topic, partition }: Omit<Led, 'replicaFetched'>, { fetchOffset }: ReplicaFetchPartition): void {
  if (fetchOffset >= log.logStartOffset && fetchOffset <= log.logEndOffset) return
  throw new TidemarkError(
    'OFFSET_OUT_OF_RANGE',
    `offset ${fetchOffset} of ${topic}-${partition} is outside ${log.logStartOffset} to ${log.logEndOffset}`,
  )
}
