/** Follows the metadata log from afar, for nodes that are no controllers: one long poll after the other, of any controller. */
import { TidemarkError } from '../protocol/errors.ts'
import { ControllerService, type FetchMetadataResponse, type VoterDescription } from '../protocol/gen/tidemark/v1/controller.ts'
import { createDeferred, type Deferred } from '../runtime/deferred.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import type { MetadataView } from './metadata-view.ts'
import type { PeerAddress, PeerChannels } from './peer-channels.ts'

const POLL_MS = 5000
const POLL_TIMEOUT_MS = POLL_MS + 3000
const RETRY_MS = 200

export interface MetadataObserverParts {
  readonly runtime: Pick<Runtime, 'timers' | 'random' | 'log'>
  readonly nodeId: number
  readonly view: MetadataView
  readonly channels: () => Promise<PeerChannels>
  /** Where to ask at first. */
  readonly contacts: readonly PeerAddress[]
  /** Of the node's data directory; empty while it has been in none. */
  readonly clusterId: string
}

export class MetadataObserver {
  readonly #parts: MetadataObserverParts
  readonly #failed: Deferred<Error> = createDeferred<Error>()
  #voters: readonly VoterDescription[] = []
  #controllerId = -1
  #asked = 0
  #isClosed = false
  readonly #abort = new AbortController()
  #wake: Deferred<void> | undefined
  #pause: Timer | undefined
  readonly #loop: Promise<void>

  constructor(parts: MetadataObserverParts) {
    this.#parts = parts
    this.#loop = this.#follow()
  }

  /** Resolves, with the reason, when the metadata cannot be followed any more. */
  get failed(): Promise<Error> {
    return this.#failed.promise
  }

  /** -1: not known. */
  get controllerId(): number {
    return this.#controllerId
  }

  get voters(): readonly VoterDescription[] {
    return this.#voters
  }

  get contacts(): readonly PeerAddress[] {
    const known = this.#voters.filter(({ host }) => host !== '')
    return known.length > 0 ? known : this.#parts.contacts
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#abort.abort()
    this.#pause?.cancel()
    this.#wake?.resolve()
    await this.#loop
  }

  async #follow(): Promise<void> {
    while (!this.#isClosed) {
      try {
        this.#take(await this.#poll())
      } catch (error) {
        if (this.#isClosed) return
        if (TidemarkError.is(error) && (error.code === 'DATA_DIR_INVALID' || error.code === 'INCONSISTENT_CLUSTER_ID')) {
          this.#failed.resolve(error)
          return
        }
        this.#parts.runtime.log.debug('metadata.unreached', { error })
        this.#asked++
        await this.#sleep(RETRY_MS * (0.5 + this.#parts.runtime.random.float()))
      }
    }
  }

  async #poll(): Promise<FetchMetadataResponse> {
    const { nodeId, view, clusterId } = this.#parts
    const channels = await this.#parts.channels()
    const { contacts } = this
    const address = contacts[this.#asked % Math.max(1, contacts.length)]
    if (address === undefined) throw new TidemarkError('UNAVAILABLE', 'no controller is known')
    const request = { clusterId: view.image.clusterId || clusterId, nodeId, fromOffset: view.image.version, maxWaitMs: POLL_MS }
    return (
      await channels.call(address, ControllerService.fetchMetadata, request, { timeoutMs: POLL_TIMEOUT_MS, signal: this.#abort.signal })
    ).response
  }

  #take({ clusterId, controllerId, snapshot, batches, voters }: FetchMetadataResponse): void {
    if (this.#isClosed) return
    const { view } = this.#parts
    const ours = view.image.clusterId || this.#parts.clusterId
    if (ours !== '' && clusterId !== '' && clusterId !== ours)
      throw new TidemarkError(
        'INCONSISTENT_CLUSTER_ID',
        `node ${this.#parts.nodeId} belongs to cluster ${ours}, and this is cluster ${clusterId}`,
      )
    this.#controllerId = controllerId
    this.#voters = voters
    if (snapshot !== undefined) view.load(snapshot)
    for (const batch of batches) view.apply(view.image.version, batch)
  }

  async #sleep(ms: number): Promise<void> {
    const wake = createDeferred<void>()
    this.#wake = wake
    this.#pause = this.#parts.runtime.timers.after(ms, () => wake.resolve())
    await wake.promise
  }
}
