/** Producer ids for the clients of this node, handed out from blocks that the controller allocates. */
import type { ActiveController } from '../controller/active-controller.ts'
import { fromErrorDetail } from '../protocol/error-wire.ts'
import { TidemarkError } from '../protocol/errors.ts'

export class ProducerIds {
  readonly #controller: ActiveController
  readonly #node: () => { readonly clusterId: string; readonly nodeId: number; readonly nodeEpoch: number }
  #next = 0
  /** One past the last id of the present block. */
  #end = 0
  #refill: Promise<void> | undefined

  constructor(
    controller: ActiveController,
    node: () => { readonly clusterId: string; readonly nodeId: number; readonly nodeEpoch: number },
  ) {
    this.#controller = controller
    this.#node = node
  }

  /** An id that no producer ever had. */
  async take(): Promise<number> {
    while (this.#next >= this.#end) {
      this.#refill ??= this.#fetchBlock().finally(() => {
        this.#refill = undefined
      })
      await this.#refill
    }
    return this.#next++
  }

  async #fetchBlock(): Promise<void> {
    const { error, firstProducerId, nextProducerId } = await this.#controller.ask('allocateProducerIds', this.#node())
    if (error !== undefined) throw fromErrorDetail(error)
    // Of a controller that is broken: asking on at once would only keep both busy.
    if (nextProducerId <= firstProducerId) throw new TidemarkError('UNAVAILABLE', 'the controller gives out no producer ids')
    this.#next = firstProducerId
    this.#end = nextProducerId
  }
}
