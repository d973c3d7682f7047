/**
 * How a node hangs together with the others: what it knows of the cluster, whom it asks, its own controller if it has that
 * role, and its membership. `server.ts` walks it through its life: open, join, enter, leave, close.
 */
import { ActiveController } from '../controller/active-controller.ts'
import { MetadataObserver } from '../controller/metadata-observer.ts'
import { MetadataView } from '../controller/metadata-view.ts'
import type { PeerAddress, PeerChannels } from '../controller/peer-channels.ts'
import type { RaftStore } from '../controller/raft-store.ts'
import type { DataDirIdentity } from '../log/data-dir-identity.ts'
import { formatAddress } from '../protocol/addresses.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { QuorumAction } from '../protocol/gen/tidemark/v1/cluster.ts'
import type { Dial } from '../protocol/grpc-dial.ts'
import { encodeUuid } from '../protocol/ids.ts'
import { VERSION } from '../protocol/version.ts'
import { createDeferred, type Deferred } from '../runtime/deferred.ts'
import type { Runtime } from '../runtime/runtime.ts'
import type { NodeConfig } from './config.ts'
import { type ControllerNode, openControllerNode } from './controller-node.ts'
import { Membership } from './membership.ts'
import { askForVoters, refuseUnreachable } from './reachable.ts'
import { isWildcard } from './setting-values.ts'

const RETRY_MS = 200

/** Of the time a node has to stop, the part in which others take over what it leads. */
const HANDOVER_PART = 0.5

export interface LinkOptions {
  /** Undefined: as gRPC does. */
  readonly dial: Dial | undefined
  /** Batches between two snapshots of the metadata; undefined: as many as usual. */
  readonly snapshotEvery: number | undefined
  /** The node is to stop, also while it looks for the cluster. */
  readonly signal: AbortSignal | undefined
}

export class ClusterLink {
  readonly view: MetadataView
  readonly controller: ActiveController
  readonly #config: NodeConfig
  readonly #runtime: Runtime
  readonly #identity: DataDirIdentity
  /** Of this run of the process. */
  readonly #incarnationId: string
  readonly #options: LinkOptions
  readonly #failed: Deferred<Error> = createDeferred<Error>()
  #controllerNode: ControllerNode | undefined
  #observer: MetadataObserver | undefined
  #membership: Membership | undefined
  #channels: Promise<PeerChannels> | undefined
  readonly #closing = new AbortController()
  /** Aborted when nothing is waited for any more. */
  readonly #over: AbortSignal
  readonly #isOver: Deferred<void> = createDeferred<void>()

  constructor(config: NodeConfig, runtime: Runtime, identity: DataDirIdentity, options: LinkOptions) {
    this.#config = config
    this.#runtime = runtime
    this.#identity = identity
    this.#incarnationId = encodeUuid(runtime.random.bytes(16))
    this.#options = options
    this.#over = options.signal === undefined ? this.#closing.signal : AbortSignal.any([this.#closing.signal, options.signal])
    if (this.#over.aborted) this.#isOver.resolve()
    this.#over.addEventListener('abort', () => this.#isOver.resolve())
    this.view = new MetadataView(runtime.timers)
    this.controller = new ActiveController({
      local: () => this.#controllerNode?.controller,
      view: this.view,
      channels: () => this.loadChannels(),
      leader: () => this.#addressOf(this.controllerId),
      contacts: () => this.#contacts(),
    })
  }

  get controllerNode(): ControllerNode | undefined {
    return this.#controllerNode
  }

  /** The active controller, as far as this node knows; -1: none. */
  get controllerId(): number {
    return this.#controllerNode?.log.leadership.leaderId ?? this.#observer?.controllerId ?? -1
  }

  get nodeEpoch(): number {
    return this.#membership?.nodeEpoch ?? 0
  }

  /** How long no controller has answered this node, in milliseconds. */
  get controllerSilenceMs(): number {
    return this.#membership?.silenceMs ?? 0
  }

  get isFenced(): boolean {
    return this.#membership?.isFenced ?? true
  }

  /** What was decided about this node a session ago, such as that others lead what it led, it knows. */
  get isUpToDate(): boolean {
    return this.#membership?.isUpToDate(this.#config.sessionTimeoutMs) ?? false
  }

  /** Resolves, with the reason, when the node has lost the cluster for good. */
  get failed(): Promise<Error> {
    return this.#failed.promise
  }

  /** Opens the node's controller, or begins to follow others. */
  async open(openStore: () => Promise<RaftStore>): Promise<void> {
    const { roles, join, voters, nodeId } = this.#config
    if (!roles.includes('controller')) {
      const contacts = join.length > 0 ? join : voters
      const observer = new MetadataObserver({
        runtime: this.#runtime,
        nodeId,
        view: this.view,
        channels: () => this.loadChannels(),
        contacts,
        clusterId: this.#identity.clusterId,
      })
      this.#observer = observer
      void observer.failed.then((error) => this.#failed.resolve(error))
      return
    }
    const ask = async () => askForVoters(await this.loadChannels(), this.#config, this.#identity.clusterId, this.#runtime, this.#over)
    const contacts = join.length > 0 ? await ask() : []
    this.#controllerNode = await openControllerNode({
      config: this.#config,
      runtime: this.#runtime,
      view: this.view,
      directoryId: this.#identity.directoryId,
      run: { starts: this.#identity.starts, incarnationId: this.#incarnationId },
      clusterId: () => this.view.image.clusterId || this.#identity.clusterId,
      store: await openStore(),
      snapshotEvery: this.#options.snapshotEvery,
      channels: () => this.loadChannels(),
      addressOf: (id) => this.registeredAddress(id),
      contacts,
      address: this.#ownAddress(this.#config.listen),
    })
    void this.#controllerNode.log.failed.then((error) => this.#failed.resolve(error))
    this.#controllerNode.log.start()
  }

  /** Finds the cluster and registers with it. Resolves once this node has applied its own registration. */
  async join(node: {
    readonly host: string
    readonly port: number
    readonly cleanShutdownEpoch: number
    readonly wantFence: () => boolean
  }): Promise<void> {
    const { nodeId, rack, roles, heartbeatIntervalMs } = this.#config
    const membership = new Membership({
      runtime: this.#runtime,
      controller: this.controller,
      view: this.view,
      heartbeatIntervalMs,
      wantFence: node.wantFence,
      registration: {
        nodeId,
        incarnationId: this.#incarnationId,
        directoryId: this.#identity.directoryId,
        starts: this.#identity.starts,
        imageOf: this.#identity.imageOf,
        ...this.#ownAddress(node),
        alternatives: this.#config.advertise.slice(1).map(({ host, port }) => formatAddress(host, port)),
        rack,
        version: VERSION,
        roles: [...roles],
        cleanShutdownEpoch: node.cleanShutdownEpoch,
      },
    })
    this.#membership = membership
    void this.#joinQuorum(this.#ownAddress(node))
    await this.#orFailure(this.#whenNamed())
    refuseUnreachable([...this.view.image.nodes.values()].filter((other) => other.nodeId !== nodeId))
    await this.#orFailure(this.#whenLed())
    await this.#orFailure(membership.register())
    void membership.failed.then((error) => this.#failed.resolve(error))
  }

  /** Resolves once the node may lead partitions. */
  async enter(): Promise<void> {
    this.#membership?.start()
    await this.#orFailure(this.#membership?.whenUnfenced())
  }

  /** Moves leaderships away, where there is someone to take them. */
  async leave(): Promise<void> {
    const others = [...this.view.image.nodes.values()].filter(({ nodeId, fenced }) => nodeId !== this.#config.nodeId && !fenced)
    if (others.length > 0) await this.#membership?.shutDown(this.#config.shutdownTimeoutMs * HANDOVER_PART)
    const log = this.#controllerNode?.log
    const successor = log?.status.confState.voters.find((id) => id !== this.#config.nodeId && others.some(({ nodeId }) => nodeId === id))
    if (log?.leadership.isActive && successor !== undefined) await log.handOver(successor)
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.view.close()
    await this.#membership?.close()
    await this.#observer?.close()
    await this.#controllerNode?.controller.close()
    const channels = await this.#channels
    channels?.close()
  }

  /**
   * A controller that was told to join a running cluster asks to be let into its quorum, until it is. Whether it is, the quorum has to say: this disk may
   * have been started as one of the first voters before, and turned away.
   */
  async #joinQuorum(address: PeerAddress): Promise<void> {
    const { nodeId, join } = this.#config
    if (this.#controllerNode === undefined || join.length === 0) return
    const self = { nodeId, directoryId: this.#identity.directoryId }
    let isSaid = false
    while (!this.#over.aborted) {
      try {
        const { members } = await this.controller.ask('describeQuorum', {})
        if (members.some((member) => member.voter && member.nodeId === self.nodeId && member.directoryId === self.directoryId)) return
        await this.controller.ask('alterQuorum', { action: QuorumAction.ADD, ...self, ...address })
      } catch (error) {
        const known = TidemarkError.from(error)
        // Somebody has to end one of the two processes.
        const isWarning: boolean = known.code === 'DUPLICATE_NODE' && !isSaid
        isSaid ||= isWarning
        this.#runtime.log[isWarning ? 'warn' : 'debug']('quorum.joining', { error: known })
        await new Promise<void>((resolve) => this.#runtime.timers.after(known.retryAfterMs ?? RETRY_MS, resolve))
      }
    }
  }

  /** This node's own controller knows who is active: until then it would ask in vain. */
  async #whenLed(): Promise<void> {
    const log = this.#controllerNode?.log
    if (log === undefined) return
    const isLed = (): boolean =>
      log.leadership.isActive || (log.leadership.leaderId >= 0 && log.leadership.leaderId !== this.#config.nodeId)
    if (isLed()) return
    const led = createDeferred<void>()
    const stop = log.onLeadership(() => {
      if (isLed()) led.resolve()
    })
    await Promise.race([led.promise, this.#isOver.promise])
    stop()
  }

  /** The metadata says which cluster this is. */
  async #whenNamed(): Promise<void> {
    while (!this.#over.aborted && this.view.image.clusterId === '')
      await this.view.waitForVersion(this.view.image.version, { timeoutMs: 1000 })
  }

  async #orFailure(work: Promise<void> | undefined): Promise<void> {
    const failure = this.#failed.promise.then((error) => {
      throw error
    })
    await Promise.race([work, failure, this.#isOver.promise])
    if (this.#over.aborted) throw new TidemarkError('SHUTTING_DOWN')
  }

  /** Nodes that may know who is active: the controllers, and before they are known those of the configuration. */
  #contacts(): readonly PeerAddress[] {
    const log = this.#controllerNode?.log
    const voters = log === undefined ? (this.#observer?.voters ?? []) : log.members.describe(log.status.confState.voters)
    const known = voters
      .filter(({ nodeId }) => nodeId !== this.#config.nodeId)
      .map((voter) => this.registeredAddress(voter.nodeId) ?? voter)
      .filter(({ host }) => host !== '')
    const { join, voters: configured } = this.#config
    return known.length > 0 ? known : [...join, ...configured]
  }

  #addressOf(nodeId: number): PeerAddress | undefined {
    if (nodeId < 0 || nodeId === this.#config.nodeId) return undefined
    const voter = this.#controllerNode?.log.members.get(nodeId) ?? this.#observer?.voters.find((known) => known.nodeId === nodeId)
    return this.registeredAddress(nodeId) ?? voter
  }

  registeredAddress(nodeId: number): PeerAddress | undefined {
    const node = this.view.image.nodes.get(nodeId)
    return node && { host: node.host, port: node.port }
  }

  /** What other nodes dial. */
  #ownAddress(listening: PeerAddress): PeerAddress {
    const { advertise, voters, nodeId } = this.#config
    const asVoter = isWildcard(listening.host) ? voters.find((voter) => voter.nodeId === nodeId) : undefined
    const { host, port } = advertise[0] ?? asVoter ?? listening
    return { host, port }
  }

  loadChannels(): Promise<PeerChannels> {
    this.#channels ??= import('../controller/peer-channels.ts').then(
      (module) => new module.PeerChannels(this.#runtime.clock, this.#options.dial),
    )
    return this.#channels
  }
}
