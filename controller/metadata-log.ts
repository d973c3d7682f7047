/**
 * The seat of consensus: an agreed sequence of metadata batches.
 *
 * Whoever sits here decides what is committed. Today a quorum of one (`single-voter-log.ts`); the
 * Raft quorum has the same face.
 */
import type { MetadataBatch } from '../protocol/gen/tidemark/v1/metadata.ts'

/** Must not throw: a node that cannot apply what is committed disagrees with the others, and its log fails. */
export type ApplyBatch = (offset: number, batch: MetadataBatch) => void

/** Stops the deliveries; calling it twice does nothing. */
export type Unfollow = () => void

export interface MetadataLog {
  /**
   * Proposes a batch. Resolves with its offset once it is committed and was delivered to every follower of this
   * log object; batches commit in the order they were proposed. Rejects with `NOT_CONTROLLER` when this node may not
   * propose, `LIMIT_EXCEEDED` when the batch is too large, `BUSY` when too many wait, `SHUTTING_DOWN` after `close`, and with
   * `STORAGE_FAILED` when the log can no longer tell what is committed; the error's `outcome` then says
   * whether this batch may yet turn out to be.
   */
  propose(batch: MetadataBatch): Promise<number>
  /**
   * Delivers every committed batch from `fromOffset` on, in order, each once, without gaps: first those
   * there are, before it returns, then each as it commits.
   */
  follow(fromOffset: number, apply: ApplyBatch): Unfollow
  /** Offset of the last batch known to be committed; -1 while there is none. */
  readonly committedOffset: number
  /** Resolves, with the reason, when the log can no longer do its work. Never rejects. */
  readonly failed: Promise<Error>
  /** Refuses new proposals, settles those in hand, releases the store. May be called more than once. */
  close(): Promise<void>
}
