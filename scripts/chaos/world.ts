/** Everything that takes part in a run: three nodes, the network between them and their clients, the clients, and whoever watches over it from outside. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { connect, type PartitionDescription, type Tidemark } from '../../client/index.ts'
import { ClusterProcess } from '../cluster-process.ts'
import type { NodeProcess } from '../node-process.ts'
import { type ClientSettings, sleep } from './client-process.ts'
import { HistoryFile } from './history.ts'
import type { Network, Place } from './network.ts'
import { LATEST_CONFIGS, LATEST_TOPIC, PARTITIONS, PASSING_PREFIX, RECENT_CONFIGS, RECENT_TOPIC, TOPIC } from './topics.ts'

export const GROUPS = ['by-hand', 'auto'] as const
export const SESSION_MS = 2000
export const REPLICAS = 3
const CLIENT = join(dirname(fileURLToPath(import.meta.url)), 'client.ts')

const NODE_SETTINGS = {
  TIDEMARK_SESSION_TIMEOUT: `${SESSION_MS}ms`,
  TIDEMARK_HEARTBEAT_INTERVAL: '300ms',
  TIDEMARK_REPLICA_LAG_MAX: '4s',
  TIDEMARK_GROUPS_HEARTBEAT_INTERVAL: '500ms',
  TIDEMARK_GROUPS_OFFSETS_PARTITIONS: '3',
  TIDEMARK_COMPACTION_CHECK: '1s',
  TIDEMARK_RETENTION_CHECK: '1s',
  TIDEMARK_LIMITS_DISK_MIN_FREE: '2MiB',
  TIDEMARK_SHUTDOWN_TIMEOUT: '15s',
  TIDEMARK_LOG_FORMAT: 'json',
}

/** How many of each; `members` of each group. */
export interface Crowd {
  readonly producers: number
  readonly readers: number
  readonly members: number
  /** Of each producer. */
  readonly recordsPerSecond: number
}

/** A client that is started again, in another life, whenever it ends. */
export class ChaosClient {
  readonly name: string
  readonly #settings: Omit<ClientSettings, 'life'>
  readonly #place: Place
  #life = 0
  #child: ChildProcess | undefined

  constructor(settings: Omit<ClientSettings, 'life'>, place: Place) {
    this.name = settings.name
    this.#settings = settings
    this.#place = place
  }

  start(): void {
    this.#life++
    const settings: ClientSettings = { ...this.#settings, life: this.#life }
    const { through, environment } = this.#place
    const [command, ...words] = [...through, process.execPath, '--disable-warning=ExperimentalWarning', CLIENT, JSON.stringify(settings)]
    this.#child = spawn(command, words, {
      // It lives no longer than we do: its standard input ends with us.
      stdio: ['pipe', 'ignore', 'inherit'],
      env: { ...process.env, ...environment },
    })
    this.#child.stdin?.on('error', () => {})
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal)
  }

  async stop(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child
    if (child === undefined || !this.isRunning) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }
}

export class World {
  readonly cluster: ClusterProcess
  readonly network: Network
  readonly clients: readonly ChaosClient[]
  readonly nemesis: HistoryFile
  readonly histories: string
  readonly directory: string
  readonly admin: Tidemark
  /** A disk was damaged, and nobody has looked yet whether its node can live with that. */
  isDamaged = false

  private constructor(parts: Pick<World, 'cluster' | 'network' | 'clients' | 'nemesis' | 'histories' | 'directory' | 'admin'>) {
    this.cluster = parts.cluster
    this.network = parts.network
    this.clients = parts.clients
    this.nemesis = parts.nemesis
    this.histories = parts.histories
    this.directory = parts.directory
    this.admin = parts.admin
  }

  /** Starts nodes and clients. `environment`: of the n-th node, beside the settings of all. */
  static async begin(
    directory: string,
    network: Network,
    crowd: Crowd,
    environment: (nodeId: number) => Readonly<Record<string, string>>,
  ): Promise<World> {
    const histories = join(directory, 'history')
    mkdirSync(join(directory, 'logs'), { recursive: true })
    const places = await Promise.all(Array.from({ length: REPLICAS }, (_, at) => network.place(nameOfNode(at + 1))))
    const hosts = places.map(({ host }) => host)
    const cluster = await ClusterProcess.prepare(join(directory, 'nodes'), hosts, NODE_SETTINGS)
    for (const [at, node] of cluster.nodes.entries()) {
      network.listens(nameOfNode(at + 1), node.port)
      node.environment = { ...node.environment, ...environment(at + 1), ...places[at]?.environment }
      node.wrapper = places[at]?.through ?? []
      node.logPath = join(directory, 'logs', `${nameOfNode(at + 1)}.log`)
    }
    process.on('exit', () => {
      for (const node of cluster.nodes) node.signal('SIGKILL')
    })
    await Promise.all(cluster.nodes.map((node) => node.start()))
    const admin = await connect(cluster.addresses, { clientId: 'nemesis', requestTimeout: '5s' })
    const create = (name: string, partitions: number, configs: Readonly<Record<string, string>>): Promise<unknown> =>
      admin.admin.createTopic(name, { partitions, replicas: REPLICAS, configs })
    await create(TOPIC, PARTITIONS, { 'segment.bytes': '1MiB' })
    await create(LATEST_TOPIC, 2, LATEST_CONFIGS)
    await create(RECENT_TOPIC, 1, RECENT_CONFIGS)
    const clients = await Promise.all(
      rolesOf(crowd).map(async (one) => {
        const shared = {
          addresses: cluster.addresses,
          topic: TOPIC,
          groups: GROUPS,
          history: histories,
          recordsPerSecond: crowd.recordsPerSecond,
        }
        return new ChaosClient({ ...one, ...shared }, await network.place(one.name))
      }),
    )
    for (const client of clients) client.start()
    const nemesis = new HistoryFile(histories, 'nemesis.1')
    nemesis.write({ op: 'start', role: 'nemesis' })
    return new World({ cluster, network, clients, nemesis, histories, directory, admin })
  }

  node(nodeId: number): NodeProcess {
    return this.cluster.nodes[nodeId - 1] as NodeProcess
  }

  get nodeIds(): readonly number[] {
    return this.cluster.nodes.map((_, at) => at + 1)
  }

  dataDir(nodeId: number): string {
    return join(this.directory, 'nodes', `node-${nodeId}`)
  }

  /** The active controller as far as anybody knows. */
  async controller(): Promise<number | undefined> {
    const { controllerId } = await this.admin.admin.describeCluster({ timeoutMs: 2000 })
    return controllerId > 0 ? controllerId : undefined
  }

  /** All partitions, those of the groups' offsets too, but not of topics that come and go. */
  async partitions(): Promise<(PartitionDescription & { readonly topic: string })[]> {
    const topics = await this.admin.admin.listTopics()
    return topics
      .filter(({ name }) => !name.startsWith(PASSING_PREFIX))
      .flatMap(({ name, partitions }) => partitions.map((one) => ({ ...one, topic: name })))
  }

  /** What is not as it should be; undefined: nothing. */
  async trouble(): Promise<string | undefined> {
    const down = this.nodeIds.filter((nodeId) => !this.node(nodeId).isRunning)
    if (down.length > 0) return `node ${down.join()} does not run: ${this.node(down[0] as number).stderr.slice(-400)}`
    const { members } = await this.admin.admin.cluster.describeQuorum()
    const voters = members.filter(({ voter }) => voter)
    if (voters.length < REPLICAS) return `there are ${voters.length} controllers`
    const partitions = await this.partitions()
    const bad = partitions.find(({ leader, isr, replicas }) => leader < 0 || isr.length < REPLICAS || replicas.length < REPLICAS)
    return bad === undefined
      ? undefined
      : `${bad.topic}-${bad.partition}: leader ${bad.leader}, in sync ${bad.isr.join()} of ${bad.replicas.join()}`
  }

  async highWatermarks(): Promise<Map<number, number>> {
    const offsets = await this.admin.admin.offsets(TOPIC)
    return new Map(offsets.map(({ partition, highWatermark }) => [partition, Number(highWatermark)]))
  }

  clientsOf(...kinds: readonly string[]): readonly ChaosClient[] {
    return this.clients.filter(({ name }) => kinds.some((kind) => name.startsWith(kind)))
  }

  async end(): Promise<void> {
    this.network.heal()
    for (const one of [...this.clients, ...this.cluster.nodes]) one.signal('SIGCONT')
    await Promise.all(this.clients.map((client) => client.stop('SIGKILL')))
    await this.admin.close()
    await this.cluster.stop('SIGKILL')
    await this.network.close()
    this.nemesis.close()
  }
}

export function nameOfNode(nodeId: number): string {
  return `node-${nodeId}`
}

function rolesOf({ producers, readers, members }: Crowd): Pick<ClientSettings, 'role' | 'index' | 'name' | 'group'>[] {
  const many = (
    count: number,
    role: ClientSettings['role'],
    name: string,
    group = '',
  ): Pick<ClientSettings, 'role' | 'index' | 'name' | 'group'>[] =>
    Array.from({ length: count }, (_, index) => ({ role, index, name: `${name}-${index + 1}`, group }))
  return [
    ...many(producers, 'producer', 'producer'),
    ...many(readers, 'reader', 'reader'),
    ...GROUPS.flatMap((group) => many(members, 'member', `member-${group}`, group)),
    ...many(1, 'keeper', 'keeper'),
    ...many(1, 'registrar', 'registrar'),
    ...many(1, 'observer', 'observer'),
  ]
}

/** Resolves with true once it is; false when it takes too long. What fails is asked again. */
export async function until(isTrue: () => Promise<boolean>, patienceMs: number): Promise<boolean> {
  const giveUpAtMs = performance.now() + patienceMs
  while (performance.now() < giveUpAtMs) {
    if (await isTrue().catch(() => false)) return true
    await sleep(100)
  }
  return false
}
