/** A partition from the moment it is given to this member until nothing of it is in hand any more. */
import { createDeferred, type Deferred } from '../../runtime/deferred.ts'
import type { PartitionFetch } from '../consumer/partition-fetch.ts'
import type { AssignedPartition } from './types.ts'
import { type Piece, Watermark } from './watermark.ts'

/** The id of a topic in URL-safe base64, a slash, the number of a partition. */
export type PartitionKey = string

/** What the coordinator gave. */
export interface Given {
  readonly key: PartitionKey
  readonly topic: string
  readonly topicId: Buffer
  readonly partition: number
  readonly epoch: number
}

/** A piece of work on a partition. In hand: from `begin` to `end`. */
export interface Work extends Piece {
  readonly assigned: Assigned
  readonly watermark: Watermark
  /** When it was begun, monotonic; undefined: not yet. */
  beganMs: number | undefined
  isOver: boolean
}

export class Assigned implements Given {
  readonly key: PartitionKey
  readonly topic: string
  readonly topicId: Buffer
  readonly partition: number
  readonly epoch: number
  /** `starting`: its position is not known yet. `releasing`: nothing new is begun, commits count. `over`: commits are refused. */
  state: 'starting' | 'reading' | 'releasing' | 'over' = 'starting'
  fetch: PartitionFetch | undefined
  watermark: Watermark = new Watermark(0)
  /** The application's own word, where it commits itself: nothing at or above is committed. */
  mark = 0
  /** What was last asked to be committed, and what is known to be. */
  requested = -1
  committed = -1
  readonly #abort = new AbortController()
  #inHandCount = 0
  #handsEmpty: Deferred<void> | undefined

  constructor({ key, topic, topicId, partition, epoch }: Given) {
    this.key = key
    this.topic = topic
    this.topicId = topicId
    this.partition = partition
    this.epoch = epoch
  }

  /** Aborts when the results of work in hand count no more. */
  get signal(): AbortSignal {
    return this.#abort.signal
  }

  get place(): AssignedPartition {
    return { topic: this.topic, partition: this.partition, epoch: this.epoch }
  }

  abort(reason: unknown): void {
    this.#abort.abort(reason)
  }

  /** Reading begins, or begins anew, at `offset`. */
  startAt(offset: number): void {
    this.watermark = new Watermark(offset)
    this.mark = offset
  }

  plan(nextOffset: number, leaderEpoch: number): Work {
    const { watermark } = this
    const work: Work = { assigned: this, watermark, nextOffset, leaderEpoch, isFinished: false, beganMs: undefined, isOver: false }
    watermark.add(work)
    return work
  }

  took(): void {
    this.#inHandCount++
  }

  putDown(): void {
    if (--this.#inHandCount > 0) return
    this.#handsEmpty?.resolve()
    this.#handsEmpty = undefined
  }

  get isInHand(): boolean {
    return this.#inHandCount > 0
  }

  /** Resolves when nothing of it is in hand. */
  handsEmpty(): Promise<void> {
    if (this.#inHandCount === 0) return Promise.resolve()
    this.#handsEmpty ??= createDeferred<void>()
    return this.#handsEmpty.promise
  }
}
