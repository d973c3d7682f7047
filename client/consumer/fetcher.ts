/**
 * Keeps batches coming: long polls to every leader, many in flight, within a byte budget.
 *
 * A partition is in at most one request at a time. Partitions that become free in the same turn share a
 * request; one that is free while another's request is parked gets a request of its own, so that
 * an idle partition never holds up a busy one. A partition is asked again as soon as its answer
 * is in and the budget allows, while the application still works on that answer.
 */
import { readBaseOffset, readLastOffset, readLeaderEpoch } from '../../protocol/batch-header.ts'
import { splitBatches } from '../../protocol/batch-reader.ts'
import { fromErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { PartitionFetchResultMessage } from '../../protocol/log-codec.ts'
import type { Timer } from '../../runtime/runtime.ts'
import type { ClusterClient } from '../cluster-client.ts'
import { backoffMs } from '../retry.ts'
import { type FetchSettings, NodeFetch } from './node-fetch.ts'
import type { Asked, FetchedBatch, PartitionFetch } from './partition-fetch.ts'

/** What the fetcher tells its consumer. */
export interface FetcherEvents {
  /** Something came, or a high watermark moved. */
  arrived(): void
  /** The position of a partition is gone from the log. */
  outOfRange(partition: PartitionFetch, error: TidemarkError): void
  /** A partition cannot be read. */
  failed(partition: PartitionFetch, error: TidemarkError): void
}

export class Fetcher {
  readonly #client: ClusterClient
  readonly #settings: FetchSettings
  readonly #events: FetcherEvents
  readonly #partitions = new Set<PartitionFetch>()
  readonly #nodes = new Map<string, NodeFetch>()
  readonly #timers = new Set<Timer>()
  #bufferedBytes = 0
  #isDue = false
  #isClosed = false

  constructor(client: ClusterClient, settings: FetchSettings, events: FetcherEvents) {
    this.#client = client
    this.#settings = settings
    this.#events = events
  }

  add(partition: PartitionFetch): void {
    this.#partitions.add(partition)
    this.schedule()
  }

  /** It is not read any more: what was asked for it, and what comes of that, is dropped. */
  remove(partition: PartitionFetch): void {
    this.#partitions.delete(partition)
    this.#bufferedBytes -= partition.seek(partition.fetchOffset, this.#client.runtime.clock.monotonic())
    this.schedule()
  }

  /** The application took the oldest batch of a partition. */
  took(batch: FetchedBatch, partition: PartitionFetch): void {
    partition.bufferedBytes -= batch.buffer.length
    this.#bufferedBytes -= batch.buffer.length
    this.schedule()
  }

  seek(partition: PartitionFetch, offset: number): void {
    this.#bufferedBytes -= partition.seek(offset, this.#client.runtime.clock.monotonic())
    this.schedule()
  }

  /**
   * What came from `offset` on is damaged: it is asked for once more. The bytes may have changed on the way, and if it is the leader's disk
   * another one will lead. Throws what is no damage, and what comes damaged again.
   */
  askAgain(partition: PartitionFetch, generation: number, offset: number, error: unknown): [] {
    if (generation !== partition.generation) return []
    if (partition.isSuspect || !TidemarkError.is(error) || error.code !== 'CORRUPT_BATCH') throw error
    this.seek(partition, offset)
    partition.isSuspect = true
    return []
  }

  /** Asks for whatever may be asked for, once this turn's changes are all made. */
  schedule(): void {
    if (this.#isDue || this.#isClosed) return
    this.#isDue = true
    queueMicrotask(() => {
      this.#isDue = false
      if (!this.#isClosed) this.#ask()
    })
  }

  /** Leaders are known anew: what is asked of a node that no longer leads is asked of the one that does. */
  followLeaders(): void {
    for (const partition of this.#partitions) {
      const address = this.#client.knownTopic(partition.topic)?.partitions[partition.partition]?.address
      if (address !== undefined && partition.asked !== undefined && partition.asked.address !== address) partition.asked = undefined
    }
    this.schedule()
  }

  close(): void {
    this.#isClosed = true
    for (const node of this.#nodes.values()) node.close()
    for (const timer of this.#timers) timer.cancel()
  }

  #ask(): void {
    const byNode = new Map<string, Asked[]>()
    const shareBytes = this.#settings.prefetchBytes / Math.max(1, this.#partitions.size)
    for (const partition of this.#partitions) {
      if (!this.#isAskable(partition, shareBytes)) continue
      const address = this.#client.knownTopic(partition.topic)?.partitions[partition.partition]?.address
      if (address === undefined) {
        this.#findLeader(partition)
        continue
      }
      const asked = { partition, address }
      partition.asked = asked
      const group = byNode.get(address)
      if (group === undefined) byNode.set(address, [asked])
      else group.push(asked)
    }
    for (const [address, asked] of byNode) this.#nodeOf(address).ask(asked)
  }

  #isAskable(partition: PartitionFetch, shareBytes: number): boolean {
    if (partition.asked !== undefined || partition.isPaused || partition.isWaiting || partition.fetchOffset >= partition.endOffset)
      return false
    // A partition with nothing read ahead is always asked, so that none starves beside full ones.
    return partition.bufferedBytes === 0 || (partition.bufferedBytes < shareBytes && this.#bufferedBytes < this.#settings.prefetchBytes)
  }

  #nodeOf(address: string): NodeFetch {
    let node = this.#nodes.get(address)
    if (node === undefined) {
      this.#closeIdle()
      node = new NodeFetch(this.#client, address, this.#settings, {
        answered: (asked, result) => this.#answered(asked, result),
        lost: (asked, error) => this.#failed(asked, error),
        done: () => {
          this.#events.arrived()
          this.schedule()
        },
      })
      this.#nodes.set(address, node)
    }
    return node
  }

  /** Nodes that were asked nothing for long lead nothing of ours. */
  #closeIdle(): void {
    const nowMs = this.#client.runtime.clock.monotonic()
    for (const [address, node] of this.#nodes) {
      if (!node.isIdle(nowMs)) continue
      node.close()
      this.#nodes.delete(address)
    }
  }

  #answered(asked: Asked, result: PartitionFetchResultMessage): void {
    const { partition } = asked
    if (partition.asked !== asked) return
    if (result.error !== undefined) {
      this.#failed(asked, fromErrorDetail(result.error))
      return
    }
    partition.asked = undefined
    partition.failureCount = 0
    partition.highWatermark = result.highWatermark
    // Nodes serve partitions in the order of the request: one that got something goes behind those that did not.
    if (result.batches.length > 0 && this.#partitions.delete(partition)) this.#partitions.add(partition)
    try {
      for (const joined of result.batches) for (const buffer of splitBatches(joined)) this.#keep(partition, buffer)
    } catch (error) {
      this.#fail(partition, TidemarkError.from(error))
    }
  }

  #fail(partition: PartitionFetch, error: TidemarkError): void {
    if (!this.#isClosed && this.#partitions.has(partition)) this.#events.failed(partition, error)
  }

  #keep(partition: PartitionFetch, buffer: Buffer): void {
    const lastOffset = readLastOffset(buffer)
    if (lastOffset < partition.fetchOffset) return
    if (readBaseOffset(buffer) >= partition.endOffset) {
      partition.passedEnd()
      return
    }
    partition.buffered.push({ buffer, from: partition.fetchOffset })
    partition.bufferedBytes += buffer.length
    this.#bufferedBytes += buffer.length
    partition.fetchOffset = lastOffset + 1
    partition.lastEpoch = readLeaderEpoch(buffer)
  }

  #failed(asked: Asked, error: TidemarkError): void {
    const { partition } = asked
    if (partition.asked !== asked || this.#isClosed) return
    partition.asked = undefined
    if (error.code === 'OFFSET_OUT_OF_RANGE') this.#events.outOfRange(partition, error)
    else if (error.code === 'UNKNOWN_TOPIC_ID') this.#checkTopic(asked, error)
    else if (error.retriable) this.#retryLater(partition, error)
    else this.#fail(partition, error)
  }

  /** The node does not know the topic by its id: it is gone, or the node has yet to hear of it. */
  #checkTopic({ partition }: Asked, error: TidemarkError): void {
    partition.isWaiting = true
    this.#client.refresh(partition.topic).then(
      (info) => {
        partition.isWaiting = false
        if (this.#isClosed) return
        if (partition.topicId?.equals(info.topicId) === true) this.#retryLater(partition, error)
        else this.#fail(partition, error)
      },
      (caught: unknown) => {
        partition.isWaiting = false
        this.#fail(partition, TidemarkError.from(caught))
      },
    )
  }

  #retryLater(partition: PartitionFetch, error: TidemarkError): void {
    if (error.code !== 'BUSY') this.#client.learnLeader(partition.topic, partition.partition, error)
    const { random, timers } = this.#client.runtime
    partition.isWaiting = true
    const timer = timers.after(backoffMs(++partition.failureCount, random, error.retryAfterMs), () => {
      this.#timers.delete(timer)
      partition.isWaiting = false
      this.schedule()
    })
    this.#timers.add(timer)
  }

  #findLeader(partition: PartitionFetch): void {
    partition.isWaiting = true
    this.#client.refresh(partition.topic).then(
      (info) => {
        partition.isWaiting = false
        if (info.partitions[partition.partition]?.address === undefined)
          this.#retryLater(partition, new TidemarkError('LEADER_NOT_AVAILABLE'))
        else this.schedule()
      },
      (caught: unknown) => {
        partition.isWaiting = false
        const error = TidemarkError.from(caught)
        if (this.#isClosed) return
        if (error.retriable) this.#retryLater(partition, error)
        else this.#fail(partition, error)
      },
    )
  }
}
