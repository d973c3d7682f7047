/**
 * The seat of consensus: an agreed sequence of metadata batches.
 *
 * Whoever sits here decides what is committed: `raft-log.ts`, a quorum of one or more controllers. A batch's offset is
 * the number of batches before it, the same on every node.
 */
import type { TidemarkError } from '../protocol/errors.ts'
import type { AlterQuorumRequest, DescribeQuorumResponse } from '../protocol/gen/tidemark/v1/cluster.ts'
import type { MetadataBatch, MetadataSnapshot } from '../protocol/gen/tidemark/v1/metadata.ts'

/** Who follows the log. Neither call may throw: a node that cannot apply what is committed disagrees with the others, and its log fails. */
export interface LogFollower {
  /** The next batch. */
  apply(offset: number, batch: MetadataBatch): void
  /** Everything so far is replaced by what all batches below `snapshot.version` amount to; that offset comes next. */
  load(snapshot: MetadataSnapshot): void
  /** What it has applied amounts to; for whoever can say. */
  takeSnapshot?(): MetadataSnapshot
}

/** Stops the deliveries; calling it twice does nothing. */
export type Unfollow = () => void

/** Who may propose. */
export interface Leadership {
  /** The node that leads the quorum, as this one knows; -1: none, or not known. */
  readonly leaderId: number
  /** Grows with every election. */
  readonly epoch: number
  /** This node leads, and everything that earlier leaders committed has been delivered to its followers. */
  readonly isActive: boolean
}

export interface MetadataLog {
  /**
   * Proposes a batch. Resolves with its offset once it is committed and was delivered to every follower of this
   * log object; batches commit in the order they were proposed. Rejects with `NOT_CONTROLLER` when this node may not
   * propose or was deposed meanwhile, `LIMIT_EXCEEDED` when the batch is too large, `BUSY` when too many wait, `SHUTTING_DOWN` after `close`, and with
   * `STORAGE_FAILED` when the log can no longer tell what is committed; the error's `outcome` then says
   * whether this batch may yet turn out to be.
   */
  propose(batch: MetadataBatch): Promise<number>
  /**
   * Delivers what is committed, in order, each once, without gaps: first what there is from `fromOffset` on, before it
   * returns (a snapshot first, when the log does not reach back so far), then each batch as it commits.
   */
  follow(fromOffset: number, follower: LogFollower): Unfollow
  /** Offset of the last batch known to be committed; -1 while there is none. */
  readonly committedOffset: number
  readonly leadership: Leadership
  /** Calls `listener` after each change of `leadership`, with what it is now. */
  onLeadership(listener: (leadership: Leadership) => void): Unfollow
  /** What is thrown at whoever asks this node for what only the active controller may do: with its address, when it is known. */
  notController(): TidemarkError
  /**
   * Resolves once everything that was committed anywhere before the call has been delivered here. Rejects with
   * `NOT_CONTROLLER` when this node does not lead or cannot make sure that it still does.
   */
  readBarrier(): Promise<void>
  /** Who is in the quorum, as this node knows. */
  describeQuorum(): DescribeQuorumResponse
  /** Adds or removes a member; resolves when that is committed. Rejects as `propose` does, and with `BUSY` while a new member has to catch up. */
  alterQuorum(request: AlterQuorumRequest): Promise<void>
  /** Resolves, with the reason, when the log can no longer do its work. Never rejects. */
  readonly failed: Promise<Error>
  /** Refuses new proposals, settles those in hand, releases the store. May be called more than once. */
  close(): Promise<void>
}
