/**
 * The active controller: a thin shell around the pure decisions of `metadata/`.
 *
 * Requests are decided one at a time, each against the image that has every earlier decision in it: a request waits until the
 * records of the one before are committed and applied. Deciding ahead on an image that is not committed
 * would share disk writes between requests, and would need an answer to "what if the earlier one fails"; metadata changes are
 * rare, and one request may carry thousands of them.
 */
import { TidemarkError } from '../protocol/errors.ts'
import type {
  AlterConfigsRequest,
  AlterConfigsResponse,
  CreateTopicsRequest,
  CreateTopicsResponse,
  DeleteTopicsRequest,
  DeleteTopicsResponse,
  GrowTopicsRequest,
  GrowTopicsResponse,
} from '../protocol/gen/tidemark/v1/cluster.ts'
import type {
  AllocateProducerIdsRequest,
  AllocateProducerIdsResponse,
  NodeHeartbeatRequest,
  NodeHeartbeatResponse,
  RegisterNodeRequest,
  RegisterNodeResponse,
} from '../protocol/gen/tidemark/v1/controller.ts'
import { encodeUuid } from '../protocol/ids.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { applyBatch } from './metadata/apply.ts'
import { alterConfigs } from './metadata/configs.ts'
import type { Decision } from './metadata/decision.ts'
import type { MetadataImage } from './metadata/image.ts'
import { heartbeat, nameCluster, registerNode } from './metadata/nodes.ts'
import { allocateProducerIds } from './metadata/producer-ids.ts'
import { type CreateContext, createTopics, deleteTopics, growTopics } from './metadata/topics.ts'
import type { Leadership, MetadataLog, Unfollow } from './metadata-log.ts'
import { MetadataView } from './metadata-view.ts'

/** Requests that may wait their turn: at a few milliseconds each, the last one waits about a second. */
export const REQUESTS_MAX = 256

export interface ControllerParts {
  readonly runtime: Pick<Runtime, 'timers' | 'random'>
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
  #closing: Promise<void> | undefined

  /** Follows the log. Throws when this version does not understand what is there already. */
  constructor(log: MetadataLog, parts: ControllerParts, view: MetadataView = new MetadataView(parts.runtime.timers)) {
    this.#log = log
    this.#parts = parts
    this.view = view
    this.#unfollow = [
      log.follow(0, {
        apply: (offset, batch) => view.apply(offset, batch),
        load: (snapshot) => view.load(snapshot),
        takeSnapshot: () => view.takeSnapshot(),
      }),
      log.onLeadership(({ isActive }) => {
        // Should it be deposed meanwhile, the next one names the cluster.
        if (isActive) this.bootstrap().catch(() => {})
      }),
    ]
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

  createTopics(request: CreateTopicsRequest): Promise<CreateTopicsResponse> {
    const context = { defaults: this.#parts.defaults, newTopicId: () => this.#newId() }
    return this.#decide((image) => createTopics(image, request, context))
  }

  deleteTopics(request: DeleteTopicsRequest): Promise<DeleteTopicsResponse> {
    return this.#decide((image) => deleteTopics(image, request))
  }

  growTopics(request: GrowTopicsRequest): Promise<GrowTopicsResponse> {
    return this.#decide((image) => growTopics(image, request))
  }

  alterConfigs(request: AlterConfigsRequest): Promise<AlterConfigsResponse> {
    return this.#decide((image) => alterConfigs(image, request))
  }

  /** Throws `DATA_DIR_INVALID` when the node comes with another data directory than it had. */
  registerNode(request: RegisterNodeRequest): Promise<RegisterNodeResponse> {
    return this.#decide((image) => registerNode(image, request))
  }

  heartbeat(request: NodeHeartbeatRequest): Promise<NodeHeartbeatResponse> {
    return this.#decide((image) => heartbeat(image, request))
  }

  /** Producer ids that nobody had before. */
  allocateProducerIds(request: AllocateProducerIdsRequest): Promise<AllocateProducerIdsResponse> {
    return this.#decide((image) => allocateProducerIds(image, request))
  }

  /** Finishes the request in hand, refuses those behind it, lets go of who waits. May be called more than once. */
  close(): Promise<void> {
    this.#closing ??= this.#stop()
    return this.#closing
  }

  async #stop(): Promise<void> {
    this.view.close()
    try {
      await this.#log.close()
    } finally {
      await this.#last
      for (const stop of this.#unfollow) stop()
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
