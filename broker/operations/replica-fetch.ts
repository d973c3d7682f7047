/**
 * The leader's side of replication: followers pull, and say with each fetch how far they are.
 *
 * A long poll: answered at once when there are records beyond what a follower has, or an error, or its log is not a prefix of
 * ours; else when something is written. A request with `max_bytes` 0 only reports progress, and is answered at once.
 */
import { toErrorDetail } from '../../protocol/error-wire.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type {
  ReplicaFetchPartition,
  ReplicaFetchRequest,
  ReplicaFetchResponse,
  ReplicaFetchResult,
} from '../../protocol/gen/tidemark/v1/replica.ts'
import type { Timer } from '../../runtime/runtime.ts'
import type { Broker } from '../broker.ts'
import type { Partition } from '../partition.ts'
import { agreedOf, checkRange, divergenceOf, noteProgress } from '../replication/leader-rules.ts'

/** Records in one answer. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024
const WAIT_MAX_MS = 10_000
/** Partitions in one request. */
const PARTITIONS_MAX = 20_000

/** What of a node answers its followers. */
export type ReplicaSource = Pick<Broker, 'view' | 'partitions' | 'runtime' | 'checkServing' | 'damage'>

/** Calls `done` once, perhaps before it returns, unless the result is cancelled before. */
export function replicaFetch(
  broker: ReplicaSource,
  request: ReplicaFetchRequest,
  done: (response: ReplicaFetchResponse) => void,
): { cancel(): void } {
  const operation = new ReplicaFetch(broker, request, done)
  operation.start()
  return operation
}

class ReplicaFetch {
  readonly #broker: ReplicaSource
  readonly #request: ReplicaFetchRequest
  readonly #done: (response: ReplicaFetchResponse) => void
  readonly #maxBytes: number
  readonly #wake = (): void => this.#look()
  /** Whose word is not taken gets no records either. */
  readonly #refused = new Map<ReplicaFetchPartition, TidemarkError>()
  #places: Partition[] = []
  #timer: Timer | undefined
  #isReading = false
  /** Something was written while it read. */
  #isStale = false
  #isDue = false
  #isOver = false

  constructor(broker: ReplicaSource, request: ReplicaFetchRequest, done: (response: ReplicaFetchResponse) => void) {
    this.#broker = broker
    this.#request = request
    this.#done = done
    this.#maxBytes = Math.min(request.maxBytes, ANSWER_BYTES_MAX)
  }

  start(): void {
    try {
      this.#check()
    } catch (error) {
      this.#answer({ error: toErrorDetail(TidemarkError.from(error)), partitions: [] })
      return
    }
    for (const entry of this.#request.partitions) {
      const failure = this.#noteProgress(entry)
      if (failure !== undefined) this.#refused.set(entry, failure)
    }
    if (this.#maxBytes === 0 || this.#request.maxWaitMs === 0) this.#isDue = true
    this.#look()
    if (this.#isOver || this.#isReading) return
    this.#park()
  }

  cancel(): void {
    this.#isOver = true
    this.#unpark()
  }

  #check(): void {
    const { clusterId, nodeId, nodeEpoch, partitions } = this.#request
    const { image } = this.#broker.view
    this.#broker.checkServing()
    if (clusterId !== image.clusterId)
      throw new TidemarkError('INCONSISTENT_CLUSTER_ID', `node ${nodeId} is of cluster ${clusterId}, this is ${image.clusterId}`)
    // Older than what is known here: an earlier run of the node, or not in the cluster any more. Newer: we have yet to hear of it.
    const known = image.nodes.get(nodeId)?.nodeEpoch ?? 0
    if (nodeEpoch < known)
      throw new TidemarkError('FENCED_NODE_EPOCH', `node ${nodeId} is in its run ${known}, this is a fetch of ${nodeEpoch}`)
    if (partitions.length > PARTITIONS_MAX)
      throw new TidemarkError('LIMIT_EXCEEDED', `${partitions.length} partitions in one fetch, at most ${PARTITIONS_MAX} are allowed`)
  }

  /** Takes the follower's word for how far it is; an error when it cannot be taken. */
  #noteProgress(entry: ReplicaFetchPartition): TidemarkError | undefined {
    try {
      const partition = this.#partitionOf(entry)
      const { nodeId } = this.#request
      if (partition.lacksCommitted(agreedOf(partition, entry, this.#request))) this.#broker.damage()?.lacksRecords(partition, nodeId)
      noteProgress(partition, entry, this.#request)
      return undefined
    } catch (error) {
      return TidemarkError.from(error)
    }
  }

  #partitionOf(entry: ReplicaFetchPartition): Partition {
    const partition = this.#broker.partitions.findById(entry.topicId, entry.partition)
    partition.checkLeadership(entry.leaderEpoch)
    return partition
  }

  /** Answers if there is something to say. */
  #look(): void {
    this.#isStale = true
    if (this.#isOver || this.#isReading) return
    this.#isReading = true
    this.#isStale = false
    void this.#read().then((results) => {
      this.#isReading = false
      if (this.#isOver) return
      const isNews = results.some(({ error, diverging, batches }) => error !== undefined || diverging !== undefined || batches.length > 0)
      if (isNews || this.#isDue) this.#answer({ error: undefined, partitions: this.#isDue ? results : results.filter(saysSomething) })
      else if (this.#isStale) this.#look()
      else this.#park()
    })
  }

  async #read(): Promise<ReplicaFetchResult[]> {
    const results: ReplicaFetchResult[] = []
    let budgetBytes = this.#maxBytes
    for (const entry of this.#request.partitions) {
      const result = await this.#readOne(entry, budgetBytes)
      budgetBytes -= result.batches.length
      results.push(result)
    }
    return results
  }

  async #readOne(entry: ReplicaFetchPartition, budgetBytes: number): Promise<ReplicaFetchResult> {
    const { topicId, partition: number } = entry
    const result = {
      topicId,
      partition: number,
      error: undefined,
      highWatermark: 0,
      logStartOffset: 0,
      diverging: undefined,
      batches: NOTHING,
      sparseBelow: 0,
      replicatedBelow: 0,
    }
    let logStartOffset = 0
    try {
      const partition = this.#partitionOf(entry)
      const { log } = partition
      logStartOffset = log.logStartOffset
      const refused = this.#refused.get(entry)
      if (refused !== undefined) throw refused
      const { highWatermark, replicatedBelow } = partition
      const known = { ...result, highWatermark, logStartOffset, replicatedBelow }
      const diverging = divergenceOf(partition, entry)
      if (diverging !== undefined) return { ...known, diverging }
      checkRange(partition, entry)
      const maxBytes = Math.min(budgetBytes, entry.maxBytes || budgetBytes)
      // What is written, be it durable here or not: followers make it durable at the same time.
      if (maxBytes <= 0 || entry.fetchOffset >= log.writtenOffset) return known
      const { fetchOffset, suspect } = entry
      const cached = suspect ? undefined : log.readCached(fetchOffset, maxBytes, log.writtenOffset)
      const batches = cached ?? (await log.read(fetchOffset, maxBytes, log.writtenOffset, suspect))
      // Meanwhile another may lead, and what was read be cut off.
      partition.checkLeadership(entry.leaderEpoch)
      const joined = batches.length === 1 ? (batches[0] as Buffer) : Buffer.concat(batches)
      return { ...known, batches: joined, sparseBelow: log.compactor.sparseBelow }
    } catch (error) {
      return { ...result, logStartOffset, error: toErrorDetail(TidemarkError.from(error)) }
    }
  }

  #park(): void {
    if (this.#timer !== undefined) return
    const { timers } = this.#broker.runtime
    this.#timer = timers.after(Math.min(this.#request.maxWaitMs, WAIT_MAX_MS), () => {
      this.#isDue = true
      this.#look()
    })
    for (const entry of this.#request.partitions) {
      const partition = this.#broker.partitions.peekById(entry.topicId, entry.partition)
      if (partition === undefined) continue
      partition.parkedReplicas.add(this.#wake)
      this.#places.push(partition)
    }
    // Written between the look and the parking.
    this.#look()
  }

  #unpark(): void {
    this.#timer?.cancel()
    for (const partition of this.#places) partition.parkedReplicas.delete(this.#wake)
    this.#places = []
  }

  #answer(answer: Omit<ReplicaFetchResponse, 'correlationId'>): void {
    this.#isOver = true
    this.#unpark()
    this.#done({ correlationId: this.#request.correlationId, ...answer })
  }
}

const NOTHING = Buffer.alloc(0)

function saysSomething({ error, diverging, batches }: ReplicaFetchResult): boolean {
  return error !== undefined || diverging !== undefined || batches.length > 0
}
