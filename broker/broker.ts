/**
 * What the operations of a node share: its partitions, its budgets, its parked fetches and its view
 * of the cluster. Built once by `server.ts`; knows no transport.
 */
import type { ActiveController } from '../controller/active-controller.ts'
import type { MetadataView } from '../controller/metadata-view.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { CONSUMER_OFFSETS_TOPIC } from '../protocol/internal-topics.ts'
import { invariant } from '../runtime/invariant.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import { ByteBudget } from './backpressure.ts'
import type { ConfigSourceEntry, NodeConfig } from './config.ts'
import { Counters } from './counters.ts'
import { MetadataCatchUp } from './metadata-catch-up.ts'
import type { GroupCoordinator } from './groups/coordinator.ts'
import { LateGroups } from './late-groups.ts'
import type { NodeCalls } from './node-calls.ts'
import type { Partition } from './partition.ts'
import type { PartitionRegistry } from './partition-registry.ts'
import { ProducerIds } from './producer-ids.ts'
import { Purgatory } from './purgatory.ts'
import { ResponseMemory } from './response-memory.ts'

/** How often acknowledgements that wait are checked against their deadlines. Only while some wait. */
const ACK_SWEEP_MS = 1000

/** Unsent answers of all connections together, as a multiple of the largest answer. */
const RESPONSE_MEMORY_FACTOR = 16

/** What the data directory has done and holds. */
export interface StorageStats {
  readonly syncCount: number
  readonly syncTotalMs: number
  readonly tailCacheBytes: number
  readonly openFileCount: number
}

/** Copies on this node that are not as they were written. */
export interface DamageView {
  readonly foundCount: number
  list(): readonly { readonly topic: string; readonly partition: number; readonly error: TidemarkError }[]
  /** This node leads, and a replica that is counted on is not complete. */
  lacksRecords(partition: Partition, replicaId: number): void
  /** Another replica is about to lead. */
  isGivenUp(replica: { readonly topic: string; readonly partition: number }): boolean
}

/** What the port knows of its connections. */
export interface PortStats {
  readonly connectionCount: number
  readonly refusedCount: number
  readonly unknownCount: number
}

export type ServingState = 'starting' | 'serving' | 'stopping'

export class Broker {
  readonly runtime: Runtime
  readonly config: NodeConfig
  /** Where each setting comes from, for `DescribeConfigs`. */
  readonly configEntries: readonly ConfigSourceEntry[]
  /** Of the package. */
  readonly version: string
  readonly portStats: () => PortStats
  readonly storageStats: () => StorageStats
  /** What is wrong with the data directory: out of service, or full. */
  readonly storageTrouble: () => TidemarkError | undefined
  readonly damage: () => DamageView | undefined
  /** What this node knows of the cluster. */
  readonly view: MetadataView
  /** Who decides about it. */
  readonly controller: ActiveController
  readonly catchUp: MetadataCatchUp
  /** The node that does, as far as this one knows; -1: none. */
  readonly controllerId: () => number
  /** The cluster does not count on this node at the moment. */
  readonly isFenced: () => boolean
  /** How long no controller has answered this node, in milliseconds. */
  readonly controllerSilenceMs: () => number
  /** False on a controller that is outside the quorum: removed from it, or not let in yet. */
  readonly hasItsVote: () => boolean
  readonly partitions: PartitionRegistry
  readonly lateGroups: LateGroups
  readonly nodeCalls: NodeCalls
  readonly purgatory: Purgatory
  readonly producerIds: ProducerIds
  readonly produceBudget: ByteBudget
  readonly responseMemory: ResponseMemory
  readonly counters: Counters = new Counters()
  readonly #connections = new Map<string, ByteBudget>()
  readonly #waiting = new Set<Partition>()
  readonly #drains = new Set<() => void>()
  #ackSweep: Timer | undefined
  #state: ServingState = 'starting'

  constructor(parts: {
    readonly runtime: Runtime
    readonly config: NodeConfig
    readonly configEntries: readonly ConfigSourceEntry[]
    readonly version: string
    readonly portStats: () => PortStats
    readonly storageStats: () => StorageStats
    readonly storageTrouble: () => TidemarkError | undefined
    readonly damage: () => DamageView | undefined
    readonly view: MetadataView
    readonly controller: ActiveController
    readonly controllerId: () => number
    readonly isFenced: () => boolean
    readonly controllerSilenceMs: () => number
    readonly hasItsVote: () => boolean
    readonly producerIds: ProducerIds
    /** Makes the registry; partitions tell `onWaiting` when an acknowledgement waits. */
    readonly createPartitions: (onWaiting: (partition: Partition) => void) => PartitionRegistry
    readonly nodeCalls: NodeCalls
    readonly createGroups: (partitions: PartitionRegistry) => Promise<GroupCoordinator>
  }) {
    const { runtime, config } = parts
    this.runtime = runtime
    this.config = config
    this.configEntries = parts.configEntries
    this.version = parts.version
    this.portStats = parts.portStats
    this.storageStats = parts.storageStats
    this.storageTrouble = parts.storageTrouble
    this.damage = parts.damage
    this.view = parts.view
    this.controller = parts.controller
    this.catchUp = new MetadataCatchUp(parts.controller, parts.view, runtime.timers)
    this.controllerId = parts.controllerId
    this.isFenced = parts.isFenced
    this.controllerSilenceMs = parts.controllerSilenceMs
    this.hasItsVote = parts.hasItsVote
    this.partitions = parts.createPartitions((partition) => this.#watchWaiters(partition))
    this.lateGroups = new LateGroups(() => parts.createGroups(this.partitions))
    this.nodeCalls = parts.nodeCalls
    this.purgatory = new Purgatory(runtime.clock, runtime.timers, config.limits.fetchParkedMax)
    this.producerIds = parts.producerIds
    this.produceBudget = new ByteBudget(
      'produce bytes in flight on this node',
      config.limits.produceInflightBytesMax,
      runtime.clock,
      runtime.log,
    )
    this.responseMemory = new ResponseMemory(RESPONSE_MEMORY_FACTOR * config.limits.fetchBytesMax)
  }

  /** Whoever asks for it has loaded it. */
  get groups(): GroupCoordinator {
    const { present } = this.lateGroups
    invariant(present !== undefined, 'groups are loaded before anything is asked of them')
    return present
  }

  get state(): ServingState {
    return this.#state
  }

  get isStopping(): boolean {
    return this.#state === 'stopping'
  }

  /** From now on requests are served. */
  serve(): void {
    this.#state = 'serving'
    const loadGroups = (): void => {
      // Nobody need ask: sessions and offsets end by themselves, and their lag is on the page of metrics.
      if (this.view.image.topics.has(CONSUMER_OFFSETS_TOPIC)) void this.lateGroups.load()
    }
    this.view.subscribe(loadGroups)
    loadGroups()
  }

  /** From now on new requests are refused and parked ones answered. */
  stopServing(): void {
    this.#state = 'stopping'
    this.purgatory.wakeAll()
    this.lateGroups.close(new TidemarkError('SHUTTING_DOWN', undefined, { retryAfterMs: 500 }))
    for (const drain of [...this.#drains]) drain()
  }

  /** Calls `drain` when the node stops, unless the result is called before: for what would otherwise stay open. */
  onStop(drain: () => void): () => void {
    this.#drains.add(drain)
    return () => this.#drains.delete(drain)
  }

  /** Throws while the node does not serve. */
  checkServing(): void {
    if (this.#state === 'serving') return
    if (this.#state === 'starting') throw new TidemarkError('UNAVAILABLE', 'the node is starting', { retryAfterMs: 20 })
    throw new TidemarkError('SHUTTING_DOWN', undefined, { retryAfterMs: 500 })
  }

  /** The produce budget of a connection, by the name of its other end. */
  connectionBudget(peer: string): ByteBudget {
    let budget = this.#connections.get(peer)
    if (budget === undefined) {
      budget = new ByteBudget(
        'produce bytes in flight on this connection',
        this.config.limits.produceInflightBytesPerConnectionMax,
        this.runtime.clock,
      )
      this.#connections.set(peer, budget)
    }
    return budget
  }

  /** The connection is gone; what it had in flight is still accounted for by the node and its partitions. */
  connectionClosed(peer: string): void {
    this.#connections.delete(peer)
  }

  close(): void {
    this.stopServing()
    this.purgatory.close()
    this.#ackSweep?.cancel()
    this.#ackSweep = undefined
  }

  #watchWaiters(partition: Partition): void {
    this.#waiting.add(partition)
    this.#ackSweep ??= this.runtime.timers.after(ACK_SWEEP_MS, () => this.#sweepWaiters())
  }

  #sweepWaiters(): void {
    this.#ackSweep = undefined
    const nowMs = this.runtime.clock.monotonic()
    for (const partition of this.#waiting) {
      partition.expireWaiters(nowMs)
      if (!partition.isWaiting) this.#waiting.delete(partition)
    }
    if (this.#waiting.size > 0 && !this.isStopping) this.#ackSweep = this.runtime.timers.after(ACK_SWEEP_MS, () => this.#sweepWaiters())
  }
}
