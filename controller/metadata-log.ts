/**
 * The seat of consensus: an agreed sequence of metadata batches.
 *
 * Whoever sits here decides what is committed. Today a quorum of one (`single-voter-log.ts`); the
 * Raft quorum has the same face.
 */
import type { MetadataBatch } from '../protocol/gen/tidemark/v1/metadata.ts'

export type ApplyBatch = (offset: number, batch: MetadataBatch) => void

export interface MetadataLog {
  /**
   * Proposes a batch. Resolves with its offset once it is committed and was delivered to every follower of this
   * log object; batches commit in the order they were proposed. Rejects with `NOT_CONTROLLER` when this node may not
   * propose, with `STORAGE_FAILED` when it can no longer tell what is committed.
   */
  propose(batch: MetadataBatch): Promise<number>
  /** Delivers every committed batch from `fromOffset` on, in order, without gaps: first those there are, before it returns, then each as it commits. Returns how to stop. */
  follow(fromOffset: number, apply: ApplyBatch): () => void
  /** Resolves, with the reason, when the log can no longer do its work. */
  readonly failed: Promise<Error>
  close(): Promise<void>
}
