/**
 * The partitions a member has, from being given to being let go of.
 *
 * A partition is read from where the group has come. It is let go of once nothing of it is in hand and what was finished is committed, or when that takes too
 * long. Work of one partition is never in the hands of this process under two assignments: what was taken away and comes back waits for the hands to be
 * empty.
 */
import { type ErrorCode, TidemarkError } from '../../protocol/errors.ts'
import type { ClusterClient } from '../cluster-client.ts'
import { PartitionFetch } from '../consumer/partition-fetch.ts'
import type { Reader } from '../consumer/reader.ts'
import type { GroupCalls } from '../group-calls.ts'
import { atMost, backoffMs, pause } from '../retry.ts'
import { Assigned, type Given, type PartitionKey } from './assigned.ts'
import { type Commits, isFencing } from './commits.ts'
import type { GroupEmitter } from './events.ts'
import type { GroupSettings } from './settings.ts'
import { type StartingPoint, startingPoints } from './starting-points.ts'

/** Shares of the rebalance timeout: after the first the signal of work in hand aborts, after the second it is let go of as it is. */
const ABORT_SHARE = 0.8
const DROP_SHARE = 0.9

/** The topic is gone, or was made anew: the coordinator takes it away. */
const GONE: ReadonlySet<ErrorCode> = new Set(['UNKNOWN_TOPIC', 'UNKNOWN_TOPIC_ID', 'UNKNOWN_PARTITION'])

export interface HoldingsParts<K, V> {
  readonly client: ClusterClient
  readonly calls: GroupCalls
  readonly settings: GroupSettings
  readonly emitter: GroupEmitter
  readonly reader: Reader<K, V>
  readonly commits: Commits
  readonly memberId: string
  /** Aborted when the member leaves. */
  readonly leaving: AbortSignal
  readonly isNew: (assigned: Assigned) => boolean
  readonly isPaused: () => boolean
  /** Commits what is finished of a partition that is about to go. Never rejects. */
  readonly lastCommit: (assigned: Assigned) => Promise<void>
  readonly released: (assigned: Assigned) => void
  readonly failed: (error: unknown) => void
}

export class Holdings<K, V> {
  readonly #parts: HoldingsParts<K, V>
  readonly #partitions = new Map<PartitionKey, Assigned>()
  readonly #byFetch = new Map<PartitionFetch, Assigned>()
  /** Held no more, with work still in hand. */
  readonly #leftovers = new Map<PartitionKey, Assigned>()

  constructor(parts: HoldingsParts<K, V>) {
    this.#parts = parts
  }

  get all(): Iterable<Assigned> {
    return this.#partitions.values()
  }

  /** That a batch belongs to; undefined: it was taken away. */
  of(fetch: PartitionFetch): Assigned | undefined {
    return this.#byFetch.get(fetch)
  }

  begin(partitions: readonly Given[]): void {
    const free: Assigned[] = []
    for (const given of partitions) {
      const assigned = new Assigned(given)
      this.#partitions.set(given.key, assigned)
      const leftover = this.#leftovers.get(given.key)
      if (leftover === undefined) free.push(assigned)
      else void leftover.handsEmpty().then(() => this.#start([assigned]))
    }
    void this.#start(free)
  }

  letGo(keys: readonly PartitionKey[]): void {
    const going = this.#named(keys)
    const read = going.filter(({ state }) => state === 'reading')
    for (const assigned of going) {
      assigned.state = 'releasing'
      if (assigned.fetch !== undefined) this.#parts.reader.remove(assigned.fetch)
    }
    const told = read.length === 0 ? Promise.resolve() : this.#parts.emitter.emit('revoked', { partitions: read.map(({ place }) => place) })
    told.catch((error: unknown) => this.#parts.failed(error))
    for (const assigned of going) void this.#release(assigned, told)
  }

  lost(keys: readonly PartitionKey[], error: TidemarkError): void {
    const gone = this.#named(keys)
    for (const assigned of gone) {
      assigned.abort(error)
      this.#forget(assigned)
    }
    const partitions = gone.map(({ place }) => place)
    if (gone.length > 0) this.#parts.emitter.emit('lost', { partitions, error }).catch((caught: unknown) => this.#parts.failed(caught))
  }

  unreadable(fetch: PartitionFetch, error: TidemarkError): void {
    // Should the coordinator not take it away, the watchdog sees that it stands still.
    fetch.failureCount++
    fetch.isWaiting = true
    if (GONE.has(error.code)) return
    this.#parts.failed(new TidemarkError(error.code, `${fetch.topic}-${fetch.partition}: ${error.message}`, { cause: error }))
  }

  /** Resolves when nothing is in hand. */
  async handsEmpty(): Promise<void> {
    await Promise.all([...this.#partitions.values(), ...this.#leftovers.values()].map((assigned) => assigned.handsEmpty()))
  }

  /** The results of what is in hand count no more. */
  abortAll(reason: TidemarkError): void {
    for (const assigned of [...this.#partitions.values(), ...this.#leftovers.values()]) assigned.abort(reason)
  }

  /** Everything is over. */
  clear(): void {
    for (const assigned of [...this.#partitions.values()]) this.#forget(assigned)
  }

  async #start(partitions: readonly Assigned[]): Promise<void> {
    const { client, calls, leaving, failed } = this.#parts
    for (let attempt = 1; ; attempt++) {
      const live = partitions.filter(({ state }) => state === 'starting')
      if (live.length === 0 || leaving.aborted) return
      try {
        const points = await startingPoints(live, { ...this.#parts, signal: leaving })
        await this.#pin(live, points)
        this.#read(live, points)
        return
      } catch (caught) {
        const error = TidemarkError.from(caught)
        if (leaving.aborted) return
        // One of us is behind; if it is the coordinator, there is another.
        if (isFencing(error)) calls.forget()
        else if (!error.retriable && !GONE.has(error.code)) {
          failed(caught)
          return
        }
        await pause(backoffMs(attempt, client.runtime.random, error.retryAfterMs), client.runtime.timers, leaving).catch(() => {})
      }
    }
  }

  /** Where a group begins is committed before it reads: whoever comes after must not begin at another place. */
  async #pin(partitions: readonly Assigned[], points: readonly StartingPoint[]): Promise<void> {
    const pinned = partitions.map(async (assigned, index) => {
      const { offset, committed } = points[index] as StartingPoint
      assigned.committed = committed ?? -1
      assigned.requested = assigned.committed
      if (committed !== undefined || assigned.state !== 'starting') return
      try {
        await this.#parts.commits.request(assigned, { offset, leaderEpoch: -1, metadata: '', mayGoBack: false })
      } catch (caught) {
        const error = TidemarkError.from(caught)
        if (!isFencing(error)) throw error
      }
    })
    await Promise.all(pinned)
  }

  #read(partitions: readonly Assigned[], points: readonly StartingPoint[]): void {
    const { client, reader, emitter, isPaused, failed } = this.#parts
    const begun = partitions.flatMap((assigned, index) => {
      if (assigned.state !== 'starting') return []
      const { offset } = points[index] as StartingPoint
      const fetch = new PartitionFetch(assigned.topic, assigned.partition, offset, client.runtime.clock.monotonic())
      fetch.topicId = assigned.topicId
      fetch.deliveredOffset = offset
      fetch.isPaused = isPaused()
      assigned.startAt(offset)
      assigned.fetch = fetch
      assigned.state = 'reading'
      this.#byFetch.set(fetch, assigned)
      reader.add(fetch)
      return [{ ...assigned.place, offset: BigInt(offset) }]
    })
    if (begun.length > 0) emitter.emit('assigned', { partitions: begun }).catch(failed)
  }

  async #release(assigned: Assigned, told: Promise<void>): Promise<void> {
    const { lastCommit, released } = this.#parts
    await this.#withinTimeout(assigned, async () => {
      await Promise.allSettled([assigned.handsEmpty(), told])
      await lastCommit(assigned)
    })
    if (assigned.state === 'over') return
    this.#forget(assigned)
    released(assigned)
  }

  /** The coordinator takes out who does not let go in time: better to let go of one partition than to lose all. */
  async #withinTimeout(assigned: Assigned, work: () => Promise<void>): Promise<void> {
    const { client, settings } = this.#parts
    const { timers } = client.runtime
    const late = new TidemarkError('STALE_MEMBER_EPOCH', `${assigned.topic}-${assigned.partition} has to go to another member`)
    const aborts = timers.after(settings.rebalanceTimeoutMs * ABORT_SHARE, () => assigned.abort(late))
    await atMost(timers, settings.rebalanceTimeoutMs * DROP_SHARE, work())
    aborts.cancel()
    assigned.abort(late)
  }

  #named(keys: readonly PartitionKey[]): Assigned[] {
    return keys.flatMap((key) => this.#partitions.get(key) ?? [])
  }

  #forget(assigned: Assigned): void {
    const { key, fetch } = assigned
    assigned.state = 'over'
    if (this.#partitions.get(key) === assigned) this.#partitions.delete(key)
    if (fetch !== undefined) {
      this.#parts.reader.remove(fetch)
      this.#byFetch.delete(fetch)
    }
    if (!assigned.isInHand) return
    this.#leftovers.set(key, assigned)
    void assigned.handsEmpty().then(() => {
      if (this.#leftovers.get(key) === assigned) this.#leftovers.delete(key)
    })
  }
}
