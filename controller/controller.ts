/**
 * The active controller: a thin shell around the pure decisions of `metadata/`.
 *
 * Requests are decided one at a time, each against the image that has every earlier decision in it: a request waits until the
 * records of the one before are committed and applied. Deciding ahead on an image that is not committed
 * would share disk writes between requests, and would need an answer to "what if the earlier one fails"; metadata changes are
 * rare, and one request may carry thousands of them.
 */
import { TidemarkError } from '../protocol/errors.ts'
import type * as cluster from '../protocol/gen/tidemark/v1/cluster.ts'
import type * as nodes from '../protocol/gen/tidemark/v1/controller.ts'
import { encodeUuid } from '../protocol/ids.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import { DutyRounds } from './duty-rounds.ts'
import { alterNodes } from './metadata/alter-nodes.ts'
import { alterPartitions } from './metadata/alter-partitions.ts'
import { applyBatch } from './metadata/apply.ts'
import { alterConfigs } from './metadata/configs.ts'
import type { Decision } from './metadata/decision.ts'
import { distrustReplicas } from './metadata/distrust-replicas.ts'
import { electLeaders } from './metadata/elections.ts'
import type { MetadataImage, NodeMetadata } from './metadata/image.ts'
import { heartbeat, nameCluster, registerNode } from './metadata/nodes.ts'
import { allocateProducerIds } from './metadata/producer-ids.ts'
import { listReassignments, reassign } from './metadata/reassign.ts'
import { type CreateContext, createTopics, deleteTopics, growTopics } from './metadata/topics.ts'
import type { Leadership, MetadataLog, Unfollow } from './metadata-log.ts'
import { MetadataView } from './metadata-view.ts'
import { NodeSessions } from './node-sessions.ts'
import { withRegistered } from './quorum-changes.ts'

/** Requests that may wait their turn: at a few milliseconds each, the last one waits about a second. */
export const REQUESTS_MAX = 256

/** Sessions and other duties are looked at so often, as a part of the length of a session. */
const WATCH_PART = 0.1

export interface ControllerParts {
  readonly runtime: Pick<Runtime, 'clock' | 'timers' | 'random' | 'log'>
  /** How long a node may be silent before it is fenced. */
  readonly sessionTimeoutMs: number
  /** For topics that do not say. */
  readonly defaults: CreateContext['defaults']
}

export class Controller {
  /** What this node knows, whether it is active or not. */
  readonly view: MetadataView
  readonly #log: MetadataLog
  readonly #parts: ControllerParts
  readonly #unfollow: readonly Unfollow[]
  /** The request decided last; settles when the next may be decided. Never rejects. */
  #last: Promise<unknown> = Promise.resolve()
  /** Requests decided or waiting. */
  #requestCount = 0
  /** Who leads the quorum, or led it last; -1: not known. */
  #leaderId = -1
  /** Who led it before; -1: not known, or no matter any more. */
  #formerLeaderId = -1
  readonly #sessions: NodeSessions
  readonly #duties: DutyRounds
  readonly #watch: Timer
  /** The version of the metadata in which a node that shuts down began to. */
  readonly #retired = new Map<number, number>()
  #closing: Promise<void> | undefined

  /** Follows the log. Throws when this version does not understand what is there already. */
  constructor(log: MetadataLog, parts: ControllerParts, view: MetadataView = new MetadataView(parts.runtime.timers)) {
    this.#log = log
    this.#parts = parts
    this.view = view
    this.#sessions = new NodeSessions(parts.runtime.clock, parts.sessionTimeoutMs)
    this.#duties = new DutyRounds(this.#sessions, parts.runtime.log)
    this.#unfollow = [
      log.follow(0, {
        apply: (offset, batch) => view.apply(offset, batch),
        load: (snapshot) => view.load(snapshot),
        takeSnapshot: () => view.takeSnapshot(),
      }),
      log.onLeadership(({ isActive, leaderId }) => {
        // A leader is known as one before it is active.
        if (leaderId >= 0 && leaderId !== this.#leaderId) {
          this.#formerLeaderId = this.#leaderId
          this.#leaderId = leaderId
        }
        if (isActive) this.#becomeActive()
      }),
      view.subscribe((image, delta) => {
        this.#noteRetired(image, delta.changedNodes)
        this.#duties.follow(image, delta)
      }),
    ]
    this.#watch = parts.runtime.timers.every(parts.sessionTimeoutMs * WATCH_PART, () => {
      if (!this.leadership.isActive || this.#closing !== undefined) return
      void this.#duties.run((step) => this.#decide((image) => ({ records: step(image), response: undefined })))
    })
  }

  get image(): MetadataImage {
    return this.view.image
  }

  get leadership(): Leadership {
    return this.#log.leadership
  }

  /** Resolves, with the reason, when the controller can no longer do its work. */
  get failed(): Promise<Error> {
    return this.#log.failed
  }

  /** Names the cluster, if it has no name yet. */
  bootstrap(): Promise<void> {
    return this.#decide((image) => nameCluster(image, this.#newId()))
  }

  createTopics(request: cluster.CreateTopicsRequest): Promise<cluster.CreateTopicsResponse> {
    const context = { defaults: this.#parts.defaults, newTopicId: () => this.#newId() }
    return this.#decide((image) => createTopics(image, request, context))
  }

  deleteTopics(request: cluster.DeleteTopicsRequest): Promise<cluster.DeleteTopicsResponse> {
    return this.#decide((image) => deleteTopics(image, request))
  }

  growTopics(request: cluster.GrowTopicsRequest): Promise<cluster.GrowTopicsResponse> {
    return this.#decide((image) => growTopics(image, request))
  }

  alterConfigs(request: cluster.AlterConfigsRequest): Promise<cluster.AlterConfigsResponse> {
    return this.#decide((image) => alterConfigs(image, request))
  }

  /** Answered with the epoch of this run of the node. */
  registerNode(request: nodes.RegisterNodeRequest): Promise<nodes.RegisterNodeResponse> {
    return this.#decide((image) => {
      const decision = registerNode(image, request, (nodeId) => this.#sessions.isAlive(nodeId))
      this.#sessions.heard(request.nodeId, decision.response.nodeEpoch, 0)
      return decision
    })
  }

  async heartbeat(request: nodes.NodeHeartbeatRequest): Promise<nodes.NodeHeartbeatResponse> {
    const { nodeId, nodeEpoch, metadataVersion, wantShutdown } = request
    await this.#decide((image) => {
      const decision = heartbeat(image, request)
      this.#sessions.heard(nodeId, nodeEpoch, metadataVersion)
      return decision
    })
    const node = this.image.nodes.get(nodeId)
    // Whoever still takes it for a leader would wait for it in vain.
    const retiredAt = this.#retired.get(nodeId) ?? this.image.version
    const mayShutDown = wantShutdown && this.#sessions.othersReached(this.image, nodeId, retiredAt)
    return { error: undefined, fenced: node?.fenced ?? true, mayShutDown, metadataVersion: this.image.version }
  }

  /** Leaders change who is in sync. */
  alterPartitions(request: nodes.AlterPartitionsRequest): Promise<nodes.AlterPartitionsResponse> {
    return this.#decide((image) => alterPartitions(image, request))
  }

  distrustReplicas(request: nodes.DistrustReplicasRequest): Promise<nodes.DistrustReplicasResponse> {
    return this.#decide((image) => distrustReplicas(image, request))
  }

  /** The quorum as its leader knows it, or, on another node, as that one does. */
  async describeQuorum(_request: cluster.DescribeQuorumRequest): Promise<cluster.DescribeQuorumResponse> {
    const quorum = this.#log.describeQuorum()
    return { ...quorum, members: withRegistered(quorum.members, this.image) }
  }

  async alterQuorum(request: cluster.AlterQuorumRequest): Promise<cluster.AlterQuorumResponse> {
    if (!this.#log.leadership.isActive) throw this.#log.notController()
    await this.#log.alterQuorum(request)
    return { error: undefined }
  }

  /** Producer ids that nobody had before. */
  allocateProducerIds(request: nodes.AllocateProducerIdsRequest): Promise<nodes.AllocateProducerIdsResponse> {
    return this.#decide((image) => allocateProducerIds(image, request))
  }

  /** Everything that was decided before the call is in this version. */
  async readMetadataVersion(_request: nodes.ReadMetadataVersionRequest): Promise<nodes.ReadMetadataVersionResponse> {
    if (!this.leadership.isActive) throw this.#log.notController()
    await this.#log.readBarrier()
    return { metadataVersion: this.image.version }
  }

  electLeaders(request: cluster.ElectLeadersRequest): Promise<cluster.ElectLeadersResponse> {
    return this.#decide((image) => electLeaders(image, request))
  }

  /** Answered when the moves have begun. */
  reassign(request: cluster.ReassignRequest): Promise<cluster.ReassignResponse> {
    return this.#decide((image) => reassign(image, request))
  }

  listReassignments(_request: cluster.ListReassignmentsRequest): Promise<cluster.ListReassignmentsResponse> {
    return this.#decide((image) => ({ records: [], response: listReassignments(image) }))
  }

  /** Answered when it is decided; a drain goes on for as long as its moves take. */
  alterNodes(request: cluster.AlterNodesRequest): Promise<cluster.AlterNodesResponse> {
    return this.#decide((image) => alterNodes(image, request))
  }

  /** Finishes the request in hand, refuses those behind it, lets go of who waits. May be called more than once. */
  close(): Promise<void> {
    this.#closing ??= this.#stop()
    return this.#closing
  }

  async #stop(): Promise<void> {
    this.#watch.cancel()
    this.view.close()
    try {
      await this.#log.close()
    } finally {
      await this.#last
      for (const stop of this.#unfollow) stop()
    }
  }

  #becomeActive(): void {
    this.#parts.runtime.log.info('controller.activated', { epoch: this.leadership.epoch, formerId: this.#formerLeaderId })
    this.#sessions.restart(this.image, this.#formerLeaderId)
    this.#formerLeaderId = -1
    this.#duties.restart(this.image)
    // Should it be deposed meanwhile, the next one names the cluster.
    this.bootstrap().catch(() => {})
  }

  #noteRetired({ version }: MetadataImage, changed: readonly NodeMetadata[]): void {
    for (const { nodeId, shuttingDown } of changed) {
      if (!shuttingDown) this.#retired.delete(nodeId)
      else if (!this.#retired.has(nodeId)) this.#retired.set(nodeId, version)
    }
  }

  async #decide<Response>(decide: (image: MetadataImage) => Decision<Response>): Promise<Response> {
    if (this.#requestCount >= REQUESTS_MAX) {
      throw new TidemarkError('BUSY', `${this.#requestCount} metadata changes wait already`, { retryAfterMs: 500, outcome: 'failed' })
    }
    this.#requestCount++
    const turn = this.#last.then(() => this.#takeTurn(decide))
    this.#last = turn.catch(() => {})
    try {
      return await turn
    } finally {
      this.#requestCount--
    }
  }

  async #takeTurn<Response>(decide: (image: MetadataImage) => Decision<Response>): Promise<Response> {
    if (this.#closing !== undefined) throw new TidemarkError('SHUTTING_DOWN', undefined, { outcome: 'failed' })
    // Not the active one: what it knows may be old. The log says who is.
    if (!this.#log.leadership.isActive) throw this.#log.notController()
    const { records, response } = decide(this.image)
    if (records.length === 0) return response
    const batch = { records: [...records] }
    // Tried before it is proposed: a decision that contradicts the image is a bug that must cost one request, not the log.
    applyBatch(this.image, this.image.version, batch)
    await this.#log.propose(batch)
    return response
  }

  #newId(): string {
    return encodeUuid(this.#parts.runtime.random.bytes(16))
  }
}
