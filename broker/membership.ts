/**
 * This node's place in the cluster: registers it, tells the active controller that it is alive, and lets it leave in order.
 *
 * ```
 * registered, fenced ──has applied its registration──> unfenced ──silent for a session──> fenced ──> unfenced again
 *                                                          └── stopping: moves leaderships away ──> may stop
 * ```
 */
import type { ActiveController } from '../controller/active-controller.ts'
import type { MetadataView } from '../controller/metadata-view.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { fromErrorDetail } from '../protocol/error-wire.ts'
import type { NodeHeartbeatResponse, RegisterNodeRequest } from '../protocol/gen/tidemark/v1/controller.ts'
import { createDeferred, type Deferred } from '../runtime/deferred.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'

/** While the node waits for something, it asks this often. */
const EAGER_INTERVAL_MS = 20

/** A node that wants to leave does not wait longer for a controller that does not answer. */
const SILENCE_MAX_MS = 2000

/** A registration that is turned away for the moment is tried again after this. */
const RETRY_MS = 100

export interface MembershipParts {
  readonly runtime: Pick<Runtime, 'clock' | 'timers' | 'random' | 'log'>
  readonly controller: ActiveController
  readonly view: MetadataView
  readonly heartbeatIntervalMs: number
  readonly registration: Omit<RegisterNodeRequest, 'clusterId'>
  /** The node's disk failed: it must not lead. */
  readonly wantFence: () => boolean
}

export class Membership {
  readonly #parts: MembershipParts
  readonly #failed: Deferred<Error> = createDeferred<Error>()
  #nodeEpoch = 0
  #isFenced = true
  /** Monotonic: the last answer of a controller. */
  #heardAtMs = 0
  /** The version of the metadata that the last answer told, and when that heartbeat was sent (monotonic). */
  #toldVersion = 0
  #toldAtMs = 0
  #wantShutdown = false
  #isDuplicateSaid = false
  #timer: Timer | undefined
  #beat: Promise<void> | undefined
  #changed: Deferred<void> = createDeferred<void>()
  #mayShutDown = false
  #isClosed = false

  constructor(parts: MembershipParts) {
    this.#parts = parts
  }

  /** 0 before the registration. */
  get nodeEpoch(): number {
    return this.#nodeEpoch
  }

  get isFenced(): boolean {
    return this.#isFenced
  }

  /**
   * The node knows all that was decided about it until less than `maxMs` ago: counted from when the heartbeat was sent that told it how far it has to be. Controllers
   * that fence it for its silence have not heard of it for longer.
   */
  isUpToDate(maxMs: number): boolean {
    const { runtime, view } = this.#parts
    return !this.#isFenced && runtime.clock.monotonic() - this.#toldAtMs < maxMs && view.image.version >= this.#toldVersion
  }

  /** How long no controller has answered, in milliseconds; 0 before the node is registered. */
  get silenceMs(): number {
    return this.#nodeEpoch === 0 ? 0 : this.#parts.runtime.clock.monotonic() - this.#heardAtMs
  }

  /** Resolves, with the reason, when the node has lost its place: another process has it, or it was removed. */
  get failed(): Promise<Error> {
    return this.#failed.promise
  }

  /** Resolves once the node is registered and has applied that. Rejects when it never will be. */
  async register(): Promise<void> {
    while (!this.#isClosed && this.#nodeEpoch === 0) {
      try {
        const { view, controller, registration } = this.#parts
        const { error, nodeEpoch } = await controller.ask('registerNode', { ...registration, clusterId: view.image.clusterId })
        if (error !== undefined) throw fromErrorDetail(error)
        this.#nodeEpoch = nodeEpoch
        this.#heardAtMs = this.#parts.runtime.clock.monotonic()
      } catch (error) {
        await this.#waitToRetry(TidemarkError.from(error))
      }
    }
    const { view } = this.#parts
    while (!this.#isClosed && view.image.version < this.#nodeEpoch) await view.waitForVersion(view.image.version, { timeoutMs: 1000 })
  }

  /** From here on the controller hears of the node. */
  start(): void {
    this.#beatNow()
  }

  /** Resolves once the node may lead partitions, or is closed. */
  async whenUnfenced(): Promise<void> {
    while (this.#isFenced && !this.#isClosed) await this.#changed.promise
  }

  /** Asks for leave; resolves once the node leads nothing any more, after `timeoutMs`, or when nobody answers. */
  async shutDown(timeoutMs: number): Promise<void> {
    if (this.#nodeEpoch === 0 || this.#isClosed) return
    this.#wantShutdown = true
    const { clock } = this.#parts.runtime
    this.#heardAtMs = clock.monotonic()
    const late = createDeferred<'late'>()
    const deadline = this.#parts.runtime.timers.after(timeoutMs, () => late.resolve('late'))
    this.#beatNow()
    while (!this.#mayShutDown && !this.#isClosed && clock.monotonic() - this.#heardAtMs < SILENCE_MAX_MS) {
      if ((await Promise.race([this.#changed.promise, late.promise])) === 'late') break
    }
    deadline.cancel()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#timer?.cancel()
    this.#notify()
    await this.#beat
  }

  async #waitToRetry(error: TidemarkError): Promise<void> {
    // These become true in time; all others are for a person to mend.
    const isPassing = error.retriable || error.code === 'NOT_CONTROLLER' || error.code === 'UNAVAILABLE'
    if (!isPassing) throw error
    // Somebody has to end one of the two processes.
    const isWarning = error.code === 'DUPLICATE_NODE' && !this.#isDuplicateSaid
    this.#isDuplicateSaid ||= isWarning
    this.#parts.runtime.log[isWarning ? 'warn' : 'debug']('registration.retried', { error })
    await new Promise<void>((resolve) => {
      this.#timer = this.#parts.runtime.timers.after(RETRY_MS * (0.5 + this.#parts.runtime.random.float()), resolve)
      void this.#changed.promise.then(resolve)
    })
  }

  #beatNow(): void {
    this.#timer?.cancel()
    this.#beat ??= this.#sendBeat().finally(() => {
      this.#beat = undefined
      if (this.#isClosed) return
      const isEager = this.#isFenced || (this.#wantShutdown && !this.#mayShutDown)
      const { heartbeatIntervalMs, runtime } = this.#parts
      this.#timer = runtime.timers.after(isEager ? Math.min(EAGER_INTERVAL_MS, heartbeatIntervalMs) : heartbeatIntervalMs, () =>
        this.#beatNow(),
      )
    })
  }

  async #sendBeat(): Promise<void> {
    const { controller, view, registration, runtime, wantFence } = this.#parts
    const { image } = view
    const sentAtMs = runtime.clock.monotonic()
    try {
      const response = await controller.ask('heartbeat', {
        clusterId: image.clusterId,
        nodeId: registration.nodeId,
        nodeEpoch: this.#nodeEpoch,
        metadataVersion: image.version,
        wantFence: wantFence(),
        wantShutdown: this.#wantShutdown,
      })
      this.#heard(response)
      this.#toldVersion = response.metadataVersion
      this.#toldAtMs = sentAtMs
    } catch (error) {
      const known = TidemarkError.from(error)
      if (known.code === 'FENCED_NODE_EPOCH' && !this.#isClosed) this.#failed.resolve(known)
      runtime.log.debug('heartbeat.lost', { error: known })
      this.#notify()
    }
  }

  #heard({ error, fenced, mayShutDown }: NodeHeartbeatResponse): void {
    if (error !== undefined) throw fromErrorDetail(error)
    if (fenced !== this.#isFenced) this.#parts.runtime.log.info(fenced ? 'node.fenced' : 'node.unfenced', { nodeEpoch: this.#nodeEpoch })
    this.#heardAtMs = this.#parts.runtime.clock.monotonic()
    this.#isFenced = fenced
    this.#mayShutDown = mayShutDown
    this.#notify()
  }

  #notify(): void {
    const changed = this.#changed
    this.#changed = createDeferred<void>()
    changed.resolve()
  }
}
