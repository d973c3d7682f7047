/** Which partitions there were when a member began: those that came later are new, and nobody can have read them. */
import type { ClusterClient } from '../cluster-client.ts'
import type { Subscription } from './subscription.ts'

export class KnownPartitions {
  readonly #counts = new Map<string, number>()

  /** Throws `UNKNOWN_TOPIC` when a topic that is named does not exist. */
  async learn(client: ClusterClient, { topics, pattern }: Pick<Subscription<unknown, unknown>, 'topics' | 'pattern'>): Promise<void> {
    for (const topic of topics) this.#counts.set(topic, (await client.topic(topic)).partitions.length)
    if (pattern === '') return
    const all = await client.call('describeTopics', { topics: [], all: true, afterVersion: 0, maxWaitMs: 0 })
    for (const { name, partitions } of all.topics) this.#counts.set(name, partitions.length)
  }

  isNew({ topic, partition }: { readonly topic: string; readonly partition: number }): boolean {
    return partition >= (this.#counts.get(topic) ?? 0)
  }
}
