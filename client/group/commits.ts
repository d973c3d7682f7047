/**
 * Tells the coordinator how far the group has come. One request is under way at a time; what is asked for meanwhile goes with the next one, so that
 * committing after every record costs no more than the coordinator can bear. A repetition changes nothing, so that a request may be sent again.
 */
import { fromErrorDetail } from '../../protocol/error-wire.ts'
import { type ErrorCode, TidemarkError } from '../../protocol/errors.ts'
import type { CommitOffsetsRequest } from '../../protocol/gen/tidemark/v1/groups.ts'
import { createDeferred, type Deferred } from '../../runtime/deferred.ts'
import type { Clock } from '../../runtime/runtime.ts'
import type { GroupCalls } from '../group-calls.ts'
import type { Assigned } from './assigned.ts'

/** As many as the node takes. */
const PARTITIONS_PER_REQUEST_MAX = 10_000

/** They say that the member knows less than the coordinator. */
const FENCED: ReadonlySet<ErrorCode> = new Set([
  'STALE_MEMBER_EPOCH',
  'UNKNOWN_MEMBER_ID',
  'FENCED_INSTANCE_ID',
  'UNKNOWN_TOPIC_ID',
  'UNKNOWN_TOPIC',
])

export interface CommitWish {
  readonly offset: number
  /** -1: not known. */
  readonly leaderEpoch: number
  readonly metadata: string
  /** The offset may go back. */
  readonly mayGoBack: boolean
}

interface Wanted extends CommitWish {
  readonly assigned: Assigned
  readonly done: Deferred<void>
}

export interface CommitsParts {
  readonly calls: GroupCalls
  readonly clock: Clock
  readonly memberId: string
  readonly instanceId: string
  /** A commit was refused because the member knows too little. */
  readonly fenced: () => void
}

export class Commits {
  readonly #parts: CommitsParts
  readonly #wanted = new Map<Assigned, Wanted>()
  #sending: Promise<void> | undefined
  /** Since when none got through, monotonic; undefined while they do. */
  failingSinceMs: number | undefined

  constructor(parts: CommitsParts) {
    this.#parts = parts
  }

  /** Resolves when the offset is committed. Rejects with `STALE_MEMBER_EPOCH` when the partition is not the member's, and with what the coordinator refuses. */
  request(assigned: Assigned, wish: CommitWish): Promise<void> {
    if (assigned.state === 'over') return Promise.reject(refusal(assigned))
    const present = this.#wanted.get(assigned)
    assigned.requested = wish.mayGoBack ? wish.offset : Math.max(assigned.requested, wish.offset)
    if (present !== undefined && wish.offset < present.offset && !wish.mayGoBack) return present.done.promise
    const done = present?.done ?? createDeferred<void>()
    if (present === undefined) done.promise.catch(() => {})
    this.#wanted.set(assigned, { ...wish, mayGoBack: wish.mayGoBack || (present?.mayGoBack ?? false), assigned, done })
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined
    })
    return done.promise
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    while (this.#sending !== undefined) await this.#sending
  }

  async #send(): Promise<void> {
    // What is asked for in the same turn goes together.
    await Promise.resolve()
    while (this.#wanted.size > 0) {
      const mayGoBack = [...this.#wanted.values()].some((wanted) => wanted.mayGoBack)
      const batch = [...this.#wanted.values()].filter((wanted) => wanted.mayGoBack === mayGoBack).slice(0, PARTITIONS_PER_REQUEST_MAX)
      for (const { assigned } of batch) this.#wanted.delete(assigned)
      await this.#sendBatch(batch, mayGoBack)
    }
  }

  async #sendBatch(batch: readonly Wanted[], mayGoBack: boolean): Promise<void> {
    const { calls, clock, fenced } = this.#parts
    const live = batch.filter((wanted) => wanted.assigned.state !== 'over')
    for (const { assigned, done } of batch) if (assigned.state === 'over') done.reject(refusal(assigned))
    if (live.length === 0) return
    try {
      const { partitions } = await calls.call('commitOffsets', this.#requestOf(live, mayGoBack))
      this.failingSinceMs = undefined
      for (const [index, wanted] of live.entries())
        this.#settle(wanted, partitions[index]?.error && fromErrorDetail(partitions[index].error))
    } catch (caught) {
      const error = TidemarkError.from(caught)
      this.failingSinceMs ??= clock.monotonic()
      if (FENCED.has(error.code)) fenced()
      for (const { assigned, done } of live) {
        assigned.requested = assigned.committed
        done.reject(error)
      }
    }
  }

  #requestOf(wanted: readonly Wanted[], rewind: boolean): CommitOffsetsRequest {
    const { calls, memberId, instanceId } = this.#parts
    return {
      group: calls.group,
      memberId,
      instanceId,
      rewind,
      partitions: wanted.map(({ assigned, offset, leaderEpoch, metadata }) => ({
        topic: assigned.topic,
        topicId: assigned.topicId,
        partition: assigned.partition,
        assignedEpoch: assigned.epoch,
        offset,
        leaderEpochPlusOne: leaderEpoch + 1,
        metadata,
      })),
    }
  }

  #settle({ assigned, offset, mayGoBack, done }: Wanted, error: TidemarkError | undefined): void {
    if (error === undefined) {
      assigned.committed = mayGoBack ? offset : Math.max(assigned.committed, offset)
      done.resolve()
      return
    }
    assigned.requested = assigned.committed
    if (FENCED.has(error.code)) this.#parts.fenced()
    done.reject(error)
  }
}

/** Whether the member lost the partition, or its place: it is told so by the coordinator as well. */
export function isFencing(error: TidemarkError): boolean {
  return FENCED.has(error.code)
}

function refusal({ topic, partition }: Assigned): TidemarkError {
  return new TidemarkError('STALE_MEMBER_EPOCH', `${topic}-${partition} is not this member's any more`)
}
