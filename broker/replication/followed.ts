/** What a fetcher knows of a partition it follows, and what it needs of its node. */
import type { Runtime } from '../../runtime/runtime.ts'
import type { Partition } from '../partition.ts'
import type { ReplicaChannel } from './channel.ts'

export interface FollowerNode {
  readonly nodeId: number
  readonly clusterId: () => string
  readonly nodeEpoch: () => number
  readonly runtime: Pick<Runtime, 'clock' | 'timers' | 'random' | 'log'>
  readonly channel: ReplicaChannel
  /** Cuts the log of a partition, or begins it anew. */
  truncate(partition: Partition, offset: number): Promise<void>
  reset(partition: Partition, offset: number): Promise<void>
}

export interface Followed {
  readonly partition: Partition
  /** In which it is followed. */
  leaderEpoch: number
  /** Monotonic; not asked for before. */
  retryAtMs: number
  /** What came last could not be appended: the leader is to look whether its disk is at fault. */
  isSuspect: boolean
  /** A person was told that what comes from the leader is damaged. */
  isDamageSaid: boolean
  /** What the leader was told last. */
  reportedOffset: number
}

/** What it has taken over is in its file. */
export function isWritten({ partition: { log } }: Followed): boolean {
  return log.writtenOffset === log.logEndOffset
}

export function keyOf({ topicId, partition }: { readonly topicId: string; readonly partition: number }): string {
  return `${topicId}-${partition}`
}
