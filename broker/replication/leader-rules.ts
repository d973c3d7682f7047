/** What a leader makes of a follower's fetch. Pure. */
import type { PartitionLog } from '../../log/partition-log.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { EpochEnd, ReplicaFetchPartition } from '../../protocol/gen/tidemark/v1/replica.ts'
import type { ReplicaFetched } from './leader-state.ts'

/** A partition that this node leads. */
interface Led {
  readonly topic: string
  readonly partition: number
  readonly log: Pick<PartitionLog, 'logStartOffset' | 'logEndOffset' | 'epochEnd' | 'compactor'>
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
  if (ours.epoch === lastEpoch && ours.endOffset >= fetchOffset) return earlierThan(log, lastEpoch, fetchOffset)
  // It goes on where our log starts: of what was before, the epochs are not known here any more.
  if (ours.epoch < 0 && fetchOffset === log.logStartOffset) return undefined
  return { epoch: ours.epoch, endOffset: ours.endOffset }
}

/**
 * A follower whose last batch came with a wrong epoch, which its checksum does not cover, ends before that epoch begins here. It would refuse what follows for ever, as of
 * an older epoch, so it has to go back to where the epochs before it end. In a compacted part an epoch may begin later here than it did.
 */
function earlierThan(log: Led['log'], lastEpoch: number, fetchOffset: number): EpochEnd | undefined {
  const before = log.epochEnd(lastEpoch - 1)
  const isWrong = before.epoch >= 0 && before.endOffset >= fetchOffset && fetchOffset > log.compactor.sparseBelow
  return isWrong ? { epoch: before.epoch, endOffset: before.endOffset } : undefined
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
