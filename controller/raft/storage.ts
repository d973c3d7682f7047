/** What the core reads of the entries that are durable, and the storage in memory that stands before every durable one. */
import { invariant } from './invariant.ts'
import { type ConfState, type Entry, type HardState, limitBytes, type Snapshot } from './messages.ts'

export interface RaftStorage {
  initialState(): { readonly hardState: HardState; readonly confState: ConfState }
  /** Of the oldest entry that is there, or would be. */
  firstIndex(): number
  /** Of the newest entry; that of the snapshot when there is none behind it. */
  lastIndex(): number
  /** Undefined: beyond the end, or compacted. Known for the entry just before the first. */
  term(index: number): number | undefined
  /** `[from, to)` of what is there; the beginning of it, at least one, when it has more than `maxBytes`. */
  entries(from: number, to: number, maxBytes: number): readonly Entry[]
  snapshot(): Snapshot
}

const NOTHING: Snapshot = { meta: { index: 0, term: 0, confState: { voters: [], learners: [] } }, data: new Uint8Array(0) }

/** Entries behind `compacted`, which is known by its term alone; `compacted <= snapshot`. */
export class MemoryStorage implements RaftStorage {
  #hardState: HardState = { term: 0, vote: 0, commit: 0 }
  #snapshot: Snapshot = NOTHING
  /** The entry just before the first. */
  #compacted = { index: 0, term: 0 }
  #entries: Entry[] = []

  /** A storage of a cluster that begins with these members. */
  static withMembers(confState: ConfState): MemoryStorage {
    const storage = new MemoryStorage()
    storage.#snapshot = { ...NOTHING, meta: { ...NOTHING.meta, confState } }
    return storage
  }

  initialState(): { readonly hardState: HardState; readonly confState: ConfState } {
    return { hardState: this.#hardState, confState: this.#snapshot.meta.confState }
  }

  firstIndex(): number {
    return this.#compacted.index + 1
  }

  lastIndex(): number {
    return this.#compacted.index + this.#entries.length
  }

  term(index: number): number | undefined {
    if (index === this.#compacted.index) return this.#compacted.term
    return this.#entries[index - this.firstIndex()]?.term
  }

  entries(from: number, to: number, maxBytes: number): readonly Entry[] {
    invariant(from >= this.firstIndex() && to <= this.lastIndex() + 1, `entries ${from} to ${to} are there`)
    return limitBytes(this.#entries.slice(from - this.firstIndex(), to - this.firstIndex()), maxBytes)
  }

  snapshot(): Snapshot {
    return this.#snapshot
  }

  setHardState(hardState: HardState): void {
    this.#hardState = hardState
  }

  /** Adds entries; those there are from the first of them on are discarded. */
  append(entries: readonly Entry[]): void {
    const [first] = entries
    if (first === undefined) return
    const at = first.index - this.firstIndex()
    invariant(
      at >= 0 && at <= this.#entries.length,
      `entry ${first.index} follows on what is there, ${this.firstIndex()} to ${this.lastIndex()}`,
    )
    this.#entries.splice(at, this.#entries.length - at, ...entries)
  }

  /** Everything is replaced by a snapshot. `compacted`: entries behind that one will be added, though the snapshot has some of them. */
  applySnapshot(snapshot: Snapshot, compacted: { readonly index: number; readonly term: number } = snapshot.meta): void {
    const { index, term } = compacted
    invariant(snapshot.meta.index >= this.#snapshot.meta.index, 'a snapshot is not replaced by an older one')
    invariant(index <= snapshot.meta.index, 'what is discarded is in the snapshot')
    this.#snapshot = snapshot
    this.#compacted = { index, term }
    this.#entries = []
  }

  /** A snapshot of the state after entry `index`; the entries stay until `compact`. */
  createSnapshot(index: number, confState: ConfState, data: Uint8Array): Snapshot {
    const term = this.term(index)
    invariant(term !== undefined && index >= this.#snapshot.meta.index, `a snapshot is made of an entry that is there, ${index} is not`)
    this.#snapshot = { meta: { index, term, confState }, data }
    return this.#snapshot
  }

  /** Discards the entries up to and with `index`. */
  compact(index: number): void {
    if (index <= this.#compacted.index) return
    const term = this.term(index)
    invariant(term !== undefined && index <= this.#snapshot.meta.index, `what is discarded, up to ${index}, is in the snapshot`)
    this.#entries.splice(0, index - this.#compacted.index)
    this.#compacted = { index, term }
  }
}
