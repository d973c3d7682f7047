/** Producer ids for the clients of this node, handed out from blocks that the controller allocates. */
import type { Controller } from '../controller/controller.ts'

export class ProducerIds {
  readonly #controller: Controller
  readonly #nodeId: number
  #next = 0
  /** One past the last id of the present block. */
  #end = 0
  #refill: Promise<void> | undefined

  constructor(controller: Controller, nodeId: number) {
    this.#controller = controller
    this.#nodeId = nodeId
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
    const block = await this.#controller.allocateProducerIds(this.#nodeId)
    this.#next = block.first
    this.#end = block.next
  }
}
