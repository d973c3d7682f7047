/** Producer ids from the cluster. All partitions share one until one of them has to part with it. */
import type { ClusterClient } from '../cluster-client.ts'
import type { Identity } from './partition-queue.ts'

export class ProducerIds {
  readonly #client: ClusterClient
  #current: { readonly id: Promise<number> } | undefined

  constructor(client: ClusterClient) {
    this.#client = client
  }

  /** An identity for one partition that has not had the current id yet. */
  async identity(): Promise<Identity> {
    this.#current ??= { id: this.#client.call('initProducer', {}).then(({ producerId }) => producerId) }
    const asked = this.#current
    try {
      return { id: await asked.id, epoch: 0, nextSequence: 0, isKnown: false }
    } catch (error) {
      if (this.#current === asked) this.#current = undefined
      throw error
    }
  }

  /** A partition is done with the current id: what asks from now on gets another. Partitions that have it keep it. */
  renew(): void {
    this.#current = undefined
  }
}
