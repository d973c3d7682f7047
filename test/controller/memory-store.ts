/** A `MetadataStore` that lasts as long as the object: for nodes in memory. Closing keeps the entries, so that a node can be started on it again. */
import { invariant } from '../../runtime/invariant.ts'
import type { MetadataStore } from './metadata-store.ts'

export class MemoryStore implements MetadataStore {
  readonly #entries: Buffer[] = []

  async load(): Promise<Buffer[]> {
    return [...this.#entries]
  }

  async append(offset: number, entries: readonly Buffer[]): Promise<void> {
    invariant(offset === this.#entries.length, 'entries are added at the end')
    this.#entries.push(...entries.map((entry) => Buffer.from(entry)))
  }

  async close(): Promise<void> {}
}
