/**
 * Nodes with replicas of one topic in one process: real logs on files in memory, real partitions and fetchers, the real decisions of the
 * controller, and a network, a clock and a controller's office that do what the test wants.
 */
import { expect } from 'vitest'
import { CompactionLoop } from '../../../broker/compaction-loop.ts'
import { Counters } from '../../../broker/counters.ts'
import { replicaFetch } from '../../../broker/operations/replica-fetch.ts'
import type { Partition } from '../../../broker/partition.ts'
import { PartitionRegistry } from '../../../broker/partition-registry.ts'
import { RetentionLoop } from '../../../broker/retention-loop.ts'
import { NodeReplication } from '../../../broker/replication/node-replication.ts'
import { alterPartitions } from '../../../controller/metadata/alter-partitions.ts'
import { applyBatch } from '../../../controller/metadata/apply.ts'
import { EMPTY_IMAGE, type MetadataImage, type NodeMetadata, type PartitionMetadata } from '../../../controller/metadata/image.ts'
import { fenceNodes, unfenceNode } from '../../../controller/metadata/node-states.ts'
import { nameCluster, registerNode } from '../../../controller/metadata/nodes.ts'
import { createTopics } from '../../../controller/metadata/topics.ts'
import { MetadataView } from '../../../controller/metadata-view.ts'
import { DataDir } from '../../../log/data-dir.ts'
import { BatchBuilder } from '../../../protocol/batch-builder.ts'
import { TidemarkError } from '../../../protocol/errors.ts'
import type { AlterPartitionsRequest, AlterPartitionsResponse } from '../../../protocol/gen/tidemark/v1/controller.ts'
import type { MetadataBatch, MetadataRecord } from '../../../protocol/gen/tidemark/v1/metadata.ts'
import type { Runtime } from '../../../runtime/runtime.ts'
import { MemoryFiles } from '../../../testing/memory-files.ts'
import { createContext, idOf, requestOf } from '../../controller/fixtures.ts'
import { batchOf } from '../../log/support.ts'
import { MemoryNetwork } from './memory-network.ts'
import { chanceOf } from '../../../scripts/random.ts'
import { VirtualTime } from '../../sim/virtual-time.ts'

export const TOPIC = 'orders'
const PRODUCE_TIMEOUT_MS = 3000

/** What takes a disk time, at most so many milliseconds. */
const SLOW: ReadonlyMap<string, number> = new Map([
  ['write', 2],
  ['datasync', 12],
  ['truncate', 8],
])

interface Running {
  readonly dataDir: DataDir
  readonly view: MetadataView
  readonly registry: PartitionRegistry
  readonly replication: NodeReplication
  readonly loops: readonly { close(): Promise<void> }[]
  readonly nodeEpoch: number
  /** It has opened its partitions. */
  isReady: boolean
}

/** A node over its lives. */
class Node {
  readonly nodeId: number
  files: MemoryFiles
  running: Running | undefined

  constructor(nodeId: number, files: MemoryFiles) {
    this.nodeId = nodeId
    this.files = files
  }

  get partition(): Partition | undefined {
    try {
      return this.running?.isReady === true ? this.running.registry.find(TOPIC, 0, undefined) : undefined
    } catch {
      return undefined
    }
  }
}

export class ReplicaCluster {
  readonly time = new VirtualTime()
  readonly chance: () => number
  readonly network: MemoryNetwork
  readonly nodes: readonly Node[]
  readonly acknowledged = new Map<string, number>()
  /** What nodes said that needs a person. */
  readonly errors: string[] = []
  image: MetadataImage = EMPTY_IMAGE
  /** Of nodes that start from now on. */
  replicaLagMaxMs = 700
  /** Nodes that start from now on look so often for what can be compacted. */
  compactionCheckMs: number | undefined
  /** Every record with a key that a node has taken, and whether it was acknowledged. */
  readonly keyed: { readonly offset: number; readonly key: string; readonly value: string | null; isAcknowledged: boolean }[] = []
  readonly #batches: MetadataBatch[] = []
  #valueCount = 0
  /** Chance that an answer of the controller is lost, and that a request is. */
  lossiness = 0

  constructor(seed: number, nodeCount = 3) {
    this.chance = chanceOf(seed)
    this.network = new MemoryNetwork(this.time, chanceOf(seed + 1))
    const chance = chanceOf(seed + 2)
    const pause = (operation: string): Promise<void> =>
      new Promise((resolve) => {
        const slowMs = SLOW.get(operation)
        if (slowMs === undefined) resolve()
        else this.time.after(slowMs * chance(), resolve)
      })
    this.nodes = Array.from({ length: nodeCount }, (_, at) => new Node(at + 1, new MemoryFiles({ pause })))
  }

  /** Lets time pass until `work` is done. */
  async run<T>(work: Promise<T>): Promise<T> {
    const done = work.then(() => true)
    while (!(await Promise.race([done, this.time.advance(1).then(() => false)]))) continue
    return work
  }

  /** Starts all nodes and makes the topic, with one partition on each of them. */
  async begin(configs: Readonly<Record<string, string>> = { 'min.insync.replicas': '2' }): Promise<void> {
    this.#commit(nameCluster(this.image, idOf(1)).records)
    for (const node of this.nodes) await this.start(node)
    const request = { topics: [{ name: TOPIC, partitions: 1, replicas: this.nodes.length, configs: { ...configs } }], validateOnly: false }
    const { records, response } = createTopics(this.image, request, createContext())
    expect(response.topics[0]?.error).toBeUndefined()
    this.#commit(records)
    this.deliverAll()
    await this.time.advance(200)
    // A slow disk may have taken longer.
    while (this.nodes.some(({ partition }) => partition === undefined)) await this.time.advance(10)
  }

  /** Of none of the nodes. */
  get runtime(): Runtime {
    return this.#runtimeOf(new Node(0, new MemoryFiles()))
  }

  get state(): PartitionMetadata {
    return this.image.topics.get(TOPIC)?.partitions[0] as PartitionMetadata
  }

  async start(node: Node): Promise<void> {
    await this.run(this.#start(node))
  }

  async #start(node: Node): Promise<void> {
    const { nodeId } = node
    const runtime = this.#runtimeOf(node)
    const dataDir = await DataDir.open('/data', {
      runtime,
      tailCacheBytes: this.chance() < 0.5 ? 2000 : 1 << 20,
      openFilesMax: 8,
      diskMinFreeBytes: 0,
    })
    const { records, response } = registerNode(
      this.image,
      requestOf(nodeId, { cleanShutdownEpoch: dataDir.owner.cleanShutdownEpoch }),
      () => false,
    )
    this.#commit(records)
    dataDir.owner.nodeEpoch = response.nodeEpoch
    const view = new MetadataView(this.time)
    const running: Running = {
      dataDir,
      view,
      nodeEpoch: response.nodeEpoch,
      isReady: false,
      get loops() {
        return loops
      },
      replication: new NodeReplication({
        nodeId,
        nodeEpoch: () => response.nodeEpoch,
        runtime,
        view,
        controller: { ask: ((_call: string, request: AlterPartitionsRequest) => this.#alter(node, running, request)) as never },
        channel: this.network.channelOf(nodeId),
        replicaLagMaxMs: this.replicaLagMaxMs,
        partitions: () => running.registry,
        waiting: () => {},
      }),
      get registry() {
        return registry
      },
    }
    const registry: PartitionRegistry = new PartitionRegistry({
      dataDir,
      runtime,
      partitionBudgetBytes: 1 << 20,
      host: running.replication,
    })
    const loops = this.#loopsOf(registry, runtime)
    node.running = running
    this.deliver(node)
    view.subscribe((_image, delta) => registry.apply(delta))
    await registry.openAll(view.image)
    running.isReady = true
    const source = { view, partitions: registry, runtime, checkServing: () => {}, damage: () => running.replication.damage }
    this.network.serve(nodeId, (request, done) => replicaFetch(source, request, done))
    this.deliver(node)
    this.#commit(unfenceNode(this.image, this.image.nodes.get(nodeId) as NodeMetadata))
    this.deliver(node)
  }

  /** The power goes; of what was not synced chance decides. */
  crash(node: Node): void {
    const { running } = node
    if (running === undefined) return
    node.running = undefined
    this.network.drop(node.nodeId)
    const isAllLost = this.chance() < 0.3
    node.files = node.files.crash(() => !isAllLost && this.chance() < 0.5)
    for (const loop of running.loops) void loop.close()
    // What is left of the process waits for files that never answer.
    void running.replication.close()
    running.view.close()
  }

  fence(node: Node): void {
    this.#commit(fenceNodes(this.image, [node.nodeId]))
  }

  /** The node, which has never stopped, is heard of again. */
  unfence(node: Node): void {
    const known = this.image.nodes.get(node.nodeId)
    if (node.running?.isReady !== true || known?.fenced !== true || known.nodeEpoch !== node.running.nodeEpoch) return
    this.#commit(unfenceNode(this.image, known))
  }

  /** The node hears of the next `count` decisions of the controller. */
  deliver(node: Node, count = Number.POSITIVE_INFINITY): void {
    const view = node.running?.view
    if (view === undefined) return
    for (let left = count; left > 0 && view.image.version < this.#batches.length; left--)
      view.apply(view.image.version, this.#batches[view.image.version] as MetadataBatch)
  }

  deliverAll(): void {
    for (const node of this.nodes) this.deliver(node)
  }

  /** Sends one record to a node, which leads or thinks so, or not. */
  produce(node: Node): void {
    const { partition } = node
    const value = `v${this.#valueCount++}`
    if (partition === undefined) return
    try {
      partition.checkLeadership(undefined)
      partition.checkEnoughReplicas()
      const { baseOffset, lastOffset } = partition.append(batchOf([value]))
      partition.whenCommitted(lastOffset + 1, this.time.nowMs + PRODUCE_TIMEOUT_MS, (error) => {
        // A process that has lost its power tells nobody anything.
        if (error === undefined && node.partition === partition) this.acknowledged.set(value, baseOffset)
      })
    } catch (error) {
      if (!TidemarkError.is(error)) throw error
    }
  }

  /** As `produce`, a record with a key; without a value it deletes the key. */
  produceKeyed(node: Node, key: string, isDeletion: boolean): void {
    const { partition } = node
    const value = isDeletion ? null : `v${this.#valueCount++}`
    if (partition === undefined) return
    try {
      partition.checkLeadership(undefined)
      partition.checkEnoughReplicas()
      const builder = new BatchBuilder()
      builder.append(Buffer.from(key), value === null ? null : Buffer.from(value), this.time.now())
      const { baseOffset } = partition.append(Buffer.from(builder.buildSync()))
      const record = { offset: baseOffset, key, value, isAcknowledged: false }
      this.keyed.push(record)
      partition.whenCommitted(baseOffset + 1, this.time.nowMs + PRODUCE_TIMEOUT_MS, (error) => {
        if (error === undefined && node.partition === partition) record.isAcknowledged = true
      })
    } catch (error) {
      if (!TidemarkError.is(error)) throw error
    }
  }

  #loopsOf(registry: PartitionRegistry, runtime: Runtime): { close(): Promise<void> }[] {
    const { compactionCheckMs } = this
    if (compactionCheckMs === undefined) return []
    const counters = new Counters()
    // Memory for a few keys only.
    const limits = { compactionMemoryBytes: 6 * 24, compactionBytesPerSecond: 0 }
    return [
      new RetentionLoop(registry, counters, runtime, compactionCheckMs),
      new CompactionLoop(registry, counters.compaction, runtime, { compactionCheckMs, limits }),
    ]
  }

  /** Whatever the controller counts on has everything that a leader calls committed. */
  check(): void {
    for (const leading of this.nodes) {
      const { partition } = leading
      if (partition?.isLeader !== true || partition.leaderEpoch !== this.state.leaderEpoch) continue
      for (const nodeId of [...this.state.isr, ...this.state.elr]) {
        const member = this.nodes[nodeId - 1]?.partition
        if (member === undefined || member.isLeader || member.leaderEpoch !== partition.leaderEpoch) continue
        expect(member.log.flushedOffset, `node ${nodeId} is counted on, node ${leading.nodeId} leads`).toBeGreaterThanOrEqual(
          partition.highWatermark,
        )
      }
      expect(partition.highWatermark).toBeLessThanOrEqual(partition.log.flushedOffset)
    }
  }

  #runtimeOf(node: Node): Runtime {
    const chance = chanceOf(node.nodeId * 7919 + Math.floor(this.chance() * 1e6))
    return {
      clock: this.time,
      timers: this.time,
      random: { float: chance, bytes: (count) => Buffer.from(Array.from({ length: count }, () => Math.floor(chance() * 256))) },
      files: node.files,
      log: {
        debug() {},
        info() {},
        warn() {},
        error: (event, fields) => void this.errors.push(`node ${node.nodeId} ${event} ${JSON.stringify(fields)}`),
      },
    }
  }

  async #alter(node: Node, running: Running, request: AlterPartitionsRequest): Promise<AlterPartitionsResponse> {
    const later = (): Promise<void> => new Promise((resolve) => this.time.after(this.chance() * 20, resolve))
    await later()
    const isLost = (): boolean => node.running !== running || this.chance() < this.lossiness
    if (isLost()) throw new TidemarkError('UNAVAILABLE', 'the request is lost')
    const { records, response } = alterPartitions(this.image, request)
    this.#commit(records)
    await later()
    if (isLost()) throw new TidemarkError('UNAVAILABLE', 'the answer is lost')
    return response
  }

  #commit(records: readonly MetadataRecord[]): void {
    if (records.length === 0) return
    const batch = { records: [...records] }
    this.image = applyBatch(this.image, this.image.version, batch).image
    this.#batches.push(batch)
  }
}
