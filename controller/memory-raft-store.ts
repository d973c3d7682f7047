/** A `RaftStore` that lasts as long as the object: for nodes in memory, which may be started on it again. */
import type { Entry, HardState, Snapshot } from './raft/messages.ts'
import type { RaftChange, RaftState, RaftStore } from './raft-store.ts'

const NOTHING: RaftState = {
  hardState: { term: 0, vote: 0, commit: 0 },
  snapshot: undefined,
  entries: [],
  compacted: { index: 0, term: 0 },
  directories: new Map(),
}

export class MemoryRaftStore implements RaftStore {
  #hardState: HardState
  #snapshot: Snapshot | undefined
  #entries: Entry[]
  #compacted: RaftState['compacted']
  #directories: ReadonlyMap<number, string>

  /** `state`: what another store had. */
  constructor(state: RaftState = NOTHING) {
    this.#hardState = state.hardState
    this.#snapshot = state.snapshot
    this.#entries = [...state.entries]
    this.#compacted = state.compacted
    this.#directories = state.directories
  }

  async load(): Promise<RaftState> {
    return {
      hardState: this.#hardState,
      snapshot: this.#snapshot,
      entries: [...this.#entries],
      compacted: this.#compacted,
      directories: new Map(this.#directories),
    }
  }

  async save({ hardState, entries, directories }: RaftChange): Promise<void> {
    const [first] = entries
    if (first !== undefined) this.#entries = [...this.#entries.filter(({ index }) => index < first.index), ...entries]
    this.#hardState = hardState
    this.#directories = new Map(directories)
  }

  async saveSnapshot(
    snapshot: Snapshot,
    { compactTo, isForeign }: { readonly compactTo: number; readonly isForeign: boolean },
  ): Promise<void> {
    this.#snapshot = snapshot
    const last = this.#entries.find(({ index }) => index === compactTo)
    if (isForeign) {
      this.#entries = []
      this.#compacted = { index: snapshot.meta.index, term: snapshot.meta.term }
    } else if (last !== undefined) {
      this.#entries = this.#entries.filter(({ index }) => index > compactTo)
      this.#compacted = { index: compactTo, term: last.term }
    }
  }

  async close(): Promise<void> {
    // Nothing to let go of.
  }
}
