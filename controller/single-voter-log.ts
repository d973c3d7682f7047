/** A metadata log whose quorum is this node alone: committed is what the store has made durable. */
import { TidemarkError } from '../protocol/errors.ts'
import { MetadataBatch } from '../protocol/gen/tidemark/v1/metadata.ts'
import { createDeferred, type Deferred } from '../runtime/deferred.ts'
import type { ApplyBatch, MetadataLog } from './metadata-log.ts'
import type { MetadataStore } from './metadata-store.ts'

/** A batch is refused when larger: nothing we propose comes near. */
const BATCH_BYTES_MAX = 16 * 1024 * 1024

interface Proposal {
  readonly batch: MetadataBatch
  readonly entry: Buffer
  readonly committed: Deferred<number>
}

export async function openSingleVoterLog(store: MetadataStore): Promise<MetadataLog> {
  const entries = await store.load()
  return new SingleVoterLog(
    store,
    entries.map((entry) => MetadataBatch.decode(entry)),
  )
}

class SingleVoterLog implements MetadataLog {
  readonly #store: MetadataStore
  readonly #committed: MetadataBatch[]
  readonly #followers = new Set<ApplyBatch>()
  readonly #failed = createDeferred<Error>()
  #waiting: Proposal[] = []
  #writing: Promise<void> | undefined
  #end: TidemarkError | undefined

  constructor(store: MetadataStore, committed: MetadataBatch[]) {
    this.#store = store
    this.#committed = committed
  }

  get failed(): Promise<Error> {
    return this.#failed.promise
  }

  propose(batch: MetadataBatch): Promise<number> {
    if (this.#end !== undefined) return Promise.reject(this.#end)
    const entry = Buffer.from(MetadataBatch.encode(batch).finish())
    if (entry.length > BATCH_BYTES_MAX) {
      return Promise.reject(new TidemarkError('LIMIT_EXCEEDED', `a metadata batch of ${entry.length} bytes, at most ${BATCH_BYTES_MAX} are allowed`))
    }
    const proposal = { batch, entry, committed: createDeferred<number>() }
    this.#waiting.push(proposal)
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined
    })
    return proposal.committed.promise
  }

  follow(fromOffset: number, apply: ApplyBatch): () => void {
    this.#committed.slice(fromOffset).forEach((batch, index) => apply(fromOffset + index, batch))
    this.#followers.add(apply)
    return () => this.#followers.delete(apply)
  }

  async close(): Promise<void> {
    this.#end ??= new TidemarkError('SHUTTING_DOWN')
    await this.#writing
    await this.#store.close()
  }

  /** One durable write takes all the proposals that came while the last one ran. */
  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#waiting
      this.#waiting = []
      try {
        await this.#store.append(
          this.#committed.length,
          group.map(({ entry }) => entry),
        )
      } catch (error) {
        this.#fail(error, [...group, ...this.#waiting])
        return
      }
      for (const { batch, committed } of group) {
        const offset = this.#committed.push(batch) - 1
        for (const apply of this.#followers) apply(offset, batch)
        committed.resolve(offset)
      }
    }
  }

  /** Whether the entries are there is unknown now, so nothing more may be decided. */
  #fail(cause: unknown, lost: readonly Proposal[]): void {
    const message = cause instanceof Error ? cause.message : String(cause)
    this.#end = new TidemarkError('STORAGE_FAILED', `the metadata could not be written: ${message}`, { cause, outcome: 'indeterminate' })
    this.#waiting = []
    for (const { committed } of lost) committed.reject(this.#end)
    this.#failed.resolve(this.#end)
  }
}
