/**
 * What a follower asks and what it makes of the answer. Pure.
 *
 * The follower's log is made a prefix of the leader's by epochs alone: where the leader says that the logs part, the follower cuts off what
 * it has beyond, and asks again, until they agree. It never cuts because of a high watermark.
 */
import type { PartitionLog } from '../../log/partition-log.ts'
import { fromErrorDetail } from '../../protocol/error-wire.ts'
import type { TidemarkError } from '../../protocol/errors.ts'
import type { EpochEnd, ReplicaFetchPartition, ReplicaFetchResult } from '../../protocol/gen/tidemark/v1/replica.ts'

/** What is to be done with an answer. */
export type Step =
  | { readonly kind: 'append'; readonly batches: Buffer }
  | { readonly kind: 'truncate'; readonly offset: number }
  /** The leader has not what the follower would need: begin anew at its log start. */
  | { readonly kind: 'reset'; readonly offset: number }
  | { readonly kind: 'nothing' }
  /** Ask again later: the metadata of one of the two is behind, or the leader has trouble. */
  | { readonly kind: 'wait'; readonly error: TidemarkError }

/** The part of a log that the rules go by. */
export type FollowerLog = Pick<PartitionLog, 'logStartOffset' | 'logEndOffset' | 'flushedOffset' | 'leaderEpochs' | 'epochEnd'>

export function nextFetch(
  log: FollowerLog,
  partition: { readonly topicId: string; readonly partition: number; readonly leaderEpoch: number; readonly suspect: boolean },
  maxBytes: number,
): ReplicaFetchPartition {
  return {
    ...partition,
    fetchOffset: log.logEndOffset,
    lastFetchedEpochPlusOne: log.leaderEpochs.latest + 1,
    flushedOffset: log.flushedOffset,
    logStartOffset: log.logStartOffset,
    maxBytes,
  }
}

/** `asked`: the log end when the request was made; an answer to a question that is not the present one any more is of no use. */
export function stepFor(log: FollowerLog, asked: number, { error, diverging, batches, logStartOffset }: ReplicaFetchResult): Step {
  if (error !== undefined) {
    if (error.code !== 'OFFSET_OUT_OF_RANGE') return { kind: 'wait', error: fromErrorDetail(error) }
    // What the leader deleted cannot be had any more; and what it has not, nobody who counts has.
    return { kind: 'reset', offset: logStartOffset }
  }
  if (asked !== log.logEndOffset) return { kind: 'nothing' }
  if (diverging !== undefined) return truncationFor(log, diverging, logStartOffset)
  return batches.length === 0 ? { kind: 'nothing' } : { kind: 'append', batches }
}

function truncationFor(log: FollowerLog, leader: EpochEnd, leaderStart: number): Step {
  const own = log.epochEnd(leader.epoch)
  // The same epoch ended at the smaller of the two; of an epoch the leader has and we have not, everything later goes.
  const offset = own.epoch === leader.epoch ? Math.min(own.endOffset, leader.endOffset) : own.endOffset
  if (offset < log.logStartOffset || leader.epoch < 0) return { kind: 'reset', offset: leaderStart }
  // Nothing to cut: the logs agree as far as this one goes, and what differs is only what the epochs say.
  return offset >= log.logEndOffset ? { kind: 'nothing' } : { kind: 'truncate', offset }
}
