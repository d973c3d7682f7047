/** A node of the simulation over its lives: the real one of `broker/server.ts`, on a simulated disk, network and time. */
import type { NodeConfig } from '../../broker/config.ts'
import { defaultNodeConfig } from '../../broker/config.ts'
import type { NodeNetwork } from '../../broker/node-network.ts'
import { type RunningNode, startNode } from '../../broker/server.ts'
import { addNodeServices, addServices } from '../../broker/transport/grpc/services.ts'
// Loaded before the simulation begins: a module that has to be read from a real disk takes real time.
import '../../controller/peer-channels.ts'
import '../../broker/groups/create-coordinator.ts'
import '../../broker/transport/grpc/groups-service.ts'
import type { Log } from '../../runtime/runtime.ts'
import { SimDisk } from './disk.ts'
import { simDial } from './grpc-client.ts'
import { SimGrpcServer } from './grpc-server.ts'
import type { SimNetwork } from './network.ts'
import { SimProcess } from './process.ts'
import { type Chance, chanceOf } from '../../scripts/random.ts'
import type { VirtualTime } from './virtual-time.ts'

const PORT = 9092

/** Few batches: a run is short. */
const SNAPSHOT_EVERY = 12

export function hostOf(nodeId: number): string {
  return `n${nodeId}`
}

export function addressOf(nodeId: number): string {
  return `${hostOf(nodeId)}:${PORT}`
}

/** What a test may look at from outside, as a debugger would. */
export interface NodeInside {
  readonly broker: Parameters<NodeNetwork['listen']>[0]['broker']
  readonly controllerNode: Parameters<NodeNetwork['listen']>[0]['controllerNode']
}

export interface SimNodeParts {
  readonly nodeId: number
  /** Where it is; default: the host of its number. */
  readonly host?: string
  readonly time: VirtualTime
  readonly network: SimNetwork
  readonly chance: Chance
  readonly tailCacheBytes: number
  readonly config: Partial<Omit<NodeConfig, 'limits'>>
  /** The process ended itself. */
  readonly ended: (node: SimNode, failure: unknown) => void
  readonly log: (nodeId: number, level: keyof Log, event: string, fields: Readonly<Record<string, unknown>>) => void
}

/** One life of a node. */
export interface Life {
  readonly process: SimProcess
  inside: NodeInside | undefined
  running: RunningNode | undefined
  /** It has come up. */
  isStarted: boolean
  /** Why it did not, or why it ended by itself. */
  failure: unknown
}

export class SimNode {
  readonly nodeId: number
  readonly host: string
  disk: SimDisk
  readonly #parts: SimNodeParts
  life: Life | undefined
  /** Nodes of the cluster that this one joins, instead of being one of its first; for the lives to come. */
  join: readonly number[] = []

  constructor(parts: SimNodeParts) {
    this.nodeId = parts.nodeId
    this.host = parts.host ?? hostOf(parts.nodeId)
    this.#parts = parts
    this.disk = new SimDisk(chanceOf(Math.floor(parts.chance() * 2 ** 32)))
  }

  get isUp(): boolean {
    return this.life?.isStarted === true && this.life.process.isAlive
  }

  /** Begins a life; it comes up in time, or says in `failure` why not. */
  start(overrides: Partial<Omit<NodeConfig, 'limits'>> = {}): Life {
    const { nodeId, time, chance, config, log } = this.#parts
    const process = new SimProcess(this.host, time, chanceOf(Math.floor(chance() * 2 ** 32)))
    const life: Life = { process, inside: undefined, running: undefined, isStarted: false, failure: undefined }
    this.life = life
    const quorumStore = this.disk.use(process)
    const nodeConfig = defaultNodeConfig({
      ...config,
      ...(this.join.length > 0 && { voters: [], join: this.join.map((id) => ({ host: hostOf(id), port: PORT })) }),
      ...overrides,
      nodeId,
      dataDir: '/data',
      listen: { host: this.host, port: PORT },
      insecure: true,
      limits: { diskMinFreeBytes: 0, tailCacheBytes: this.#parts.tailCacheBytes },
    })
    const runtime = {
      clock: process.clock,
      timers: process.timers,
      random: process.random,
      files: this.disk.files,
      log: process.logTo((level, event, fields) => log(nodeId, level, event, fields)),
    }
    startNode(nodeConfig, runtime, { quorumStore, snapshotEvery: SNAPSHOT_EVERY, network: this.#network(life) }).then(
      (running) => {
        life.running = running
        life.isStarted = true
        void running.failed.then((error) => this.#ended(life, error))
      },
      (error: unknown) => this.#ended(life, error),
    )
    return life
  }

  /** SIGTERM: hands over, stops in order. */
  async stop(): Promise<void> {
    const { life } = this
    await life?.running?.close()
    if (life === undefined || this.life !== life || !life.process.isAlive) return
    life.process.kill()
    this.disk.killed()
    this.life = undefined
  }

  /** `kill -9`: what it wrote is there. */
  kill(): void {
    if (this.life === undefined) return
    this.life.process.kill()
    this.life = undefined
    this.disk.killed()
  }

  /** The machine loses its power: what it had not synced is there or not. */
  losePower(isAllLost?: boolean): void {
    if (this.life !== undefined) this.life.process.kill()
    this.life = undefined
    this.disk.powerLost(isAllLost)
  }

  /** The disk is replaced by an empty one. */
  loseDisk(): void {
    this.kill()
    this.disk.wiped()
  }

  /** Its data directory took itself out of service: the process has to be started anew. */
  get hasFailedDisk(): boolean {
    return this.life?.process.isAlive === true && this.life.inside?.broker()?.storageTrouble()?.code === 'STORAGE_FAILED'
  }

  /** A process that cannot go on ends itself; the next one finds what it wrote. */
  #ended(life: Life, failure: unknown): void {
    life.failure = failure
    life.isStarted = false
    if (!life.process.isAlive) return
    life.process.kill()
    if (this.life !== life) return
    this.disk.killed()
    this.#parts.ended(this, failure)
  }

  #network(life: Life): NodeNetwork {
    const { network } = this.#parts
    const address = `${this.host}:${PORT}`
    return {
      dial: simDial(network, life.process),
      listen: async (node, { limits }) => {
        life.inside = node
        const server = new SimGrpcServer(life.process, limits.keepaliveIntervalMs + limits.keepaliveTimeoutMs, (peer) =>
          node.broker()?.connectionClosed(peer),
        )
        addNodeServices(server, node.controllerNode)
        addServices(server, node.broker)
        network.listen(address, server)
        return {
          port: PORT,
          stats: { connectionCount: 0, refusedCount: 0, unknownCount: 0 },
          stop: () => network.stopListening(address, server),
          drain: (graceMs) => server.drain(graceMs),
          destroy: () => network.stopListening(address, server),
        }
      },
    }
  }
}
