/**
 * The active controller: a thin shell around the pure requests of `metadata/`.
 *
 * Requests are decided one at a time, each against the image that has every earlier decision in it: a request waits until the
 * records of the one before are committed and applied. Metadata changes are rare; being
 * simple is worth more here than being many at once.
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
import type { MetadataRecord, RegisterNodeRecord } from '../protocol/gen/tidemark/v1/metadata.ts'
import { encodeUuid } from '../protocol/ids.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { applyBatch } from './metadata/apply.ts'
import { EMPTY_IMAGE, type MetadataDelta, type MetadataImage } from './metadata/image.ts'
import { allocateProducerIds, alterConfigs, createTopics, type Decision, deleteTopics, growTopics, type RequestDefaults, registerNode } from './metadata/requests.ts'
import type { MetadataLog } from './metadata-log.ts'
import type { MetadataStore } from './metadata-store.ts'
import { openSingleVoterLog } from './single-voter-log.ts'

/** Requests that may wait their turn. */
const REQUESTS_MAX = 256

/** What this version writes; a node that knows less refuses to join. */
const FEATURE_LEVEL = 1

export type MetadataListener = (image: MetadataImage, delta: MetadataDelta) => void

export interface ControllerOptions {
  readonly runtime: Pick<Runtime, 'timers' | 'random'>
  readonly store: MetadataStore
  /** For topics that do not say. */
  readonly defaults: RequestDefaults
}

/** Opens the metadata log; a new one is given a cluster id. Closes the store if that fails. */
export async function openController(options: ControllerOptions): Promise<Controller> {
  let log: MetadataLog
  try {
    log = await openSingleVoterLog(options.store)
  } catch (error) {
    await options.store.close()
    throw error
  }
  const controller = new Controller(log, options)
  await controller.bootstrap()
  return controller
}

export class Controller {
  readonly #log: MetadataLog
  readonly #options: ControllerOptions
  readonly #listeners = new Set<MetadataListener>()
  readonly #unfollow: () => void
  #image: MetadataImage = EMPTY_IMAGE
  #last: Promise<unknown> = Promise.resolve()
  #requestCount = 0

  constructor(log: MetadataLog, options: ControllerOptions) {
    this.#log = log
    this.#options = options
    this.#unfollow = log.follow(0, (offset, batch) => {
      const { image, delta } = applyBatch(this.#image, offset, batch)
      this.#image = image
      for (const listener of [...this.#listeners]) listener(image, delta)
    })
  }

  get image(): MetadataImage {
    return this.#image
  }

  /** Resolves, with the reason, when the controller can no longer do its work. */
  get failed(): Promise<Error> {
    return this.#log.failed
  }

  /** Names the cluster, if it has no name yet. */
  async bootstrap(): Promise<void> {
    if (this.#image.clusterId !== '') return
    const clusterId = encodeUuid(this.#options.runtime.random.bytes(16))
    await this.#decide(() => ({ records: [{ record: { $case: 'cluster', value: { clusterId, featureLevel: FEATURE_LEVEL } } }], response: undefined }))
  }

  createTopics(request: CreateTopicsRequest): Promise<CreateTopicsResponse> {
    const context = { defaults: this.#options.defaults, newTopicId: () => encodeUuid(this.#options.runtime.random.bytes(16)) }
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

  registerNode(node: RegisterNodeRecord): Promise<void> {
    return this.#decide((image) => registerNode(image, node))
  }

  /** A block of producer ids, `[first, next)`, that nobody had before. */
  allocateProducerIds(nodeId: number): Promise<{ readonly first: number; readonly next: number }> {
    return this.#decide((image) => allocateProducerIds(image, nodeId))
  }

  /** Calls `listener` after every change, in order. Returns how to stop. */
  subscribe(listener: MetadataListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Resolves when the image is newer than `version`, after `timeoutMs`, or when `signal` aborts. */
  async waitForVersion(version: number, options: { readonly timeoutMs: number; readonly signal?: AbortSignal }): Promise<void> {
    if (this.#image.version > version || options.signal?.aborted) return
    await new Promise<void>((resolve) => {
      const finish = (): void => {
        stop()
        timer.cancel()
        options.signal?.removeEventListener('abort', finish)
        resolve()
      }
      const stop = this.subscribe((image) => {
        if (image.version > version) finish()
      })
      const timer = this.#options.runtime.timers.after(options.timeoutMs, finish)
      options.signal?.addEventListener('abort', finish)
    })
  }

  /** Finishes the request in hand; those behind it are refused. */
  async close(): Promise<void> {
    this.#unfollow()
    await this.#log.close()
  }

  async #decide<Response>(decide: (image: MetadataImage) => Decision<Response>): Promise<Response> {
    if (this.#requestCount >= REQUESTS_MAX) throw new TidemarkError('BUSY', `${this.#requestCount} metadata changes wait already`, { retryAfterMs: 500 })
    this.#requestCount++
    const turn = this.#last.then(() => this.#propose(decide))
    this.#last = turn.catch(() => {})
    try {
      return await turn
    } finally {
      this.#requestCount--
    }
  }

  async #propose<Response>(decide: (image: MetadataImage) => Decision<Response>): Promise<Response> {
    const { records, response } = decide(this.#image)
    if (records.length > 0) await this.#log.propose({ records: records as MetadataRecord[] })
    return response
  }
}
