/**
 * A node: builds the real parts, joins them and takes them apart again. The only place
 * that does.
 *
 * Start: lock and open the data directory, listen, open the controller or follow one, register, open the
 * partitions, serve. Until then the port answers `/livez`, the other controllers, and calls with a retriable UNAVAILABLE.
 * Stop: move leaderships away, refuse new work, finish what is in hand, close the logs, leave the mark of
 * a clean shutdown last.
 */
import { MemoryRaftStore } from '../controller/memory-raft-store.ts'
import type { RaftStore } from '../controller/raft-store.ts'
import { DataDir } from '../log/data-dir.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { VERSION } from '../protocol/version.ts'
import { createDeferred } from '../runtime/deferred.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { Broker } from './broker.ts'
import { ClusterLink } from './cluster-link.ts'
import { CompactionLoop } from './compaction-loop.ts'
import type { ConfigSourceEntry, NodeConfig } from './config.ts'
import type { Listening, NodeNetwork } from './node-network.ts'
import { NodeCalls } from './node-calls.ts'
import type { Partition } from './partition.ts'
import { PartitionRegistry } from './partition-registry.ts'
import { ProducerIds } from './producer-ids.ts'
import { GrpcReplicaChannel } from './replication/grpc-channel.ts'
import { NodeReplication } from './replication/node-replication.ts'
import { RetentionLoop } from './retention-loop.ts'
import { ScrubLoop } from './scrub-loop.ts'
import { reportStrays, reportUnclean } from './start-reports.ts'
import { tcpNetwork } from './transport/tcp-network.ts'

/** How long calls under way may go on once everything they wait for has been answered. */
const CALL_GRACE_MS = 2000

export interface RunningNode {
  readonly nodeId: number
  readonly clusterId: string
  readonly host: string
  readonly port: number
  /** Resolves, with the reason, when the node can no longer do its work; the owner should close it and exit. */
  readonly failed: Promise<Error>
  /** Drains and stops. May be called more than once. */
  close(): Promise<void>
}

export interface StartOptions {
  /** Where each setting comes from, for `DescribeConfigs`. */
  readonly configEntries?: readonly ConfigSourceEntry[]
  /** Keeps the quorum state somewhere else than in the data directory. For nodes in memory. */
  readonly quorumStore?: RaftStore
  /** Batches between two snapshots of the metadata. For tests that want many. */
  readonly snapshotEvery?: number
  /** Default: TCP. */
  readonly network?: NodeNetwork
  /** Ends a start that is under way, whatever it waits for: it rejects with `SHUTTING_DOWN` once all is closed in order. */
  readonly signal?: AbortSignal
}

/** A quorum state that lasts as long as the object: for nodes in memory, which may be started on it again. */
export function memoryQuorum(): RaftStore {
  return new MemoryRaftStore()
}

export type { RaftStore } from '../controller/raft-store.ts'

export async function startNode(config: NodeConfig, runtime: Runtime, options: StartOptions = {}): Promise<RunningNode> {
  const node = new Node(config, runtime, options)
  try {
    await node.start()
  } catch (error) {
    await node.close()
    throw error
  }
  return node
}

class Node implements RunningNode {
  readonly #config: NodeConfig
  readonly #runtime: Runtime
  readonly #options: StartOptions
  readonly #network: NodeNetwork
  readonly #failed = createDeferred<Error>()
  #dataDir: DataDir | undefined
  #cluster: ClusterLink | undefined
  #broker: Broker | undefined
  #listening: Listening | undefined
  /** What is done to the logs without being asked. */
  #upkeep: readonly { close(): Promise<void> }[] = []
  #replication: NodeReplication | undefined
  #unsubscribe: (() => void) | undefined
  #closing: Promise<void> | undefined

  constructor(config: NodeConfig, runtime: Runtime, options: StartOptions) {
    this.#config = config
    this.#runtime = runtime
    this.#options = options
    this.#network = options.network ?? tcpNetwork
  }

  get nodeId(): number {
    return this.#config.nodeId
  }

  get clusterId(): string {
    return this.#cluster?.view.image.clusterId ?? ''
  }

  get host(): string {
    return this.#config.listen.host
  }

  get port(): number {
    return this.#listening?.port ?? 0
  }

  get failed(): Promise<Error> {
    return this.#failed.promise
  }

  async start(): Promise<void> {
    const startedMs = this.#runtime.clock.monotonic()
    this.#network.prepare?.()
    const dataDir = await this.#openDataDir()
    const cluster = new ClusterLink(this.#config, this.#runtime, await dataDir.owner.claim(this.#config.nodeId), {
      dial: this.#network.dial,
      snapshotEvery: this.#options.snapshotEvery,
      signal: this.#options.signal,
    })
    this.#cluster = cluster
    void cluster.failed.then((error) => this.#fail(error))
    // Both are waited for even when one fails: what the other opened has to be closed again.
    const opened = await Promise.allSettled([cluster.open(() => this.#quorumStore()), this.#listen(cluster)])
    for (const result of opened) if (result.status === 'rejected') throw result.reason
    await this.#join(cluster, dataDir)
    await dataDir.owner.joinCluster(cluster.view.image.clusterId)
    dataDir.owner.nodeEpoch = cluster.nodeEpoch
    const broker = this.#createBroker(dataDir, cluster)
    this.#unsubscribe = cluster.view.subscribe((_image, delta) => broker.partitions.apply(delta))
    await broker.partitions.openAll(cluster.view.image)
    await reportStrays(dataDir, cluster.view.image, this.#runtime.log)
    if (!dataDir.owner.wasCleanShutdown) reportUnclean(broker.partitions, this.#runtime.log)
    this.#upkeep = this.#startUpkeep(broker)
    broker.serve()
    await cluster.enter()
    this.#runtime.log.info('node.started', {
      nodeId: this.nodeId,
      clusterId: this.clusterId,
      address: `${this.host}:${this.port}`,
      dataDir: this.#config.dataDir,
      partitionCount: broker.partitions.count,
      cleanStart: dataDir.owner.wasCleanShutdown,
      tookMs: Math.round(this.#runtime.clock.monotonic() - startedMs),
    })
  }

  close(): Promise<void> {
    this.#closing ??= this.#stop()
    return this.#closing
  }

  #fail(error: Error): void {
    if (this.#closing !== undefined) return
    this.#runtime.log.error('cluster.lost', { error })
    this.#failed.resolve(error)
  }

  async #openDataDir(): Promise<DataDir> {
    const { limits } = this.#config
    this.#dataDir = await DataDir.open(this.#config.dataDir, {
      runtime: this.#runtime,
      tailCacheBytes: limits.tailCacheBytes,
      openFilesMax: limits.openFilesMax,
      diskMinFreeBytes: limits.diskMinFreeBytes,
      damaged: (log, error) => this.#replication?.damaged(log, error),
    })
    return this.#dataDir
  }

  async #quorumStore(): Promise<RaftStore> {
    if (this.#options.quorumStore !== undefined) return this.#options.quorumStore
    const { openLevelRaftStore } = await import('../controller/level-raft-store.ts')
    return openLevelRaftStore(`${this.#config.dataDir}/controller`, this.#runtime.files)
  }

  async #listen(cluster: ClusterLink): Promise<void> {
    const served = { broker: () => this.#broker, controllerNode: () => cluster.controllerNode }
    this.#listening = await this.#network.listen(served, this.#config, this.#runtime)
  }

  /** Rejects with `DATA_DIR_OUTDATED` when the directory is an older image of itself: it is another one from then on, for the next start. */
  async #join(cluster: ClusterLink, dataDir: DataDir): Promise<void> {
    const { owner } = dataDir
    const wantFence = (): boolean => dataDir.failure !== undefined
    try {
      await cluster.join({ host: this.host, port: this.port, cleanShutdownEpoch: owner.cleanShutdownEpoch, wantFence })
    } catch (error) {
      if (TidemarkError.is(error) && error.code === 'DATA_DIR_OUTDATED') {
        await owner.renew()
        this.#runtime.log.warn('directory.renewed', { nodeId: this.nodeId, ...owner.identity })
      }
      throw error
    }
  }

  #createBroker(dataDir: DataDir, cluster: ClusterLink): Broker {
    const config = this.#config
    this.#broker = new Broker({
      runtime: this.#runtime,
      config,
      configEntries: this.#options.configEntries ?? [],
      version: VERSION,
      view: cluster.view,
      controller: cluster.controller,
      controllerId: () => cluster.controllerId,
      isFenced: () => cluster.isFenced,
      controllerSilenceMs: () => cluster.controllerSilenceMs,
      hasItsVote: () => cluster.controllerNode?.log.status.confState.voters.includes(config.nodeId) ?? true,
      producerIds: new ProducerIds(cluster.controller, () => ({
        clusterId: this.clusterId,
        nodeId: this.nodeId,
        nodeEpoch: cluster.nodeEpoch,
      })),
      portStats: () => this.#listening?.stats ?? { connectionCount: 0, refusedCount: 0, unknownCount: 0 },
      storageStats: () => ({
        syncCount: dataDir.health.syncCount,
        syncTotalMs: dataDir.health.syncTotalMs,
        tailCacheBytes: dataDir.tailCacheBytes,
        openFileCount: dataDir.openFileCount,
      }),
      storageTrouble: () => dataDir.health.trouble,
      damage: () => this.#replication?.damage,
      createPartitions: (waiting) => this.#createPartitions(dataDir, cluster, waiting),
      nodeCalls: new NodeCalls(
        (id) => cluster.registeredAddress(id),
        () => cluster.loadChannels(),
      ),
      createGroups: async (partitions) => {
        const { createCoordinator } = await import('./groups/create-coordinator.ts')
        return createCoordinator({ config, runtime: this.#runtime, cluster, partitions })
      },
    })
    return this.#broker
  }

  #createPartitions(dataDir: DataDir, cluster: ClusterLink, waiting: (partition: Partition) => void): PartitionRegistry {
    const { nodeId, replicaLagMaxMs, limits } = this.#config
    const host = new NodeReplication({
      nodeId,
      nodeEpoch: () => cluster.nodeEpoch,
      runtime: this.#runtime,
      view: cluster.view,
      controller: cluster.controller,
      channel: new GrpcReplicaChannel(
        (id) => cluster.registeredAddress(id),
        () => cluster.loadChannels(),
      ),
      replicaLagMaxMs,
      partitions: () => partitions,
      waiting,
    })
    this.#replication = host
    const partitionBudgetBytes = limits.produceInflightBytesPerPartitionMax
    const partitions = new PartitionRegistry({ dataDir, runtime: this.#runtime, partitionBudgetBytes, host })
    return partitions
  }

  #startUpkeep({ partitions, counters }: Broker): { close(): Promise<void> }[] {
    const { retentionCheckMs, scrubPeriodMs: periodMs, limits } = this.#config
    const retention = new RetentionLoop(partitions, counters, this.#runtime, retentionCheckMs)
    const compaction = new CompactionLoop(partitions, counters.compaction, this.#runtime, this.#config)
    const pace = { periodMs, bytesPerSecondMax: limits.scrubBytesPerSecondMax }
    return [retention, compaction, new ScrubLoop(() => partitions.all(), this.#runtime, pace, counters)]
  }

  async #stop(): Promise<void> {
    await this.#cluster?.leave()
    this.#listening?.stop()
    this.#broker?.stopServing()
    await this.#listening?.drain(CALL_GRACE_MS)
    for (const loop of this.#upkeep) await loop.close()
    this.#unsubscribe?.()
    await this.#replication?.close()
    this.#broker?.partitions.retireAll(new TidemarkError('SHUTTING_DOWN'))
    this.#broker?.close()
    await this.#cluster?.close()
    await this.#dataDir?.close()
    this.#listening?.destroy()
    if (this.#upkeep.length > 0) this.#runtime.log.info('node.stopped', { nodeId: this.nodeId })
  }
}
