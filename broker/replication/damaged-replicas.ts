/**
 * Copies on this node that are not as they were written. Each is given up as soon as another node that is alive has everything: the
 * controller is asked to count on this one no more, and has another lead; then it is set aside and fetched anew.
 *
 * ```
 * found ──ask──> nobody counts on it, another leads ──> set aside, fetched anew
 *           └──> nobody else has everything: kept, what is sound of it is served; asked again later
 * ```
 * A leader asks in the same way about a follower that is counted on and turns out to lack what is committed.
 */
import type { ActiveController } from '../../controller/active-controller.ts'
import type { MetadataView } from '../../controller/metadata-view.ts'
import type { PartitionLog } from '../../log/partition-log.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { DistrustedReplica, DistrustReplicasResponse } from '../../protocol/gen/tidemark/v1/controller.ts'
import type { Runtime, Timer } from '../../runtime/runtime.ts'
import type { Partition } from '../partition.ts'
import { mayBeRefetched } from './damaged-replica.ts'
import { OneAtATime } from './one-at-a-time.ts'

const RETRY_MS = 100

/** Where nobody else had everything, somebody may have by then. */
const KEPT_RETRY_MS = 10_000

/** Replicas in one request. */
const REPLICAS_MAX = 1000

export interface ReplicaName {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
}

export interface DamagedReplica extends ReplicaName {
  readonly error: TidemarkError
}

interface Known extends DamagedReplica {
  /** The log that is damaged; undefined: it could not be opened. */
  readonly log: PartitionLog | undefined
  state: 'given-up' | 'kept' | 'refetched'
}

export interface DamagedReplicasParts {
  readonly controller: Pick<ActiveController, 'ask'>
  readonly view: MetadataView
  readonly runtime: Pick<Runtime, 'timers' | 'random' | 'log'>
  readonly node: () => { readonly clusterId: string; readonly nodeId: number; readonly nodeEpoch: number }
  /** Sets the copy aside and begins it anew, from its leader. */
  readonly refetch: (replica: ReplicaName) => Promise<void>
}

export class DamagedReplicas {
  /** So many copies were found damaged. */
  foundCount = 0
  readonly #parts: DamagedReplicasParts
  readonly #known = new Map<string, Known>()
  readonly #wanted = new Map<string, DistrustedReplica>()
  /** Replicas elsewhere that were found to lack records, and the leader epoch in which. */
  readonly #incomplete = new Map<string, number>()
  readonly #turns: OneAtATime
  #keptRetry: Timer | undefined

  constructor(parts: DamagedReplicasParts) {
    this.#parts = parts
    this.#turns = new OneAtATime(parts.runtime.timers, () => this.#ask())
  }

  /** What is damaged now. */
  list(): readonly DamagedReplica[] {
    return [...this.#known.values()]
  }

  /** Another replica is about to lead: whoever could not read here will find it there. */
  isGivenUp({ topic, partition }: Pick<ReplicaName, 'topic' | 'partition'>): boolean {
    return [...this.#known.values()].some((one) => one.topic === topic && one.partition === partition && one.state === 'given-up')
  }

  /** `log`: undefined when it could not be opened. */
  found(replica: ReplicaName, log: PartitionLog | undefined, error: TidemarkError): void {
    const before = this.#known.get(keyOf(replica))
    if (this.#turns.isClosed || (before !== undefined && before.log === log)) return
    const { topic, topicId, partition } = replica
    this.foundCount++
    this.#parts.runtime.log.error('replica.damaged', { topic, partition, error: error.message })
    const known: Known = { topic, topicId, partition, log, error, state: 'given-up' }
    this.#known.set(keyOf(replica), known)
    this.#act(known)
  }

  /** This node leads the partition, and a replica that is counted on lacks what is committed. */
  lacksRecords({ topic, topicId, partition, leaderEpoch, highWatermark }: Partition, replicaId: number): void {
    const replica = { topicId, partition, replicaId, leaderEpoch }
    // Once it is decided another epoch begins.
    if (this.#incomplete.get(wantedKeyOf(replica)) === leaderEpoch) return
    this.#incomplete.set(wantedKeyOf(replica), leaderEpoch)
    this.#parts.runtime.log.error('replica.incomplete', { topic, partition, replicaId, highWatermark })
    this.#want(replica)
  }

  /** The partition was opened, or its metadata changed. */
  reviewed(partition: Partition): void {
    const known = this.#known.get(keyOf(partition))
    if (known === undefined) return
    // What was damaged has been replaced.
    if (known.log !== partition.log) this.#known.delete(keyOf(partition))
    else this.#act(known)
  }

  /** The partition is gone from this node. */
  forget(partition: ReplicaName): void {
    this.#known.delete(keyOf(partition))
  }

  close(): void {
    this.#turns.close()
    this.#keptRetry?.cancel()
  }

  #act(known: Known): void {
    const { topic, topicId, partition } = known
    const metadata = this.#parts.view.image.topics.get(topic)
    const state = metadata?.topicId === topicId ? metadata.partitions[partition] : undefined
    if (state === undefined || known.state === 'refetched') return
    const { nodeId } = this.#parts.node()
    if (!mayBeRefetched(state, nodeId)) this.#want({ topicId, partition, replicaId: nodeId, leaderEpoch: state.leaderEpoch })
    else if (known.log !== undefined) void this.#refetch(known)
  }

  async #refetch(known: Known): Promise<void> {
    const { topic, partition } = known
    known.state = 'refetched'
    try {
      await this.#parts.refetch(known)
      this.#parts.runtime.log.warn('replica.set-aside', { topic, partition, error: known.error.message })
    } catch (error) {
      this.#parts.runtime.log.error('replica.refetch-failed', { topic, partition, error: TidemarkError.from(error).message })
    }
    if (this.#known.get(keyOf(known)) === known) this.#known.delete(keyOf(known))
  }

  #want(replica: DistrustedReplica): void {
    this.#wanted.set(wantedKeyOf(replica), replica)
    this.#turns.soon()
  }

  async #ask(): Promise<number | undefined> {
    // One change of a partition at a time.
    const replicas = [...new Map([...this.#wanted.values()].map((replica) => [keyOf(replica), replica])).values()].slice(0, REPLICAS_MAX)
    if (replicas.length === 0) return undefined
    const { controller, node, runtime } = this.#parts
    let delayMs = 0
    try {
      this.#answered(replicas, await controller.ask('distrustReplicas', { ...node(), replicas: replicas.map((one) => ({ ...one })) }))
    } catch (error) {
      runtime.log.debug('replica.undecided', { error: TidemarkError.from(error) })
      delayMs = RETRY_MS * (1 + runtime.random.float())
    }
    return this.#wanted.size > 0 ? delayMs : undefined
  }

  #answered(asked: readonly DistrustedReplica[], { replicas }: DistrustReplicasResponse): void {
    const { nodeId } = this.#parts.node()
    for (const [at, replica] of asked.entries()) {
      this.#wanted.delete(wantedKeyOf(replica))
      const known = replica.replicaId === nodeId ? this.#known.get(keyOf(replica)) : undefined
      const error = replicas[at]?.error
      if (known === undefined || known.state === 'refetched') continue
      if (error === undefined) {
        // The metadata brings it.
        known.state = 'given-up'
        continue
      }
      if (known.state !== 'kept')
        this.#parts.runtime.log.warn('replica.kept', { topic: known.topic, partition: known.partition, code: error.code })
      known.state = 'kept'
      this.#keptRetry ??= this.#parts.runtime.timers.after(KEPT_RETRY_MS, () => {
        this.#keptRetry = undefined
        for (const one of this.#known.values()) this.#act(one)
      })
    }
  }
}

function wantedKeyOf(replica: DistrustedReplica): string {
  return `${keyOf(replica)}-${replica.replicaId}`
}

function keyOf({ topicId, partition }: { readonly topicId: string; readonly partition: number }): string {
  return `${topicId}-${partition}`
}
