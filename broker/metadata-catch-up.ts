/**
 * Brings this node's metadata up to what is committed: before it says that something does not exist, or that a log it leads ends somewhere. What one node has
 * answered to a client is then known to every other that is asked later.
 */
import type { ActiveController } from '../controller/active-controller.ts'
import type { MetadataView } from '../controller/metadata-view.ts'
import { createDeferred } from '../runtime/deferred.ts'
import type { Timers } from '../runtime/runtime.ts'

/** Longer than this nobody is kept waiting for a node that lags. */
const CATCH_UP_MS = 1000

export class MetadataCatchUp {
  readonly #controller: Pick<ActiveController, 'ask'>
  readonly #view: MetadataView
  readonly #timers: Timers
  #underWay: Promise<boolean> | undefined
  /** Begins when the one under way is over: that one may have asked too early for those who come meanwhile. */
  #next: Promise<boolean> | undefined

  constructor(controller: Pick<ActiveController, 'ask'>, view: MetadataView, timers: Timers) {
    this.#controller = controller
    this.#view = view
    this.#timers = timers
  }

  /** Before an answer that depends on these topics: another node may have answered already that one of them was created. */
  async knowing(topics: Iterable<string>): Promise<void> {
    for (const topic of topics) {
      if (this.#view.image.topics.has(topic)) continue
      await this.present()
      return
    }
  }

  /** Resolves with true when this node knows what was decided before the call, with false when nobody can say. However many ask, one request is under way. */
  present(): Promise<boolean> {
    if (this.#underWay === undefined) return this.#start()
    this.#next ??= this.#underWay.then(() => this.#start())
    return this.#next
  }

  #start(): Promise<boolean> {
    this.#next = undefined
    const late = createDeferred<boolean>()
    const timer = this.#timers.after(CATCH_UP_MS, () => late.resolve(false))
    this.#underWay = Promise.race([this.#catchUp(), late.promise]).finally(() => {
      timer.cancel()
      this.#underWay = undefined
    })
    return this.#underWay
  }

  async #catchUp(): Promise<boolean> {
    try {
      const { metadataVersion } = await this.#controller.ask('readMetadataVersion', {})
      await this.#view.waitForVersion(metadataVersion - 1, { timeoutMs: CATCH_UP_MS })
      return this.#view.image.version >= metadataVersion
    } catch {
      // Without a controller what is known here is the best there is.
      return false
    }
  }
}
