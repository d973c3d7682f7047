/**
 * Reading: a long poll over any number of partitions.
 *
 * Answers at once when enough bytes are there, when a partition has an error or when the
 * request does not want to wait; else parks until the commit that satisfies it and reads
 * again. Partitions are served in the order of the request. Whole batches only; the
 * first batch is returned even when it is larger than the limits, so that no record can block a consumer.
 */
import { TidemarkError } from '../../protocol/errors.ts'
import type { Broker } from '../broker.ts'
import type { Partition } from '../partition.ts'
import { givenUp, leadershipUnknown } from '../partition-refusals.ts'
import type { ParkedFetch } from '../purgatory.ts'
import type { ResponseMemory } from '../response-memory.ts'

/** Partitions in one request; a client with more sends several. */
export const FETCH_PARTITIONS_MAX = 10_000

export interface FetchPartition {
  readonly topic: string
  /** Undefined: the topic of that name, whichever it is. */
  readonly topicId: string | undefined
  readonly partition: number
  /** Undefined: not checked. */
  readonly leaderEpoch: number | undefined
  /** Of the batch read last, which ended just before `offset`. Undefined: not checked. */
  readonly lastEpoch: number | undefined
  readonly offset: number
  /** 0: no limit of its own. */
  readonly maxBytes: number
  /** What came from there before was damaged. */
  readonly isSuspect: boolean
}

export interface FetchRequest {
  readonly maxWaitMs: number
  readonly minBytes: number
  /** 0: the node's limit. */
  readonly maxBytes: number
  readonly partitions: readonly FetchPartition[]
}

export interface FetchResult {
  readonly topic: string
  readonly partition: number
  readonly error: TidemarkError | undefined
  readonly highWatermark: number
  readonly logStartOffset: number
  readonly batches: readonly Buffer[]
}

export interface FetchAnswer {
  readonly results: FetchResult[]
  /** Bytes of batches, which the caller's `ResponseMemory` holds until it releases them. */
  readonly bytes: number
}

/** A fetch under way. */
export interface PendingFetch {
  /** Forgets it: `done` is not called any more. */
  cancel(): void
}

/**
 * Starts a fetch; calls `done` once, perhaps before returning. The bytes of the answer are taken from `memory`; whoever
 * sends the answer releases them.
 */
export function fetch(broker: Broker, memory: ResponseMemory, request: FetchRequest, done: (answer: FetchAnswer) => void): PendingFetch {
  const operation = new FetchOperation(broker, memory, request, done)
  operation.start()
  return operation
}

class FetchOperation implements PendingFetch {
  readonly #broker: Broker
  readonly #memory: ResponseMemory
  readonly #request: FetchRequest
  readonly #done: (answer: FetchAnswer) => void
  readonly #deadlineMs: number
  readonly #maxBytes: number
  readonly #minBytes: number
  #parked: ParkedFetch | undefined
  #isOver = false

  constructor(broker: Broker, memory: ResponseMemory, request: FetchRequest, done: (answer: FetchAnswer) => void) {
    const { limits } = broker.config
    this.#broker = broker
    this.#memory = memory
    this.#request = request
    this.#done = done
    this.#maxBytes = Math.min(request.maxBytes || limits.fetchBytesMax, limits.fetchBytesMax)
    this.#minBytes = Math.min(Math.max(1, request.minBytes), this.#maxBytes)
    this.#deadlineMs = broker.runtime.clock.monotonic() + Math.min(request.maxWaitMs, limits.fetchMaxWaitMs)
  }

  start(): void {
    if (this.#request.partitions.length > FETCH_PARTITIONS_MAX) {
      this.#answerRefused(
        new TidemarkError(
          'LIMIT_EXCEEDED',
          `${this.#request.partitions.length} partitions in one fetch, at most ${FETCH_PARTITIONS_MAX} are allowed`,
        ),
      )
      return
    }
    this.#readWhenRoom()
  }

  cancel(): void {
    this.#isOver = true
    if (this.#parked !== undefined) this.#broker.purgatory.remove(this.#parked)
    this.#parked = undefined
  }

  #readWhenRoom(): void {
    this.#memory.whenRoom(() => {
      if (!this.#isOver) this.#read(0, [], 0)
    })
  }

  /** Reads the partitions from `first` on. Synchronous while the tail cache serves; goes on later when the disk has to be asked. */
  #read(first: number, results: FetchResult[], bytesBefore: number): void {
    const { partitions } = this.#request
    let bytes = bytesBefore
    for (let index = first; index < partitions.length; index++) {
      const entry = partitions[index] as FetchPartition
      const budgetBytes = Math.min(this.#maxBytes - bytes, entry.maxBytes || this.#maxBytes)
      const result = this.#readCached(entry, budgetBytes, bytes === 0)
      if (result === undefined) {
        void this.#readLate(entry, budgetBytes, bytes === 0).then((late) => this.#resume(index, late, results, bytes))
        return
      }
      results.push(result)
      bytes += bytesOf(result.batches)
    }
    this.#finish(results, bytes)
  }

  #resume(index: number, late: FetchResult, results: FetchResult[], bytesBefore: number): void {
    if (this.#isOver) return
    results.push(late)
    this.#read(index + 1, results, bytesBefore + bytesOf(late.batches))
  }

  /** Undefined when the disk has to be asked, or the controller. */
  #readCached(entry: FetchPartition, budgetBytes: number, isFirst: boolean): FetchResult | undefined {
    try {
      const partition = this.#broker.partitions.find(entry.topic, entry.partition, entry.topicId)
      partition.checkLeadership(entry.leaderEpoch)
      partition.checkWatermarkKnown()
      if (isBeyondEnd(partition, entry)) return undefined
      checkOffset(partition, entry.offset)
      checkContinues(partition, entry)
      if (entry.offset >= partition.highWatermark || (budgetBytes <= 0 && !isFirst)) return resultOf(partition, [])
      const batches = entry.isSuspect ? undefined : partition.log.readCached(entry.offset, budgetBytes, partition.highWatermark)
      return batches === undefined ? undefined : resultOf(partition, withinBudget(batches, budgetBytes, isFirst))
    } catch (error) {
      return failedResult(entry, TidemarkError.from(error))
    }
  }

  #readLate(entry: FetchPartition, budgetBytes: number, isFirst: boolean): Promise<FetchResult> {
    const partition = this.#broker.partitions.find(entry.topic, entry.partition, entry.topicId)
    return isBeyondEnd(partition, entry) ? this.#makeSureOfEnd(entry) : this.#readFromDisk(entry, budgetBytes, isFirst)
  }

  /** A leader that is cut off has not what its successor has committed. So it looks whether it still leads before it says that nothing can be there. */
  async #makeSureOfEnd(entry: FetchPartition): Promise<FetchResult> {
    try {
      const isPresent = await this.#broker.catchUp.present()
      const partition = this.#broker.partitions.find(entry.topic, entry.partition, entry.topicId)
      partition.checkLeadership(entry.leaderEpoch)
      partition.checkWatermarkKnown()
      if (!isPresent) throw leadershipUnknown(partition.name, this.#broker.config.nodeId)
      checkOffset(partition, entry.offset)
      return resultOf(partition, [])
    } catch (error) {
      return failedResult(entry, TidemarkError.from(error))
    }
  }

  async #readFromDisk(entry: FetchPartition, budgetBytes: number, isFirst: boolean): Promise<FetchResult> {
    // Room for the answer is held while the disk works, so that many cold reads at once stay within bounds.
    this.#memory.take(budgetBytes)
    try {
      const partition = this.#broker.partitions.find(entry.topic, entry.partition, entry.topicId)
      const batches = await partition.log.read(entry.offset, budgetBytes, partition.highWatermark, entry.isSuspect)
      this.#broker.counters.coldReadCount++
      return resultOf(partition, withinBudget(batches, budgetBytes, isFirst))
    } catch (caught) {
      const error = TidemarkError.from(caught)
      const isGivenUp = error.code === 'CORRUPT_LOG' && this.#broker.damage()?.isGivenUp(entry) === true
      return failedResult(entry, isGivenUp ? givenUp(`${entry.topic}-${entry.partition}`) : error)
    } finally {
      this.#memory.release(budgetBytes)
    }
  }

  #finish(results: FetchResult[], bytes: number): void {
    const isDue = bytes >= this.#minBytes || results.length === 0 || results.some((result) => result.error !== undefined)
    if (isDue || this.#broker.runtime.clock.monotonic() >= this.#deadlineMs || this.#broker.isStopping) {
      this.#answer(results, bytes)
      return
    }
    try {
      const places = this.#request.partitions.map((entry) => this.#broker.partitions.find(entry.topic, entry.partition, entry.topicId))
      // While the disk was asked for one partition, another may have committed what it had not when it was read.
      if (places.some((partition, index) => partition.highWatermark !== results[index]?.highWatermark)) {
        this.#readWhenRoom()
        return
      }
      this.#park(places, this.#minBytes - bytes)
    } catch (error) {
      this.#answerRefused(TidemarkError.from(error))
    }
  }

  /** Apart from `#finish`, whose results would live as long as a callback that is made beside them. */
  #park(places: readonly Partition[], missingBytes: number): void {
    this.#parked = this.#broker.purgatory.park(places, missingBytes, this.#deadlineMs, () => {
      this.#parked = undefined
      this.#readWhenRoom()
    })
  }

  #answer(results: FetchResult[], bytes: number): void {
    this.#isOver = true
    this.#memory.take(bytes)
    this.#broker.counters.fetchedBytes += bytes
    this.#done({ results, bytes })
  }

  #answerRefused(error: TidemarkError): void {
    const [first] = this.#request.partitions
    this.#answer(first === undefined ? [] : [failedResult(first, error)], 0)
  }
}

function isBeyondEnd({ log }: Partition, { offset }: FetchPartition): boolean {
  return offset > log.logEndOffset
}

function checkOffset(partition: Partition, offset: number): void {
  const { logStartOffset, logEndOffset } = partition.log
  if (offset >= logStartOffset && offset <= logEndOffset) return
  throw new TidemarkError(
    'OFFSET_OUT_OF_RANGE',
    `offset ${offset} of ${partition.topic}-${partition.partition} is outside ${logStartOffset} to ${logEndOffset}`,
  )
}

/** What was read before the offset must still lie there: a log that lost its end and grew again has something else in that place. */
function checkContinues({ log, name }: Partition, { offset, lastEpoch }: FetchPartition): void {
  if (lastEpoch === undefined || offset <= log.logStartOffset) return
  const { endOffset } = log.epochEnd(lastEpoch)
  if (endOffset >= offset && lastEpoch <= log.leaderEpochs.latest) return
  throw new TidemarkError(
    'LOG_TRUNCATED',
    `what was read of ${name} up to offset ${offset} in leader epoch ${lastEpoch} is not in it any more: they part at ${Math.min(endOffset, offset)}`,
  )
}

/** After the first answered batch the budget is strict. */
function withinBudget(batches: Buffer[], budgetBytes: number, isFirst: boolean): Buffer[] {
  return !isFirst && bytesOf(batches) > budgetBytes ? [] : batches
}

function bytesOf(batches: readonly Buffer[]): number {
  let bytes = 0
  for (const batch of batches) bytes += batch.length
  return bytes
}

function resultOf(partition: Partition, batches: readonly Buffer[]): FetchResult {
  return {
    topic: partition.topic,
    partition: partition.partition,
    error: undefined,
    highWatermark: partition.highWatermark,
    logStartOffset: partition.log.logStartOffset,
    batches,
  }
}

function failedResult(entry: FetchPartition, error: TidemarkError): FetchResult {
  return { topic: entry.topic, partition: entry.partition, error, highWatermark: 0, logStartOffset: 0, batches: [] }
}
