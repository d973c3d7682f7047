/**
 * A metadata log that is always active: committed is what its store has written. Lets tests hold a write back, or fail it.
 *
 * Proposals that come while a write runs share the next one.
 */
import { TidemarkError } from '../../protocol/errors.ts'
import { MetadataBatch } from '../../protocol/gen/tidemark/v1/metadata.ts'
import { createDeferred, type Deferred } from '../../runtime/deferred.ts'
import type { Leadership, LogFollower, MetadataLog, Unfollow } from '../../controller/metadata-log.ts'
import type { MetadataStore } from './metadata-store.ts'

/** One batch. The largest we make, a topic of 10,000 partitions, has under 2 MiB. */
export const BATCH_BYTES_MAX = 16 * 1024 * 1024

/** Proposals that may wait for the write under way. */
export const PROPOSALS_MAX = 1024

const ALWAYS_ACTIVE: Leadership = { leaderId: 0, epoch: 1, isActive: true }

interface Proposal {
  readonly batch: MetadataBatch
  readonly entry: Buffer
  readonly committed: Deferred<number>
}

/** Takes the store over: from here on the log closes it. */
export async function openSingleVoterLog(store: MetadataStore): Promise<MetadataLog> {
  try {
    const entries = await store.load()
    return new SingleVoterLog(
      store,
      entries.map((entry) => MetadataBatch.decode(entry)),
    )
  } catch (error) {
    // Why it cannot be opened matters, not what closing it makes of that.
    await store.close().catch(() => {})
    throw error
  }
}

class SingleVoterLog implements MetadataLog {
  readonly #store: MetadataStore
  /** By offset. Durable, and delivered to every follower but for the batch that is being delivered. */
  readonly #committed: MetadataBatch[]
  readonly #followers = new Set<LogFollower>()
  readonly #failed = createDeferred<Error>()
  #waiting: Proposal[] = []
  /** Present while a write runs. Whoever proposes then is taken by it, so it must be gone when the last look at the queue was taken. */
  #writing: Promise<void> | undefined
  /** Why nothing more is accepted. */
  #end: TidemarkError | undefined
  #closing: Promise<void> | undefined

  constructor(store: MetadataStore, committed: MetadataBatch[]) {
    this.#store = store
    this.#committed = committed
  }

  get failed(): Promise<Error> {
    return this.#failed.promise
  }

  get committedOffset(): number {
    return this.#committed.length - 1
  }

  async propose(batch: MetadataBatch): Promise<number> {
    if (this.#end !== undefined) throw this.#end
    if (this.#waiting.length >= PROPOSALS_MAX)
      throw new TidemarkError('BUSY', `${PROPOSALS_MAX} metadata batches wait already`, { retryAfterMs: 500 })
    const entry = Buffer.from(MetadataBatch.encode(batch).finish())
    if (entry.length > BATCH_BYTES_MAX) {
      throw new TidemarkError('LIMIT_EXCEEDED', `a metadata batch of ${entry.length} bytes, at most ${BATCH_BYTES_MAX} are allowed`)
    }
    const proposal = { batch, entry, committed: createDeferred<number>() }
    this.#waiting.push(proposal)
    this.#writing ??= this.#write()
    return proposal.committed.promise
  }

  get leadership(): Leadership {
    return ALWAYS_ACTIVE
  }

  onLeadership(): Unfollow {
    return () => {}
  }

  describeQuorum(): never {
    throw new TidemarkError('UNSUPPORTED')
  }

  alterQuorum(): never {
    throw new TidemarkError('UNSUPPORTED')
  }

  notController(): TidemarkError {
    return new TidemarkError('NOT_CONTROLLER')
  }

  async readBarrier(): Promise<void> {
    if (this.#end !== undefined) throw this.#end
  }

  follow(fromOffset: number, { apply, load }: LogFollower): Unfollow {
    // An object of our own, so that the same follower may follow twice.
    const follower: LogFollower = { apply, load }
    this.#committed.slice(fromOffset).forEach((batch, index) => follower.apply(fromOffset + index, batch))
    this.#followers.add(follower)
    return () => this.#followers.delete(follower)
  }

  close(): Promise<void> {
    this.#closing ??= this.#stop()
    return this.#closing
  }

  async #stop(): Promise<void> {
    this.#end ??= new TidemarkError('SHUTTING_DOWN', undefined, { outcome: 'failed' })
    await this.#writing
    await this.#store.close()
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#waiting
      this.#waiting = []
      try {
        await this.#store.append(
          this.#committed.length,
          group.map(({ entry }) => entry),
        )
        for (const proposal of group) this.#commit(proposal)
      } catch (error) {
        this.#fail(error, group)
      }
    }
    this.#writing = undefined
  }

  #commit({ batch, committed }: Proposal): void {
    // Before the batch is added: who begins to follow during the delivery gets it as history.
    const followers = [...this.#followers]
    const offset = this.#committed.push(batch) - 1
    for (const follower of followers) {
      if (this.#followers.has(follower)) follower.apply(offset, batch)
    }
    committed.resolve(offset)
  }

  /** Whether the entries are there is unknown now, or someone could not follow them; so nothing more may be decided. */
  #fail(cause: unknown, group: readonly Proposal[]): void {
    const message = `the metadata could not be written: ${cause instanceof Error ? cause.message : String(cause)}`
    const unwritten = this.#waiting
    this.#waiting = []
    this.#end = new TidemarkError('STORAGE_FAILED', message, { cause, outcome: 'failed' })
    const unknown = new TidemarkError('STORAGE_FAILED', message, { cause, outcome: 'indeterminate' })
    // Those of the group that were delivered already have their offset; rejecting them does nothing.
    for (const { committed } of group) committed.reject(unknown)
    for (const { committed } of unwritten) committed.reject(this.#end)
    this.#failed.resolve(this.#end)
  }
}
