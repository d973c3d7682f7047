/**
 * The groups of one partition of `__consumer_offsets`, while this node leads it in one epoch.
 *
 * A request is decided against the state as it is, written, and applied at once, all in one turn: the next request sees it. Its answer waits until
 * what it tells of is committed; so does an answer that changes nothing, where something of its group is not committed yet.
 *
 * ```
 * loading ──all records read and committed──> active ──leadership gone, a write was taken back──> closed
 * ```
 * A write that was taken back, as when the disk is full, leaves a state that the log does not have: the shard is closed, and another one reads the log.
 */
import { TidemarkError } from '../../protocol/errors.ts'
import type { Clock } from '../../runtime/runtime.ts'
import type { GroupRecord } from './group-state.ts'
import type { GroupLog } from './group-log.ts'
import { decodeRecord, encodeRecord } from './group-records.ts'
import { type Decision, LiveGroup } from './live-group.ts'

/** Answers that wait for their commit. At a sync of some milliseconds for all of them, none waits long. */
const WAITING_MAX = 20_000

/** Records of one batch, where they need not be seen together. */
const PIECE_RECORDS = 2000

export interface ShardParts {
  readonly partition: number
  readonly log: GroupLog
  readonly clock: Clock
  /** So much longer than their session members of an earlier coordinator may be silent: as long as that one may have gone on without knowing. */
  readonly graceMs: () => number
  /** The shard cannot go on: the state may not be what the log has. */
  readonly broken: (error: TidemarkError) => void
}

export class GroupShard {
  readonly partition: number
  readonly #parts: ShardParts
  readonly #groups = new Map<string, LiveGroup>()
  /** Why it is closed. */
  #closed: TidemarkError | undefined
  #isActive = false
  #waitingCount = 0
  /** Behind the last record of all. */
  #writtenOffset = 0

  constructor(parts: ShardParts) {
    this.partition = parts.partition
    this.#parts = parts
  }

  get isActive(): boolean {
    return this.#isActive && this.#closed === undefined
  }

  get groups(): ReadonlyMap<string, LiveGroup> {
    return this.#groups
  }

  /** Reads all there is. Resolves when it is active, or closed. Rejects when the log cannot be read. */
  async load(): Promise<void> {
    const { log } = this.#parts
    await log.replay(
      (key, value) => this.#apply([decodeRecord(key, value)]),
      () => this.#closed !== undefined,
    )
    if (this.#closed !== undefined) return
    const fromMs = this.#parts.clock.monotonic() + this.#parts.graceMs()
    for (const [id, group] of this.#groups) {
      if (group.state.isGone) this.#groups.delete(id)
      else group.sessions.follow(group.state.members, fromMs)
    }
    this.#isActive = true
  }

  /** Throws while its groups cannot be worked on. */
  checkActive(): void {
    if (this.#closed !== undefined) throw this.#closed
    if (!this.#isActive) {
      throw new TidemarkError('COORDINATOR_LOAD_IN_PROGRESS', `the groups of partition ${this.partition} are being read`, {
        retryAfterMs: 50,
        outcome: 'failed',
      })
    }
  }

  /**
   * Decides, writes and applies at once, and resolves when what the answer tells of is committed. Rejects with what `decide` throws, or what keeps the
   * records from being written (nothing has changed then), or what keeps them from being committed in time (they may yet be). A group that is not known
   * has an empty state, and is forgotten unless something is written.
   */
  change<Answer>(id: string, decide: (group: LiveGroup) => Decision<Answer>): Promise<Answer> {
    try {
      this.checkActive()
      if (this.#waitingCount >= WAITING_MAX)
        throw new TidemarkError('BUSY', `${this.#waitingCount} answers wait for the disk`, { retryAfterMs: 100, outcome: 'failed' })
      const group = this.#group(id)
      const { records, answer } = decide(group)
      this.#write(group, records)
      const told = answer()
      return this.#whenCommitted(group).then(() => told)
    } catch (error) {
      return Promise.reject(TidemarkError.from(error))
    }
  }

  /** As `change`, a part of the records at a time: each makes sense alone, and what is left is decided anew. Resolves when nothing is left. */
  async changeInPieces(id: string, decide: (group: LiveGroup) => readonly GroupRecord[]): Promise<void> {
    let leftCount = 0
    do {
      leftCount = await this.change(id, (group) => {
        const records = decide(group)
        return { records: records.slice(0, PIECE_RECORDS), answer: () => records.length - PIECE_RECORDS }
      })
    } while (leftCount > 0)
  }

  /** Whoever waits is told `reason`. */
  close(reason: TidemarkError): void {
    if (this.#closed !== undefined) return
    this.#closed = reason
    for (const { parked } of this.#groups.values()) parked.wakeAll()
    this.#groups.clear()
  }

  /** What is not known may have been until a moment ago: its end has to be committed as well. */
  #group(id: string): LiveGroup {
    return this.#groups.get(id) ?? new LiveGroup(id, this.#writtenOffset)
  }

  #write(group: LiveGroup, records: readonly GroupRecord[]): void {
    if (records.length === 0) return
    const { log, clock } = this.#parts
    this.#writtenOffset = log.append(records.map(encodeRecord))
    group.writtenOffset = this.#writtenOffset
    const { state, sessions, parked } = group
    this.#groups.set(state.group, group)
    for (const record of records) state.apply(record)
    sessions.follow(state.members, clock.monotonic())
    if (state.isGone) this.#groups.delete(state.group)
    parked.wakeChanged(state.members)
  }

  #apply(records: readonly GroupRecord[]): void {
    for (const record of records) {
      const group = this.#group(record.group)
      this.#groups.set(record.group, group)
      group.state.apply(record)
    }
  }

  #whenCommitted(group: LiveGroup): Promise<void> {
    this.#waitingCount++
    return new Promise((resolve, reject) => {
      this.#parts.log.whenCommitted(group.writtenOffset, (error) => {
        this.#waitingCount--
        if (error === undefined) {
          resolve()
          return
        }
        if (!mayYetCommit(error)) this.#parts.broken(error)
        reject(this.#closed ?? error)
      })
    })
  }
}

/** The records are in the log, and stay there as long as this node leads. */
function mayYetCommit({ code }: TidemarkError): boolean {
  return code === 'REQUEST_TIMED_OUT' || code === 'NOT_ENOUGH_REPLICAS_AFTER_APPEND'
}
