/** The storage in memory, which stands before every durable one. Titles begin with the names of etcd's suite. */
import { describe, expect, it } from 'vitest'
import { RaftInvariantError } from '../../../controller/raft/invariant.ts'
import type { Snapshot } from '../../../controller/raft/messages.ts'
import { MemoryStorage } from '../../../controller/raft/storage.ts'
import { members, normal } from './network.ts'

const NO_LIMIT = Number.POSITIVE_INFINITY
const nothing = new Uint8Array(0)

function snapshotAt(index: number, term: number): Snapshot {
  return { meta: { index, term, confState: members([1, 2, 3]) }, data: Buffer.from(`to ${index}`) }
}

/** Entries 4 and 5 of terms 4 and 5, behind a snapshot of entry 3 of term 3. */
function storage(): MemoryStorage {
  const made = new MemoryStorage()
  made.applySnapshot(snapshotAt(3, 3))
  made.append([normal(4, 4), normal(5, 5)])
  return made
}

const termsOf = (of: MemoryStorage): number[] => of.entries(of.firstIndex(), of.lastIndex() + 1, NO_LIMIT).map(({ term }) => term)

describe('R-core the storage', () => {
  it('StorageTerm: of the entry before the first, and of all there are', () => {
    expect([2, 3, 4, 5, 6].map((index) => storage().term(index))).toEqual([undefined, 3, 4, 5, undefined])
  })

  it('StorageEntries: as many as the limit allows, at least one, none that is not there', () => {
    const longer = storage()
    longer.append([normal(6, 6)])
    for (const [from, to, maxBytes, indexes] of [
      [4, 5, NO_LIMIT, [4]],
      [4, 6, NO_LIMIT, [4, 5]],
      [4, 7, NO_LIMIT, [4, 5, 6]],
      [4, 7, 0, [4]],
      [4, 7, 2 * 16, [4, 5]],
      [4, 7, 3 * 16 - 1, [4, 5]],
      [4, 7, 3 * 16, [4, 5, 6]],
      [5, 5, NO_LIMIT, []],
    ] as const)
      expect(longer.entries(from, to, maxBytes).map(({ index }) => index)).toEqual(indexes)
    for (const [from, to] of [
      [2, 6],
      [3, 4],
      [4, 8],
    ] as const)
      expect(() => longer.entries(from, to, NO_LIMIT)).toThrow(RaftInvariantError)
  })

  it('StorageLastIndex, StorageFirstIndex: of what is there, and of nothing', () => {
    const made = storage()
    expect([made.firstIndex(), made.lastIndex()]).toEqual([4, 5])
    made.append([normal(6, 5)])
    expect(made.lastIndex()).toBe(6)
    made.createSnapshot(5, members([1]), nothing)
    made.compact(5)
    expect([made.firstIndex(), made.lastIndex()]).toEqual([6, 6])
    const empty = new MemoryStorage()
    expect([empty.firstIndex(), empty.lastIndex(), empty.term(0)]).toEqual([1, 0, 0])
  })

  it('StorageCompact: up to what is in the snapshot; what is gone already stays gone', () => {
    for (const [index, first, terms] of [
      [2, 4, [4, 5]],
      [3, 4, [4, 5]],
      [4, 5, [5]],
      [5, 6, []],
    ] as const) {
      const made = storage()
      made.createSnapshot(5, members([1]), nothing)
      made.compact(index)
      expect([made.firstIndex(), termsOf(made)]).toEqual([first, terms])
      expect(made.term(first - 1), 'the entry before the first is known by its term').toBe(first - 1)
    }
    expect(() => storage().compact(4), 'in no snapshot').toThrow(RaftInvariantError)
  })

  it('StorageCreateSnapshot: of an entry that is there; the entries stay', () => {
    for (const [index, term] of [
      [4, 4],
      [5, 5],
    ] as const) {
      const made = storage()
      const data = Buffer.from('data')
      expect(made.createSnapshot(index, members([1, 2]), data)).toEqual({ meta: { index, term, confState: members([1, 2]) }, data })
      expect(made.snapshot().meta.index).toBe(index)
      expect(termsOf(made)).toEqual([4, 5])
      expect(made.initialState().confState).toEqual(members([1, 2]))
    }
    expect(() => storage().createSnapshot(6, members([1]), nothing)).toThrow(RaftInvariantError)
    const newer = storage()
    newer.createSnapshot(5, members([1]), nothing)
    expect(() => newer.createSnapshot(4, members([1]), nothing), 'an older one').toThrow(RaftInvariantError)
  })

  it('StorageAppend: replaces what is there from the first one on', () => {
    for (const [first, added, terms] of [
      [4, [4, 5], [4, 5]],
      [4, [6, 6], [6, 6]],
      [4, [4, 5, 5], [4, 5, 5]],
      [4, [5], [5]],
      [5, [6], [4, 6]],
      [6, [5], [4, 5, 5]],
      [6, [], [4, 5]],
    ] as const) {
      const made = storage()
      made.append(added.map((term, at) => normal(first + at, term)))
      expect(termsOf(made), `${added.join()} from ${first} on`).toEqual(terms)
    }
    expect(() => storage().append([normal(3, 3)]), 'compacted').toThrow(RaftInvariantError)
    expect(() => storage().append([normal(7, 5)]), 'a gap').toThrow(RaftInvariantError)
  })

  it('StorageApplySnapshot: takes the place of everything, but not of a newer one', () => {
    const made = storage()
    made.applySnapshot(snapshotAt(6, 6))
    expect([made.firstIndex(), made.lastIndex(), made.term(6), termsOf(made)]).toEqual([7, 6, 6, []])
    expect(() => made.applySnapshot(snapshotAt(3, 3))).toThrow(RaftInvariantError)
  })
})
