/** What every `RaftStore` must do; run over the one on disk and the one in memory. */
import { describe, expect, it } from 'vitest'
import { snapshotFromBytes } from '../../controller/quorum-codec.ts'
import type { Entry, HardState, Snapshot } from '../../controller/raft/messages.ts'
import type { RaftState, RaftStore } from '../../controller/raft-store.ts'
import { QuorumSnapshot } from '../../protocol/gen/tidemark/v1/quorum.ts'

export function entryOf(index: number, term: number, text = `entry ${index}`): Entry {
  return { index, term, type: 'normal', data: Buffer.from(text) }
}

export function snapshotOf(index: number, term: number): Snapshot {
  const voter = { nodeId: 1, directoryId: '', host: 'node1', port: 1 }
  const metadata = { version: index, records: [] }
  return snapshotFromBytes(QuorumSnapshot.encode({ index, term, voters: [voter], learners: [], metadata }).finish())
}

/** Entries as texts that can be compared: `index:term:data`. */
export function textsOf(entries: readonly Entry[]): string[] {
  return entries.map(
    (entry) => `${entry.index}:${entry.term}:${entry.type === 'normal' ? Buffer.from(entry.data).toString() : entry.change.type}`,
  )
}

export function stateOf(term: number, vote = 0, commit = 0): HardState {
  return { term, vote, commit }
}

/** `create` gives a way to open one and the same store, again and again; empty at first. */
export function describeRaftStore(name: string, create: () => Promise<() => Promise<RaftStore>>): void {
  async function reload(open: () => Promise<RaftStore>): Promise<RaftState> {
    const store = await open()
    const state = await store.load()
    await store.close()
    return state
  }

  describe(`${name} as RaftStore`, () => {
    it('is empty when new', async () => {
      const { hardState, snapshot, entries, compacted, directories } = await reload(await create())
      expect({ hardState, snapshot, entries, compacted, directories: [...directories] }).toEqual({
        hardState: stateOf(0),
        snapshot: undefined,
        entries: [],
        compacted: { index: 0, term: 0 },
        directories: [],
      })
    })

    it('gives back what was saved last, after it was closed and opened again', async () => {
      const open = await create()
      const store = await open()
      await store.load()
      await store.save({ hardState: stateOf(1, 2), entries: [entryOf(1, 1), entryOf(2, 1)], directories: new Map([[2, 'disk']]) })
      await store.save({ hardState: stateOf(3, 1, 2), entries: [entryOf(3, 3)], directories: new Map([[2, 'disk']]) })
      await store.close()
      const { hardState, entries, directories } = await reload(open)
      expect(hardState).toEqual(stateOf(3, 1, 2))
      expect(textsOf(entries)).toEqual(['1:1:entry 1', '2:1:entry 2', '3:3:entry 3'])
      expect([...directories]).toEqual([[2, 'disk']])
    })

    it('discards what was there from the first new entry on', async () => {
      const open = await create()
      const store = await open()
      await store.load()
      await store.save({ hardState: stateOf(1), entries: [1, 2, 3, 4, 5].map((index) => entryOf(index, 1)), directories: new Map() })
      await store.save({ hardState: stateOf(2), entries: [entryOf(3, 2, 'other')], directories: new Map() })
      await store.close()
      expect(textsOf((await reload(open)).entries)).toEqual(['1:1:entry 1', '2:1:entry 2', '3:2:other'])
      const again = await open()
      await again.load()
      await again.save({ hardState: stateOf(2), entries: [entryOf(4, 2)], directories: new Map() })
      await again.close()
      expect(textsOf((await reload(open)).entries).at(-1)).toBe('4:2:entry 4')
    })

    it('keeps more than sixteen entries in order, empty ones, large ones and changes of the members', async () => {
      const open = await create()
      const store = await open()
      await store.load()
      const entries: Entry[] = Array.from({ length: 300 }, (_, at) => entryOf(at + 1, 1, at === 7 ? '' : `n${at}`))
      entries.push({ index: 301, term: 1, type: 'normal', data: Buffer.alloc(1024 * 1024, 7) })
      entries.push({ index: 302, term: 1, type: 'confChange', change: { type: 'addLearner', nodeId: 4, context: Buffer.from([8, 4]) } })
      await store.save({ hardState: stateOf(1), entries, directories: new Map() })
      await store.close()
      expect(textsOf((await reload(open)).entries)).toEqual(textsOf(entries))
    })

    it('compacts behind a snapshot of its own and goes on', async () => {
      const open = await create()
      const store = await open()
      await store.load()
      await store.save({ hardState: stateOf(1), entries: [1, 2, 3, 4, 5].map((index) => entryOf(index, 1)), directories: new Map() })
      await store.saveSnapshot(snapshotOf(4, 1), { compactTo: 2, isForeign: false })
      await store.save({ hardState: stateOf(1), entries: [entryOf(6, 1)], directories: new Map() })
      await store.close()
      const { snapshot, entries, compacted } = await reload(open)
      expect(snapshot?.meta.index).toBe(4)
      expect(compacted).toEqual({ index: 2, term: 1 })
      expect(textsOf(entries)).toEqual(['3:1:entry 3', '4:1:entry 4', '5:1:entry 5', '6:1:entry 6'])
    })

    it('starts anew from a snapshot of another node', async () => {
      const open = await create()
      const store = await open()
      await store.load()
      await store.save({ hardState: stateOf(1), entries: [entryOf(1, 1), entryOf(2, 1)], directories: new Map() })
      await store.saveSnapshot(snapshotOf(9, 3), { compactTo: 9, isForeign: true })
      await store.save({ hardState: stateOf(3), entries: [entryOf(10, 3)], directories: new Map() })
      await store.close()
      const { snapshot, entries, compacted } = await reload(open)
      expect(snapshot?.meta).toEqual({ index: 9, term: 3, confState: { voters: [1], learners: [] } })
      expect(compacted).toEqual({ index: 9, term: 3 })
      expect(textsOf(entries)).toEqual(['10:3:entry 10'])
    })
  })
}
