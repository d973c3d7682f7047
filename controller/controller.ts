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
import type { MetadataBatch, RegisterNodeRecord } from '../protocol/gen/tidemark/v1/metadata.ts'
import { encodeUuid } from '../protocol/ids.ts'
import { invariant } from '../runtime/invariant.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { applyBatch, applyBatches } from './metadata/apply.ts'
import { alterConfigs } from './metadata/configs.ts'
import type { Decision } from './metadata/decision.ts'
import { EMPTY_IMAGE, type MetadataDelta, type MetadataImage } from './metadata/image.ts'
import { checkFeatureLevel, nameCluster, registerNode } from './metadata/nodes.ts'
import { allocateProducerIds, type ProducerIdBlock } from './metadata/producer-ids.ts'
import { type CreateContext, createTopics, deleteTopics, growTopics } from './metadata/topics.ts'
import type { MetadataLog, Unfollow } from './metadata-log.ts'
import type { MetadataStore } from './metadata-store.ts'
import { openSingleVoterLog } from './single-voter-log.ts'
import { VersionWaiters } from './version-waiters.ts'

/** Requests that may wait their turn: at a few milliseconds each, the last one waits about a second. */
export const REQUESTS_MAX = 256

/** Told of every change, in order. Must not throw: the node would have seen only half of it, so its metadata log fails. */
export type MetadataListener = (image: MetadataImage, delta: MetadataDelta) => void

export interface ControllerParts {
  readonly runtime: Pick<Runtime, 'timers' | 'random'>
  /** For topics that do not say. */
  readonly defaults: CreateContext['defaults']
}

export interface ControllerOptions extends ControllerParts {
  readonly store: MetadataStore
}

/** Opens the metadata log on `store`; a new one is given a cluster id. Closes the store if that fails, and when the controller is closed. */
export async function openController({ store, ...parts }: ControllerOptions): Promise<Controller> {
  const log = await openSingleVoterLog(store)
  try {
    const controller = new Controller(log, parts)
    await controller.bootstrap()
    return controller
  } catch (error) {
    // Why it cannot be opened matters, not what closing it makes of that.
    await log.close().catch(() => {})
    throw error
  }
}

export class Controller {
  readonly #log: MetadataLog
  readonly #parts: ControllerParts
  readonly #listeners = new Set<MetadataListener>()
  readonly #waiters: VersionWaiters
  readonly #unfollow: Unfollow
  #image: MetadataImage
  /** The request decided last; settles when the next may be decided. Never rejects. */
  #last: Promise<unknown> = Promise.resolve()
  /** Requests decided or waiting. */
  #requestCount = 0
  #closing: Promise<void> | undefined

  /** Applies the log's history. Throws when this version does not understand it. */
  constructor(log: MetadataLog, parts: ControllerParts) {
    this.#log = log
    this.#parts = parts
    this.#waiters = new VersionWaiters(parts.runtime.timers)
    const history: MetadataBatch[] = []
    let isLive = false
    this.#unfollow = log.follow(0, {
      apply: (offset, batch) => {
        if (isLive) this.#apply(offset, batch)
        else history.push(batch)
      },
      load: () => invariant(false, 'a log without snapshots gives none'),
    })
    isLive = true
    this.#image = replay(history)
  }

  get image(): MetadataImage {
    return this.#image
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
  registerNode(node: Omit<RegisterNodeRecord, 'nodeEpoch'>): Promise<void> {
    return this.#decide((image) => registerNode(image, node))
  }

  /** A block of producer ids, `[first, next)`, that nobody had before. */
  allocateProducerIds(nodeId: number): Promise<ProducerIdBlock> {
    return this.#decide((image) => allocateProducerIds(image, nodeId))
  }

  /** Calls `listener` after every change, in order. Returns how to stop. */
  subscribe(listener: MetadataListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Resolves when the image is newer than `version`, after `timeoutMs`, when `signal` aborts or the controller closes. Rejects with `BUSY` when too many wait. */
  async waitForVersion(version: number, options: { readonly timeoutMs: number; readonly signal?: AbortSignal }): Promise<void> {
    if (this.#closing !== undefined || this.#image.version > version) return
    await this.#waiters.wait(version, options)
  }

  /** Finishes the request in hand, refuses those behind it, lets go of who waits. May be called more than once. */
  close(): Promise<void> {
    this.#closing ??= this.#stop()
    return this.#closing
  }

  async #stop(): Promise<void> {
    this.#waiters.releaseAll()
    try {
      await this.#log.close()
    } finally {
      await this.#last
      this.#unfollow()
      this.#listeners.clear()
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
    const { records, response } = decide(this.#image)
    if (records.length === 0) return response
    const batch = { records: [...records] }
    // Tried before it is proposed: a decision that contradicts the image is a bug that must cost one request, not the log.
    applyBatch(this.#image, this.#image.version, batch)
    await this.#log.propose(batch)
    return response
  }

  #apply(offset: number, batch: MetadataBatch): void {
    const { image, delta } = applyBatch(this.#image, offset, batch)
    this.#image = image
    for (const listener of [...this.#listeners]) listener(image, delta)
    this.#waiters.reached(image.version)
  }

  #newId(): string {
    return encodeUuid(this.#parts.runtime.random.bytes(16))
  }
}

/** What the log cannot explain here was not decided by this version: no bug of this process, but a directory it must not work on. */
function replay(history: readonly MetadataBatch[]): MetadataImage {
  try {
    const { image } = applyBatches(EMPTY_IMAGE, 0, history)
    checkFeatureLevel(image)
    return image
  } catch (error) {
    if (TidemarkError.is(error) && error.code === 'DATA_DIR_INVALID') throw error
    const message = error instanceof Error ? error.message : String(error)
    throw new TidemarkError('DATA_DIR_INVALID', `the metadata log cannot be applied: ${message}. Nothing was added to it`, { cause: error })
  }
}
