/**
 * `tidemark/testing`: a real node inside your test process, on a free port, in memory or in a temporary directory.
 *
 * It is the node you run in production, over the same sockets; only the disk under it is memory, unless you ask
 * for a directory.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ConfigOverrides, defaultNodeConfig, type NodeConfig } from '../broker/config.ts'
import { type RaftStore, memoryQuorum, type RunningNode, startNode } from '../broker/server.ts'
import { connect, type Tidemark } from '../client/connect.ts'
import type { ConnectOptions } from '../client/types.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { nodeRuntime, silentLog } from '../runtime/node.ts'
import type { Log, Runtime } from '../runtime/runtime.ts'
import { MemoryFiles } from './memory-files.ts'

export type { Log } from '../runtime/runtime.ts'

export interface StartTidemarkOptions {
  /** `memory` (default): nothing touches the disk. `disk`: a temporary directory, removed at the end. A path: that directory, kept. */
  readonly storage?: 'memory' | 'disk' | { readonly path: string }
  /** Settings of the node that differ from the defaults. */
  readonly config?: Partial<Pick<NodeConfig, 'autoCreateTopics' | 'defaultPartitions' | 'retentionCheckMs' | 'compactionCheckMs'>> &
    Pick<ConfigOverrides, 'limits' | 'groups'>
  /** Default: says nothing. */
  readonly log?: Log
}

/** A running node for tests. */
export interface TestTidemark extends AsyncDisposable {
  /** `host:port`, for `connect`. */
  readonly address: string
  readonly host: string
  readonly port: number
  readonly clusterId: string
  /** A client, closed with the node. */
  connect(options?: ConnectOptions): Promise<Tidemark>
  /** Stops the node in order and starts it again on the same data, at another port. */
  restart(): Promise<void>
  close(): Promise<void>
}

/** Starts a node and resolves when it serves. */
export async function startTidemark(options: StartTidemarkOptions = {}): Promise<TestTidemark> {
  const storage = await openStorage(options.storage ?? 'memory')
  try {
    const node = new EmbeddedNode(options, storage)
    await node.start()
    return node
  } catch (error) {
    await storage.remove()
    throw error
  }
}

interface Storage {
  readonly dataDir: string
  readonly files: MemoryFiles | undefined
  readonly quorumStore: RaftStore | undefined
  remove(): Promise<void>
}

async function openStorage(storage: NonNullable<StartTidemarkOptions['storage']>): Promise<Storage> {
  if (storage === 'memory') return { dataDir: '/tidemark', files: new MemoryFiles(), quorumStore: memoryQuorum(), remove: async () => {} }
  if (storage !== 'disk') return { dataDir: storage.path, files: undefined, quorumStore: undefined, remove: async () => {} }
  const dataDir = await mkdtemp(join(tmpdir(), 'tidemark-test-'))
  return { dataDir, files: undefined, quorumStore: undefined, remove: () => rm(dataDir, { recursive: true, force: true }) }
}

class EmbeddedNode implements TestTidemark {
  readonly #options: StartTidemarkOptions
  readonly #storage: Storage
  readonly #clients: Tidemark[] = []
  #node: RunningNode | undefined

  constructor(options: StartTidemarkOptions, storage: Storage) {
    this.#options = options
    this.#storage = storage
  }

  get host(): string {
    return this.#running.host
  }

  get port(): number {
    return this.#running.port
  }

  get address(): string {
    return `${this.host}:${this.port}`
  }

  get clusterId(): string {
    return this.#running.clusterId
  }

  async start(): Promise<void> {
    const { config, log } = this.#options
    const { dataDir, files, quorumStore } = this.#storage
    const real = nodeRuntime(log ?? silentLog)
    const runtime: Runtime = files === undefined ? real : { ...real, files }
    const nodeConfig = defaultNodeConfig({
      ...config,
      dataDir,
      listen: { host: '127.0.0.1', port: 0 },
      limits: { diskMinFreeBytes: 0, ...config?.limits },
    })
    this.#node = await startNode(nodeConfig, runtime, quorumStore === undefined ? {} : { quorumStore })
  }

  async connect(options?: ConnectOptions): Promise<Tidemark> {
    const client = await connect(this.address, options)
    this.#clients.push(client)
    return client
  }

  async restart(): Promise<void> {
    await this.#running.close()
    await this.start()
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#clients.map((client) => client.close()))
    await this.#node?.close()
    this.#node = undefined
    await this.#storage.remove()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  get #running(): RunningNode {
    if (this.#node === undefined) throw new TidemarkError('CLOSED', 'the node is closed')
    return this.#node
  }
}
