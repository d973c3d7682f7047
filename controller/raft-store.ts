/** Where a controller keeps what Raft must not forget. One log owns it, and makes one call at a time. */
import type { Entry, HardState, Snapshot } from './raft/messages.ts'

export interface RaftState {
  /** All zero in a new store. */
  readonly hardState: HardState
  readonly snapshot: Snapshot | undefined
  /** Behind `compacted`, without gaps; some may be in the snapshot as well. */
  readonly entries: readonly Entry[]
  /** The entry just before the first of `entries`. */
  readonly compacted: { readonly index: number; readonly term: number }
  /** Which disk each voter was first heard of on, by node id. */
  readonly directories: ReadonlyMap<number, string>
}

export interface RaftChange {
  readonly hardState: HardState
  /** Replace those there are from the first of them on. */
  readonly entries: readonly Entry[]
  readonly directories: ReadonlyMap<number, string>
}

export interface RaftStore {
  /** Throws `CORRUPT_LOG` when what is there cannot be shown to be all that was written. Called before anything else. */
  load(): Promise<RaftState>
  /** All or nothing, durable when it resolves. After a rejection nobody knows what is there, and the store may not be used any more. */
  save(change: RaftChange): Promise<void>
  /**
   * Keeps `snapshot` in place of all older ones. Then the entries up to and with `compactTo` go. `isForeign`: it came from another
   * node, and every entry goes.
   */
  saveSnapshot(snapshot: Snapshot, options: { readonly compactTo: number; readonly isForeign: boolean }): Promise<void>
  /** May be called more than once. */
  close(): Promise<void>
}
