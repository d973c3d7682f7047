/** The end of the log that is not durable on this node yet: a snapshot that came, and the entries from `offset` on. */
import { invariant } from './invariant.ts'
import type { Entry, Snapshot } from './messages.ts'

export class Unstable {
  snapshot: Snapshot | undefined
  entries: Entry[] = []
  /** Index of the first of `entries`, or of the entry that comes next. */
  offset: number

  constructor(offset: number) {
    this.offset = offset
  }

  /** Undefined: nothing here. */
  get lastIndex(): number | undefined {
    if (this.entries.length > 0) return this.offset + this.entries.length - 1
    return this.snapshot?.meta.index
  }

  /** Undefined: not here. */
  term(index: number): number | undefined {
    if (index < this.offset) return this.snapshot?.meta.index === index ? this.snapshot.meta.term : undefined
    return this.entries[index - this.offset]?.term
  }

  /** Discards what there is from the first of `entries` on, and adds them. */
  append(entries: readonly Entry[]): void {
    const [first] = entries
    if (first === undefined) return
    if (first.index <= this.offset) {
      // What was durable from there on will be overwritten when these are written.
      this.offset = first.index
      this.entries = [...entries]
      return
    }
    const kept = first.index - this.offset
    invariant(kept <= this.entries.length, `entry ${first.index} follows on the log`)
    this.entries = [...this.entries.slice(0, kept), ...entries]
  }

  /** Entries up to `index` are durable, if the last of them is still the one of `term`: it may have been replaced while it was written. */
  stableTo(index: number, term: number): void {
    if (index < this.offset || this.term(index) !== term) return
    this.entries = this.entries.slice(index + 1 - this.offset)
    this.offset = index + 1
  }

  stableSnapshotTo(index: number): void {
    if (this.snapshot?.meta.index === index) this.snapshot = undefined
  }

  restore(snapshot: Snapshot): void {
    this.snapshot = snapshot
    this.entries = []
    this.offset = snapshot.meta.index + 1
  }
}
