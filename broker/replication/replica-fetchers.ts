/** The fetchers of a node, one per leader it follows somewhere. */
import type { Partition } from '../partition.ts'
import type { FollowerNode } from './followed.ts'
import { LeaderFetcher } from './leader-fetcher.ts'

export class ReplicaFetchers {
  readonly #node: FollowerNode
  readonly #fetchers = new Map<number, LeaderFetcher>()
  readonly #leaders = new Map<Partition, number>()

  constructor(node: FollowerNode) {
    this.#node = node
  }

  /** The partition was opened, or its metadata changed: follows who leads it now. */
  review(partition: Partition): void {
    const { leader } = partition.metadata
    const isFollowed = leader >= 0 && leader !== this.#node.nodeId && !partition.isRetired
    const before = this.#leaders.get(partition)
    if (before !== undefined && (!isFollowed || before !== leader)) this.forget(partition)
    if (!isFollowed) return
    this.#leaders.set(partition, leader)
    let fetcher = this.#fetchers.get(leader)
    if (fetcher === undefined) {
      fetcher = new LeaderFetcher(leader, this.#node)
      this.#fetchers.set(leader, fetcher)
    }
    fetcher.follow(partition)
  }

  forget(partition: Partition): void {
    const leader = this.#leaders.get(partition)
    if (leader === undefined) return
    this.#leaders.delete(partition)
    const fetcher = this.#fetchers.get(leader)
    fetcher?.unfollow(partition)
    if (fetcher?.isIdle !== true) return
    fetcher.close()
    this.#fetchers.delete(leader)
  }

  /** The log of a followed partition has written or flushed something. */
  progressed(partition: Partition): void {
    const leader = this.#leaders.get(partition)
    if (leader !== undefined) this.#fetchers.get(leader)?.progressed(partition)
  }

  close(): void {
    for (const fetcher of this.#fetchers.values()) fetcher.close()
    this.#fetchers.clear()
    this.#leaders.clear()
  }
}
