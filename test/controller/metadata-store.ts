/** Where a metadata log keeps its entries. One log owns it, and makes one call at a time. */
export interface MetadataStore {
  /** Every entry, by offset from 0 on, without gaps. Throws `CORRUPT_LOG` when that cannot be shown to be true. Called before the first `append`. */
  load(): Promise<Buffer[]>
  /**
   * Adds entries behind those there are, from `offset` on: all or none, durable when it resolves. After a rejection
   * nobody knows whether they are there, and the store may not be used any more.
   */
  append(offset: number, entries: readonly Buffer[]): Promise<void>
  /** May be called more than once. */
  close(): Promise<void>
}
