/**
 * The log as the core sees it: what is durable (`storage`) and what is not yet (`unstable`) as one sequence.
 *
 * ```
 * applied <= committed <= last      committed entries are never replaced
 * ```
 */
import { invariant } from './invariant.ts'
import { type Entry, limitBytes, type Snapshot } from './messages.ts'
import type { RaftStorage } from './storage.ts'
import { Unstable } from './unstable.ts'

export class EntryLog {
  readonly #storage: RaftStorage
  readonly unstable: Unstable
  committed: number
  applied: number

  constructor(storage: RaftStorage, committed: number, applied: number) {
    this.#storage = storage
    this.unstable = new Unstable(storage.lastIndex() + 1)
    const before = storage.firstIndex() - 1
    this.committed = Math.max(committed, before)
    this.applied = Math.max(applied, before)
    invariant(
      this.committed <= this.lastIndex,
      `committed entries, up to ${this.committed}, are in the log, which ends at ${this.lastIndex}`,
    )
    invariant(this.applied <= this.committed, `applied entries, up to ${this.applied}, are committed`)
  }

  get firstIndex(): number {
    const { snapshot } = this.unstable
    return snapshot === undefined ? this.#storage.firstIndex() : snapshot.meta.index + 1
  }

  get lastIndex(): number {
    return this.unstable.lastIndex ?? this.#storage.lastIndex()
  }

  get lastTerm(): number {
    return this.term(this.lastIndex) as number
  }

  /** The last entry that is durable on this node. */
  get stableIndex(): number {
    return this.unstable.offset - 1
  }

  /** Undefined: beyond the end, or compacted. */
  term(index: number): number | undefined {
    if (index < this.firstIndex - 1 || index > this.lastIndex) return undefined
    return this.unstable.term(index) ?? this.#storage.term(index)
  }

  isUpToDate(index: number, term: number): boolean {
    return term > this.lastTerm || (term === this.lastTerm && index >= this.lastIndex)
  }

  /**
   * A leader's entries behind the entry `prevIndex` of `prevTerm`: adds those that are new. Returns the last of
   * them, undefined when the log has no such entry.
   */
  acceptAppend(prevIndex: number, prevTerm: number, entries: readonly Entry[], commit: number): number | undefined {
    if (this.term(prevIndex) !== prevTerm) return undefined
    const lastNew = prevIndex + entries.length
    const conflict = entries.find(({ index, term }) => this.term(index) !== term)
    if (conflict !== undefined) {
      invariant(conflict.index > this.committed, `entry ${conflict.index} is not replaced: entries up to ${this.committed} are committed`)
      this.append(entries.slice(conflict.index - prevIndex - 1))
    }
    this.commitTo(Math.min(commit, lastNew))
    return lastNew
  }

  append(entries: readonly Entry[]): void {
    const [first] = entries
    if (first === undefined) return
    invariant(first.index > this.committed, `entry ${first.index} is behind the committed ones`)
    this.unstable.append(entries)
  }

  /** The last entry at or below `index` whose term is not above `term`: where two logs may agree. Term 0 when it is compacted. */
  findConflictByTerm(index: number, term: number): { readonly index: number; readonly term: number } {
    for (let at = Math.min(index, this.lastIndex); at > 0; at--) {
      const ours = this.term(at)
      if (ours === undefined) return { index: at, term: 0 }
      if (ours <= term) return { index: at, term: ours }
    }
    return { index: 0, term: 0 }
  }

  commitTo(index: number): void {
    if (index <= this.committed) return
    invariant(index <= this.lastIndex, `what is committed, up to ${index}, is in the log, which ends at ${this.lastIndex}`)
    this.committed = index
  }

  appliedTo(index: number): void {
    invariant(index >= this.applied && index <= this.committed, `entries are applied in order and once committed, ${index} is not next`)
    this.applied = index
  }

  restore(snapshot: Snapshot): void {
    this.committed = snapshot.meta.index
    this.unstable.restore(snapshot)
  }

  /** The snapshot to send to who is too far behind. */
  snapshot(): Snapshot {
    return this.unstable.snapshot ?? this.#storage.snapshot()
  }

  /** `[from, to)`, or the beginning of it. What is asked for is there. */
  slice(from: number, to: number, maxBytes: number): readonly Entry[] {
    if (from >= to) return []
    invariant(from >= this.firstIndex && to <= this.lastIndex + 1, `entries ${from} to ${to} are in the log`)
    const { offset, entries } = this.unstable
    const stable = from < offset ? this.#storage.entries(from, Math.min(to, offset), maxBytes) : []
    // The storage gave less than it has: a continuation from the unstable part would leave a gap.
    if (from < offset && stable.length < Math.min(to, offset) - from) return stable
    const rest = entries.slice(Math.max(from, offset) - offset, Math.max(to, offset) - offset)
    return limitBytes([...stable, ...rest], maxBytes)
  }

  /** Undefined when entry `from - 1` or `from` is compacted. */
  entriesFrom(from: number, maxBytes: number): readonly Entry[] | undefined {
    return from < this.firstIndex ? undefined : this.slice(from, this.lastIndex + 1, maxBytes)
  }

  /** Committed and not applied, after a snapshot that waits to be installed was. */
  nextCommitted(maxBytes: number): readonly Entry[] {
    if (this.unstable.snapshot !== undefined) return []
    return this.slice(Math.max(this.applied + 1, this.firstIndex), this.committed + 1, maxBytes)
  }
}
