/**
 * Writing: checks what the node allows, appends each batch to its partition and
 * answers when all of them are acknowledged.
 *
 * The appends happen before this function returns, in the order of the request, so that requests of one
 * stream reach a partition in the order they were sent.
 */
import { TidemarkError } from '../../protocol/errors.ts'
import { isInternalTopic } from '../../protocol/internal-topics.ts'
import type { ByteBudget } from '../backpressure.ts'
import type { Broker } from '../broker.ts'
import type { Partition } from '../partition.ts'

export type Acks = 'all' | 'leader' | 'none'

/** How long an acknowledgement may take when the request does not say. */
export const PRODUCE_TIMEOUT_DEFAULT_MS = 30_000
export const PRODUCE_TIMEOUT_MAX_MS = 600_000

export interface ProducePartition {
  readonly topic: string
  /** Undefined: the topic of that name, whichever it is. */
  readonly topicId: string | undefined
  readonly partition: number
  /** Undefined: not checked. */
  readonly leaderEpoch: number | undefined
  readonly batch: Buffer
}

export interface ProduceRequest {
  readonly acks: Acks
  /** 0: the default. */
  readonly timeoutMs: number
  readonly partitions: readonly ProducePartition[]
}

export interface ProduceResult {
  readonly topic: string
  readonly partition: number
  readonly error: TidemarkError | undefined
  readonly baseOffset: number
  readonly logStartOffset: number
  readonly logAppendTimeMs: number
}

/** Calls `done` once, with a result per partition in the order of the request. */
export function produce(broker: Broker, connection: ByteBudget, request: ProduceRequest, done: (results: ProduceResult[]) => void): void {
  const startedMs = broker.runtime.clock.monotonic()
  const deadlineMs = startedMs + Math.min(request.timeoutMs || PRODUCE_TIMEOUT_DEFAULT_MS, PRODUCE_TIMEOUT_MAX_MS)
  const { partitions } = request
  const results = new Array<ProduceResult>(partitions.length)
  const seen = partitions.length > 1 ? new Set<string>() : undefined
  let openCount = partitions.length
  const settle = (index: number, result: ProduceResult): void => {
    results[index] = result
    if (result.error !== undefined) broker.counters.produceFailedCount++
    if (--openCount > 0) return
    broker.counters.produceLatency.observe(broker.runtime.clock.monotonic() - startedMs)
    done(results)
  }
  if (partitions.length === 0) {
    done(results)
    return
  }
  for (let index = 0; index < partitions.length; index++) {
    const entry = partitions[index] as ProducePartition
    if (seen !== undefined && isRepeated(seen, entry)) {
      settle(
        index,
        failedResult(
          entry,
          new TidemarkError('INVALID_REQUEST', `${entry.topic}-${entry.partition} stands twice in one request`, { outcome: 'failed' }),
        ),
      )
    } else {
      appendOne(broker, connection, entry, request.acks, deadlineMs, (result) => settle(index, result))
    }
  }
}

function appendOne(
  broker: Broker,
  connection: ByteBudget,
  entry: ProducePartition,
  acks: Acks,
  deadlineMs: number,
  settle: (result: ProduceResult) => void,
): void {
  const bytes = entry.batch.length
  let partition: Partition
  let release: (() => void) | undefined
  try {
    if (isInternalTopic(entry.topic)) throw writtenByUs(entry.topic)
    partition = broker.partitions.find(entry.topic, entry.partition, entry.topicId)
    partition.checkLeadership(entry.leaderEpoch)
    if (acks === 'all') partition.checkEnoughReplicas()
    release = admit(broker, connection, partition, bytes)
    const appended = partition.append(entry.batch)
    broker.counters.producedBytes += bytes
    broker.counters.producedBatchCount++
    const releaseBudgets = release
    const acknowledge = (error: TidemarkError | undefined): void => {
      releaseBudgets()
      if (acks === 'none') return
      settle({
        topic: entry.topic,
        partition: entry.partition,
        error,
        baseOffset: appended.baseOffset,
        logStartOffset: partition.log.logStartOffset,
        logAppendTimeMs: appended.appendTimeMs,
      })
    }
    if (acks === 'none') settle(ignoredResult(entry))
    if (acks === 'all') partition.whenCommitted(appended.lastOffset + 1, deadlineMs, acknowledge)
    else partition.whenDurable(appended.lastOffset + 1, deadlineMs, acknowledge)
  } catch (error) {
    release?.()
    settle(failedResult(entry, TidemarkError.from(error)))
  }
}

/** Takes the bytes from all three budgets or throws `BUSY` and takes none. The result gives them back. */
function admit(broker: Broker, connection: ByteBudget, partition: Partition, bytes: number): () => void {
  for (const budget of [broker.produceBudget, connection, partition.budget]) {
    if (!budget.fits(bytes)) throw budget.refuse(bytes)
  }
  // Acknowledged or timed out is not yet written: a disk that hangs must not let the log's own queue grow.
  if (partition.log.unwrittenBytes > partition.budget.maxBytes) throw partition.budget.refuse(bytes)
  broker.produceBudget.take(bytes)
  connection.take(bytes)
  partition.budget.take(bytes)
  let held = true
  return () => {
    if (!held) return
    held = false
    broker.produceBudget.release(bytes)
    connection.release(bytes)
    partition.budget.release(bytes)
  }
}

function writtenByUs(topic: string): TidemarkError {
  return new TidemarkError('INVALID_REQUEST', `topic ${topic} is kept by tidemark itself, nobody else writes to it`, { outcome: 'failed' })
}

function isRepeated(seen: Set<string>, entry: ProducePartition): boolean {
  const key = `${entry.partition} ${entry.topic}`
  if (seen.has(key)) return true
  seen.add(key)
  return false
}

function failedResult(entry: ProducePartition, error: TidemarkError): ProduceResult {
  return { topic: entry.topic, partition: entry.partition, error, baseOffset: 0, logStartOffset: 0, logAppendTimeMs: 0 }
}

/** What a sender that wants no acknowledgement is told: nothing. */
function ignoredResult(entry: ProducePartition): ProduceResult {
  return { topic: entry.topic, partition: entry.partition, error: undefined, baseOffset: 0, logStartOffset: 0, logAppendTimeMs: 0 }
}
