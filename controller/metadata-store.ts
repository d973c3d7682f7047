/** Where a metadata log keeps its entries. */
export interface MetadataStore {
  /** Every entry, by offset from 0 on, without gaps. Throws `CORRUPT_LOG` when that cannot be shown to be true. */
  load(): Promise<Buffer[]>
  /**
   * Adds entries behind those there are, from `offset` on: all or none, durable when it resolves. After a rejection
   * the store may not be used any more.
   */
  append(offset: number, entries: readonly Buffer[]): Promise<void>
  close(): Promise<void>
}
