/** Nodes and clients in one process, on virtual time, network and disks. Nothing in it is a model: it is the code that runs in production. */
import { ClusterClient } from '../../client/cluster-client.ts'
import { Tidemark } from '../../client/connect.ts'
import { createGrpcTransport } from '../../client/grpc-transport.ts'
import { defaultNodeConfig, type NodeConfig } from '../../broker/config.ts'
import type { Partition } from '../../broker/partition.ts'
import { EMPTY_IMAGE, type MetadataImage, type PartitionMetadata } from '../../controller/metadata/image.ts'
import { simDial } from './grpc-client.ts'
import { SimNetwork } from './network.ts'
import { addressOf, hostOf, SimNode } from './node.ts'
import { Oracles } from './oracles.ts'
import { SimProcess } from './process.ts'
import { type Chance, chanceOf, streamOf } from '../../scripts/random.ts'
import { reasonOf, Trace } from './trace.ts'
import { VirtualTime } from './virtual-time.ts'

export interface ClusterOptions {
  readonly seed: number
  readonly nodeCount?: number
  /** The first so many have the role `controller`. Default: all. */
  readonly controllerCount?: number
  readonly config?: Partial<Omit<NodeConfig, 'limits'>>
  /** Memory of a node for its newest batches: what is not there is read from the disk. */
  readonly tailCacheBytes?: number
  /** Gets every line of the trace. */
  readonly print?: (line: string) => void
}

/** Short ones: a virtual second costs real time. */
export const SIM_CONFIG = {
  sessionTimeoutMs: 1500,
  heartbeatIntervalMs: 300,
  electionTimeoutMs: 500,
  electionHeartbeatIntervalMs: 100,
  replicaLagMaxMs: 1000,
  shutdownTimeoutMs: 3000,
  groups: { ...defaultNodeConfig().groups, sessionTimeoutMinMs: 100, offsetsPartitions: 2 },
  scrubPeriodMs: 2000,
} as const

/** A client and the process it is in. */
export interface SimClient {
  readonly process: SimProcess
  readonly client: ClusterClient
  readonly tm: Tidemark
}

const RESTART_AFTER_MS = 300

const QUIET_EVENTS = new Set(['heartbeat.lost', 'registration.retried', 'connection.failed'])

export class SimCluster {
  readonly seed: number
  readonly time = new VirtualTime()
  readonly network: SimNetwork
  readonly nodes: readonly SimNode[]
  readonly trace: Trace
  readonly oracles: Oracles
  /** Told of everything that nodes log. */
  onEvent: (nodeId: number, event: string, fields: Readonly<Record<string, unknown>>) => void = () => {}
  /** Whether a node that ends by itself is started again. */
  isSupervised: (node: SimNode) => boolean = () => true
  readonly #chance: Chance
  readonly #config: Partial<Omit<NodeConfig, 'limits'>>
  readonly #controllerCount: number
  readonly #tailCacheBytes: number
  #clientCount = 0

  constructor({ seed, nodeCount = 3, controllerCount = nodeCount, config, tailCacheBytes = 64 * 1024, print }: ClusterOptions) {
    this.seed = seed
    this.#tailCacheBytes = tailCacheBytes
    this.#controllerCount = controllerCount
    this.#chance = streamOf(seed, 'processes')
    this.network = new SimNetwork(this.time, streamOf(seed, 'network'))
    this.trace = new Trace(this.time, print)
    this.network.onFrame = (from, to, bytes) => this.trace.mix(`${from}>${to} ${bytes}`)
    const ids = Array.from({ length: nodeCount }, (_, at) => at + 1)
    const voters = ids.slice(0, controllerCount).map((nodeId) => ({ nodeId, host: `n${nodeId}`, port: 9092 }))
    this.#config = { ...SIM_CONFIG, voters, ...config }
    this.nodes = ids.map((nodeId) => this.makeNode(nodeId))
    this.oracles = new Oracles(this)
  }

  /** A node that is none of `nodes` unless the cluster begins: one more process that says it is node `nodeId`, from `host`. */
  makeNode(nodeId: number, host = hostOf(nodeId)): SimNode {
    const node = new SimNode({
      nodeId,
      host,
      time: this.time,
      network: this.network,
      chance: this.#chance,
      tailCacheBytes: this.#tailCacheBytes,
      config: { ...this.#config, roles: nodeId > this.#controllerCount ? ['broker'] : ['broker', 'controller'] },
      ended: (ended, failure) => this.#supervise(ended, failure),
      log: (id, level, event, fields) => {
        this.onEvent(id, event, fields)
        if (level === 'error') this.oracles.nodeSaid(id, event, fields)
        if (level !== 'debug' || !QUIET_EVENTS.has(event)) this.trace.say(host, `${event} ${textOf(fields)}`)
      },
    })
    node.disk.onOperation = (operation) => this.trace.mix(`${host} ${operation}`)
    return node
  }

  /** Lets time pass; after every event everything that must hold is checked. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.time.nowMs + ms
    // What was asked for just now begins.
    await this.time.advance(0)
    while (await this.time.step(untilMs)) this.oracles.check()
    this.time.nowMs = untilMs
  }

  /** Lets time pass until `isTrue`. False when it is not within `timeoutMs`. */
  async until(isTrue: () => boolean, timeoutMs: number): Promise<boolean> {
    const untilMs = this.time.nowMs + timeoutMs
    await this.time.advance(0)
    while (!isTrue()) {
      if (!(await this.time.step(untilMs))) {
        this.time.nowMs = untilMs
        return isTrue()
      }
      this.oracles.check()
    }
    return true
  }

  /** Lets time pass until `work` is done, and gives what it comes to. */
  async run<T>(work: Promise<T>, timeoutMs = 60_000): Promise<T> {
    let isOver = false
    const over = (): void => {
      isOver = true
    }
    work.then(over, over)
    if (!(await this.until(() => isOver, timeoutMs))) throw new Error(`not done within ${timeoutMs} ms of virtual time`)
    return work
  }

  /** Starts all nodes and waits until the cluster counts on all of them. */
  async begin(): Promise<void> {
    for (const node of this.nodes) node.start()
    if (!(await this.until(() => this.isWhole, 30_000))) throw new Error('the cluster did not come up')
  }

  get isWhole(): boolean {
    const { image } = this
    return this.nodes.every((node) => node.isUp && image.nodes.get(node.nodeId)?.fenced === false)
  }

  /** The newest metadata that any node has. */
  get image(): MetadataImage {
    let newest = EMPTY_IMAGE
    for (const node of this.nodes) {
      const image = this.imageOf(node)
      if (image !== undefined && image.version > newest.version) newest = image
    }
    return newest
  }

  /** What one node knows. */
  imageOf({ life }: SimNode): MetadataImage | undefined {
    if (life === undefined || !life.process.isAlive) return undefined
    return life.inside?.controllerNode()?.controller.image ?? life.inside?.broker()?.view.image
  }

  /** The partition on a node, if it is there and open. */
  partitionOf(node: SimNode, topic: string, partition = 0): Partition | undefined {
    try {
      return node.life?.process.isAlive === true ? node.life.inside?.broker()?.partitions.find(topic, partition, undefined) : undefined
    } catch {
      return undefined
    }
  }

  stateOf(topic: string, partition = 0): PartitionMetadata | undefined {
    return this.image.topics.get(topic)?.partitions[partition]
  }

  node(nodeId: number): SimNode {
    return this.nodes[nodeId - 1] as SimNode
  }

  leaderOf(topic: string, partition = 0): SimNode | undefined {
    return this.nodes[(this.stateOf(topic, partition)?.leader ?? 0) - 1]
  }

  followersOf(topic: string, partition = 0): SimNode[] {
    const state = this.stateOf(topic, partition)
    return this.nodes.filter(({ nodeId }) => nodeId !== state?.leader && state?.replicas.includes(nodeId) === true)
  }

  /** The node whose controller is active, as it thinks; the newest of several. */
  get activeController(): SimNode | undefined {
    const epochOf = (node: SimNode): number => {
      const leadership = node.life?.process.isAlive === true ? node.life.inside?.controllerNode()?.log.leadership : undefined
      return leadership?.isActive === true ? leadership.epoch : -1
    }
    const [first] = [...this.nodes].sort((a, b) => epochOf(b) - epochOf(a))
    return first !== undefined && epochOf(first) >= 0 ? first : undefined
  }

  /** What looks after processes starts one again that ended by itself. */
  #supervise(node: SimNode, failure: unknown): void {
    this.trace.say(`n${node.nodeId}`, `ENDED: ${reasonOf(failure)}`)
    const { life } = node
    this.time.after(RESTART_AFTER_MS, () => {
      if (node.life === life && this.isSupervised(node)) node.start()
    })
  }

  /** Cuts every link between the two groups of hosts, both ways. */
  split(some: readonly string[], others: readonly string[]): void {
    for (const a of some) {
      for (const b of others) {
        this.network.cut(a, b)
        this.network.cut(b, a)
      }
    }
  }

  openClient(name = `c${++this.#clientCount}`): SimClient {
    const process = new SimProcess(name, this.time, chanceOf(Math.floor(this.#chance() * 2 ** 32)))
    const client = new ClusterClient({
      runtime: process,
      transport: createGrpcTransport(process.clock, undefined, simDial(this.network, process)),
      bootstrap: this.nodes.map(({ nodeId }) => addressOf(nodeId)),
      requestTimeoutMs: 30_000,
    })
    return { process, client, tm: new Tidemark(client) }
  }
}

function textOf(fields: Readonly<Record<string, unknown>>): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name}=${reasonOf(value)}`)
    .join(' ')
}
