/**
 * Committed batches on their way to whoever follows the log, with a memory of the newest: who begins further back gets a
 * snapshot first.
 */
import type { MetadataBatch, MetadataSnapshot } from '../protocol/gen/tidemark/v1/metadata.ts'
import { invariant } from '../runtime/invariant.ts'
import type { LogFollower, Unfollow } from './metadata-log.ts'

export class Delivery {
  readonly #followers = new Set<LogFollower>()
  /** What stands for the batches before the first kept. */
  #snapshot: () => MetadataSnapshot
  #snapshotVersion = 0
  #batches: MetadataBatch[] = []
  /** Offset of the first of `#batches`; not above `#snapshotVersion`. */
  #start = 0

  constructor() {
    this.#snapshot = () => ({ version: 0, records: [] })
  }

  /** Offset of the next batch. */
  get nextOffset(): number {
    return this.#start + this.#batches.length
  }

  /** Number of batches that the newest snapshot stands for. */
  get snapshotVersion(): number {
    return this.#snapshotVersion
  }

  /** `fromOffset` and all behind it is there. */
  reaches(fromOffset: number): boolean {
    return fromOffset >= this.#start && fromOffset <= this.nextOffset
  }

  follow(fromOffset: number, { apply, load, takeSnapshot }: LogFollower): Unfollow {
    // An object of our own, so that the same follower may follow twice.
    const follower: LogFollower = takeSnapshot === undefined ? { apply, load } : { apply, load, takeSnapshot }
    let next = fromOffset
    if (!this.reaches(next)) {
      follower.load(this.#snapshot())
      next = this.#snapshotVersion
    }
    for (const [index, batch] of this.#batches.slice(next - this.#start).entries()) follower.apply(next + index, batch)
    this.#followers.add(follower)
    return () => this.#followers.delete(follower)
  }

  /** Batches from `fromOffset` on, at most `maxCount`. */
  batchesFrom(fromOffset: number, maxCount: number): readonly MetadataBatch[] {
    invariant(this.reaches(fromOffset), 'who asks for batches asks for what is there')
    return this.#batches.slice(fromOffset - this.#start, fromOffset - this.#start + maxCount)
  }

  snapshot(): MetadataSnapshot {
    return this.#snapshot()
  }

  /** Gives the next batch to all followers; returns its offset. */
  deliver(batch: MetadataBatch): number {
    const offset = this.nextOffset
    // Before it is added: who begins to follow during the delivery gets it as history.
    const followers = [...this.#followers]
    this.#batches.push(batch)
    for (const follower of followers) {
      if (this.#followers.has(follower)) follower.apply(offset, batch)
    }
    return offset
  }

  /** All followers start anew from what another node knows. */
  replace(version: number, snapshot: () => MetadataSnapshot): void {
    this.#batches = []
    this.#start = version
    this.#snapshotVersion = version
    this.#snapshot = snapshot
    for (const follower of [...this.#followers]) follower.load(snapshot())
  }

  /** What the followers have amounts to this; undefined when none of them can say. */
  takeSnapshot(): MetadataSnapshot | undefined {
    for (const { takeSnapshot } of this.#followers) if (takeSnapshot !== undefined) return takeSnapshot()
    return undefined
  }

  /** There is a snapshot of everything so far: batches but for the `kept` newest, for nodes that are a little behind, are not needed any more. */
  compact(version: number, snapshot: () => MetadataSnapshot, kept: number): void {
    this.#snapshot = snapshot
    this.#snapshotVersion = version
    const gone = Math.max(0, version - kept - this.#start)
    this.#batches = this.#batches.slice(gone)
    this.#start += gone
  }

  clear(): void {
    this.#followers.clear()
  }
}
