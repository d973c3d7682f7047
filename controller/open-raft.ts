/** A Raft driver on a store: takes up where the store ends, or begins a cluster. */
import type { VoterDescription } from '../protocol/gen/tidemark/v1/controller.ts'
import { QuorumSnapshot } from '../protocol/gen/tidemark/v1/quorum.ts'
import { snapshotFromBytes } from './quorum-codec.ts'
import { QuorumMembers } from './quorum-members.ts'
import { MemoryStorage } from './raft/storage.ts'
import { RaftDriver } from './raft-driver.ts'
import type { RaftDriverOptions } from './raft-driver-options.ts'

/** Takes the store over: from here on the log closes it. Nothing moves before `start`. */
export async function openRaftDriver(options: RaftDriverOptions): Promise<RaftDriver> {
  const { store, firstVoters } = options
  try {
    let state = await store.load()
    const isNew = state.snapshot === undefined && state.hardState.term === 0
    if (isNew && firstVoters.length > 0) {
      await store.saveSnapshot(snapshotFromBytes(firstSnapshot(firstVoters)), { compactTo: 1, isForeign: true })
      await store.save({ hardState: { term: 1, vote: 0, commit: 1 }, entries: [], directories: new Map() })
      state = await store.load()
    }
    const storage = new MemoryStorage()
    if (state.snapshot !== undefined) {
      storage.applySnapshot(state.snapshot, state.compacted)
      storage.append(state.entries)
    }
    // The commit index is not written for its own sake; what the snapshot has is committed.
    storage.setHardState({ ...state.hardState, commit: Math.max(state.hardState.commit, state.snapshot?.meta.index ?? 0) })
    return new RaftDriver(options, storage, new QuorumMembers(state.directories, options.contacts ?? [], options))
  } catch (error) {
    // Why it cannot be opened matters, not what closing it makes of that.
    await store.close().catch(() => {})
    throw error
  }
}

/** The state that every first voter begins with. */
function firstSnapshot(voters: readonly VoterDescription[]): Uint8Array {
  const sorted = [...voters].sort((a, b) => a.nodeId - b.nodeId)
  return QuorumSnapshot.encode({ index: 1, term: 1, voters: sorted, learners: [], metadata: { version: 0, records: [] } }).finish()
}
