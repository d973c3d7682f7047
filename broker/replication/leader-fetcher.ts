/**
 * Pulls the records of every partition that this node follows on one leader.
 *
 * One fetch is under way, a long poll over all of them; the next goes out as soon as its answer is written to the logs, so that
 * what it says this node has does not die with the process. Making it durable takes longer, and the leader's acknowledgements wait
 * for it: so a flush that ends while a fetch is parked is reported at once, by a request of its own that asks for nothing.
 */
import { splitBatches } from '../../protocol/batch-reader.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { ReplicaFetchRequest, ReplicaFetchResponse, ReplicaFetchResult } from '../../protocol/gen/tidemark/v1/replica.ts'
import type { Timer } from '../../runtime/runtime.ts'
import type { Partition } from '../partition.ts'
import type { ReplicaStream } from './channel.ts'
import { type Followed, type FollowerNode, isWritten, keyOf } from './followed.ts'
import { nextFetch, stepFor } from './follower-rules.ts'

const WAIT_MS = 500
const ANSWER_BYTES = 8 * 1024 * 1024
const PARTITION_BYTES = 2 * 1024 * 1024

/** After an answer that says "not now", and after a stream broke; longer by chance. */
const RETRY_MS = 50
const RETRY_MAX_MS = 1000

/** An answer that does not come in this time never will: the leader hangs, or the network swallows everything. */
const SILENCE_MAX_MS = 5000

export class LeaderFetcher {
  readonly #leaderId: number
  readonly #node: FollowerNode
  /** In the order in which they are asked for: those that got something last are at the end. */
  readonly #followed = new Map<Partition, Followed>()
  readonly #byKey = new Map<string, Followed>()
  readonly #unreported = new Set<Followed>()
  #stream: ReplicaStream | undefined
  #retryMs = RETRY_MS
  #retry: Timer | undefined
  #silence: Timer | undefined
  #correlationId = 0
  /** Of the fetch under way, and where each log ended when it was asked. */
  #fetch: { readonly correlationId: number; readonly asked: ReadonlyMap<Partition, number> } | undefined
  /** Of the report under way. */
  #reportId: number | undefined
  #isRestartDue = false
  #isClosed = false

  constructor(leaderId: number, node: FollowerNode) {
    this.#leaderId = leaderId
    this.#node = node
  }

  get isIdle(): boolean {
    return this.#followed.size === 0
  }

  /** Begins to follow, or has another look at a partition whose metadata changed. */
  follow(partition: Partition): void {
    const { leaderEpoch } = partition
    const known = this.#followed.get(partition)
    if (known?.leaderEpoch === leaderEpoch) {
      known.retryAtMs = 0
      this.#fetchNext()
      return
    }
    const followed = known ?? { partition, leaderEpoch, retryAtMs: 0, isSuspect: false, isDamageSaid: false, reportedOffset: -1 }
    followed.leaderEpoch = leaderEpoch
    followed.isSuspect = false
    followed.isDamageSaid = false
    followed.retryAtMs = 0
    this.#followed.set(partition, followed)
    this.#byKey.set(keyOf(partition), followed)
    this.#restart()
  }

  unfollow(partition: Partition): void {
    const known = this.#followed.get(partition)
    if (known === undefined) return
    this.#followed.delete(partition)
    this.#byKey.delete(keyOf(partition))
    this.#unreported.delete(known)
    // The others may have waited for what it still had to write.
    this.#node.runtime.timers.nextTurn(() => this.#fetchNext())
  }

  /** The log of a partition has written or flushed something. */
  progressed(partition: Partition): void {
    const known = this.#followed.get(partition)
    if (known === undefined || partition.isChanging) return
    if (partition.log.flushedOffset > known.reportedOffset) this.#unreported.add(known)
    if (this.#fetch === undefined) this.#fetchNext()
    else this.#report()
  }

  close(): void {
    this.#isClosed = true
    this.#followed.clear()
    this.#byKey.clear()
    this.#retry?.cancel()
    this.#silence?.cancel()
    this.#stream?.close()
    this.#stream = undefined
  }

  /** A fetch that is parked without a partition would keep it waiting: it is given up for a new one, once for all that changes in this turn. */
  #restart(): void {
    if (this.#isRestartDue) return
    this.#isRestartDue = true
    this.#node.runtime.timers.nextTurn(() => {
      this.#isRestartDue = false
      // Its answer, should it come, is not looked at any more.
      this.#fetch = undefined
      this.#fetchNext()
    })
  }

  #fetchNext(): void {
    if (this.#isClosed || this.#fetch !== undefined || this.#followed.size === 0) return
    const now = this.#node.runtime.clock.monotonic()
    const present = [...this.#followed.values()].filter(({ partition }) => !partition.isChanging)
    // Comes again as soon as it is.
    if (!present.every(isWritten)) return
    const ready = present.filter(({ retryAtMs }) => retryAtMs <= now)
    if (ready.length === 0) {
      this.#fetchLater(RETRY_MS)
      return
    }
    const stream = this.#openStream()
    const correlationId = ++this.#correlationId
    this.#fetch = { correlationId, asked: new Map(ready.map(({ partition }) => [partition, partition.log.logEndOffset])) }
    stream.send(this.#requestOf(correlationId, ready, { maxWaitMs: WAIT_MS, maxBytes: ANSWER_BYTES }))
    this.#silence?.cancel()
    this.#silence = this.#node.runtime.timers.after(SILENCE_MAX_MS, () =>
      this.#broken(new TidemarkError('REQUEST_TIMED_OUT', `node ${this.#leaderId} does not answer`)),
    )
  }

  #report(): void {
    if (this.#reportId !== undefined || this.#stream === undefined || this.#unreported.size === 0) return
    const now = this.#node.runtime.clock.monotonic()
    const news = [...this.#unreported].filter((one) => !one.partition.isChanging && one.retryAtMs <= now && isWritten(one))
    if (news.length === 0) return
    this.#reportId = ++this.#correlationId
    this.#stream.send(this.#requestOf(this.#reportId, news, { maxWaitMs: 0, maxBytes: 0 }))
  }

  #requestOf(correlationId: number, followed: readonly Followed[], limits: { maxWaitMs: number; maxBytes: number }): ReplicaFetchRequest {
    const { nodeId, clusterId, nodeEpoch } = this.#node
    const partitions = followed.map((one) => {
      const { topicId, partition, leaderEpoch, log } = one.partition
      one.reportedOffset = log.flushedOffset
      this.#unreported.delete(one)
      return nextFetch(log, { topicId, partition, leaderEpoch, suspect: one.isSuspect }, PARTITION_BYTES)
    })
    return { correlationId, clusterId: clusterId(), nodeId, nodeEpoch: nodeEpoch(), minBytes: 1, ...limits, partitions }
  }

  #openStream(): ReplicaStream {
    if (this.#stream !== undefined) return this.#stream
    const stream: ReplicaStream = this.#node.channel.open(this.#leaderId, {
      answered: (response) => {
        if (this.#stream === stream) this.#answered(response)
      },
      broken: (error) => {
        if (this.#stream === stream) this.#broken(error)
      },
    })
    this.#stream = stream
    return stream
  }

  #answered(response: ReplicaFetchResponse): void {
    this.#retryMs = RETRY_MS
    if (response.correlationId === this.#reportId) {
      this.#reportId = undefined
      this.#take(response, undefined)
      this.#report()
      return
    }
    if (response.correlationId !== this.#fetch?.correlationId) return
    const { asked } = this.#fetch
    this.#fetch = undefined
    this.#silence?.cancel()
    this.#take(response, asked)
    if (response.error === undefined) this.#fetchNext()
    else this.#fetchLater(this.#backoff())
  }

  /** `asked`: undefined for a report, whose answer has no records. */
  #take({ error, partitions }: ReplicaFetchResponse, asked: ReadonlyMap<Partition, number> | undefined): void {
    if (error !== undefined)
      this.#node.runtime.log.debug('replica.refused', { leaderId: this.#leaderId, code: error.code, message: error.message })
    for (const result of partitions) {
      const followed = this.#byKey.get(keyOf(result))
      if (followed === undefined || followed.partition.isChanging || followed.leaderEpoch !== followed.partition.leaderEpoch) continue
      try {
        this.#takeOne(followed, result, asked?.get(followed.partition))
      } catch (caught) {
        this.#postpone(followed, TidemarkError.from(caught))
      }
    }
  }

  #takeOne(followed: Followed, result: ReplicaFetchResult, asked: number | undefined): void {
    const { partition } = followed
    const { log } = partition
    if (asked === undefined) {
      if (result.error === undefined && result.diverging === undefined) partition.told(result.highWatermark, result.replicatedBelow)
      return
    }
    const step = stepFor(log, asked, result)
    switch (step.kind) {
      case 'append':
        followed.isSuspect = true
        for (const batch of splitBatches(step.batches)) log.appendAsFollower(batch, followed.leaderEpoch, result.sparseBelow)
        followed.isSuspect = false
        // The others first, next time: an answer may be full before it comes to the last.
        this.#followed.delete(partition)
        this.#followed.set(partition, followed)
        break
      case 'truncate':
        this.#node.runtime.log.info('replica.truncated', {
          topic: partition.topic,
          partition: partition.partition,
          from: log.logEndOffset,
          to: step.offset,
        })
        this.#change(followed, this.#node.truncate(partition, step.offset))
        return
      case 'reset':
        this.#node.runtime.log.warn('replica.begun-anew', { topic: partition.topic, partition: partition.partition, at: step.offset })
        this.#change(followed, this.#node.reset(partition, step.offset))
        return
      case 'wait':
        this.#postpone(followed, step.error)
        return
      case 'nothing':
        break
    }
    partition.told(result.highWatermark, result.replicatedBelow)
    if (result.logStartOffset > log.logStartOffset && result.logStartOffset <= log.flushedOffset)
      log.deleteRecordsBefore(result.logStartOffset).catch((error: unknown) => this.#postpone(followed, TidemarkError.from(error)))
  }

  #change(followed: Followed, change: Promise<void>): void {
    // Whoever follows the partition when it is over goes on: by then it may be another fetcher.
    change.catch((error: unknown) => this.#postpone(followed, TidemarkError.from(error)))
  }

  #postpone(followed: Followed, error: TidemarkError): void {
    const { runtime } = this.#node
    followed.retryAtMs = runtime.clock.monotonic() + RETRY_MS * (1 + runtime.random.float())
    const { topic, partition } = followed.partition
    // Damage may not go away by itself: a person has to hear of it, once.
    const isDamage = error.code === 'CORRUPT_BATCH' || error.code === 'CORRUPT_LOG'
    const level = isDamage && !followed.isDamageSaid ? 'error' : 'debug'
    followed.isDamageSaid ||= isDamage
    runtime.log[level]('replica.postponed', { topic, partition, leaderId: this.#leaderId, code: error.code, error: error.message })
    this.#fetchLater(2 * RETRY_MS)
  }

  #broken(error: Error): void {
    this.#node.runtime.log.debug('replica.stream-broken', { leaderId: this.#leaderId, error })
    this.#stream?.close()
    this.#stream = undefined
    this.#fetch = undefined
    this.#reportId = undefined
    this.#silence?.cancel()
    this.#fetchLater(this.#backoff())
  }

  #backoff(): number {
    const delay = this.#retryMs * (0.5 + this.#node.runtime.random.float())
    this.#retryMs = Math.min(RETRY_MAX_MS, this.#retryMs * 2)
    return delay
  }

  #fetchLater(delayMs: number): void {
    if (this.#isClosed) return
    this.#retry?.cancel()
    this.#retry = this.#node.runtime.timers.after(delayMs, () => this.#fetchNext())
  }
}
