/** The log as the core sees it. Titles begin with the names of etcd's suite. */
import { describe, expect, it } from 'vitest'
import { EntryLog } from '../../../controller/raft/entry-log.ts'
import { RaftInvariantError } from '../../../controller/raft/invariant.ts'
import type { Entry } from '../../../controller/raft/messages.ts'
import { MemoryStorage } from '../../../controller/raft/storage.ts'
import { members, normal, storageWith } from './network.ts'

const NO_LIMIT = Number.POSITIVE_INFINITY
const nothing = new Uint8Array(0)

/** Entries of these terms, from index `first` on. */
function entriesOf(terms: readonly number[], first = 1): Entry[] {
  return terms.map((term, at) => normal(first + at, term))
}

/** A log with entries of these terms that are durable, and more that are not. */
function logOf(stable: readonly number[], unstable: readonly number[] = [], committed = 0): EntryLog {
  const log = new EntryLog(storageWith({ terms: stable }), committed, 0)
  log.append(entriesOf(unstable, stable.length + 1))
  return log
}

/** A storage whose entries up to and with `index` are compacted, all of them of `term`, with `more` behind. */
function compactedAt(index: number, term: number, more: readonly number[] = []): MemoryStorage {
  const storage = new MemoryStorage()
  storage.applySnapshot({ meta: { index, term, confState: members([1, 2, 3]) }, data: nothing })
  storage.append(entriesOf(more, index + 1))
  return storage
}

const allOf = (log: EntryLog): number[] => log.slice(log.firstIndex, log.lastIndex + 1, NO_LIMIT).map(({ term }) => term)

describe('R-core the log: where two logs part', () => {
  it('FindConflict: entries that are there already change nothing, from the first that differs on they replace', () => {
    const cases: [index: number, terms: number[], after: number[], unstableFrom: number][] = [
      [0, [], [1, 2, 3], 4],
      [0, [1, 2, 3], [1, 2, 3], 4],
      [1, [2, 3], [1, 2, 3], 4],
      [2, [3], [1, 2, 3], 4],
      [0, [1, 2, 3, 4, 4], [1, 2, 3, 4, 4], 4],
      [1, [2, 3, 4, 5], [1, 2, 3, 4, 5], 4],
      [3, [4, 4], [1, 2, 3, 4, 4], 4],
      [0, [4, 4], [4, 4], 1],
      [1, [1, 4, 4], [1, 1, 4, 4], 2],
      [2, [1, 2, 4, 4], [1, 2, 1, 2, 4, 4], 3],
    ]
    for (const [index, terms, after, unstableFrom] of cases) {
      const log = logOf([1, 2, 3])
      expect(log.acceptAppend(index, log.term(index) as number, entriesOf(terms, index + 1), 0)).toBe(index + terms.length)
      expect(allOf(log), `${terms.join()} behind ${index}`).toEqual(after)
      expect(log.unstable.offset).toBe(unstableFrom)
    }
  })

  it('FindConflictByTerm: the last entry at or below an index whose term is not above', () => {
    const cases: [terms: number[], index: number, term: number, found: number][] = [
      [[2, 2, 5, 5, 5], 5, 6, 5],
      [[2, 2, 5, 5, 5], 5, 5, 5],
      [[2, 2, 5, 5, 5], 5, 4, 2],
      [[2, 2, 5, 5, 5], 5, 2, 2],
      [[2, 2, 5, 5, 5], 5, 1, 0],
      [[2, 2, 5, 5, 5], 2, 5, 2],
      [[2, 2, 5, 5, 5], 1, 2, 1],
      [[2, 2, 5, 5, 5], 0, 0, 0],
      // Beyond the end: from the end on.
      [[2, 2, 5], 9, 5, 3],
    ]
    for (const [terms, index, term, found] of cases) {
      const isBegun = found > 0
      expect(logOf(terms).findConflictByTerm(index, term), `${terms.join()} at ${index} for ${term}`).toEqual({
        index: found,
        term: isBegun ? terms[found - 1] : 0,
      })
    }
    const compacted = new EntryLog(compactedAt(5, 3, [4, 4]), 5, 5)
    expect(compacted.findConflictByTerm(7, 4)).toEqual({ index: 7, term: 4 })
    expect(compacted.findConflictByTerm(7, 3), 'the entry before the first is known by its term').toEqual({ index: 5, term: 3 })
    expect(compacted.findConflictByTerm(7, 2), 'what is compacted may agree').toEqual({ index: 4, term: 0 })
  })

  it('IsUpToDate: a later term counts for more than a longer log', () => {
    const cases: [index: number, term: number, isUpToDate: boolean][] = [
      [2, 4, true],
      [3, 4, true],
      [4, 4, true],
      [2, 2, false],
      [3, 2, false],
      [4, 2, false],
      [2, 3, false],
      [3, 3, true],
      [4, 3, true],
    ]
    for (const [index, term, isUpToDate] of cases)
      expect(logOf([1, 2, 3]).isUpToDate(index, term), `${index} of term ${term}`).toBe(isUpToDate)
  })
})

describe('R-core the log: appends', () => {
  it('Append: what is added replaces all from its first entry on', () => {
    const cases: [first: number, terms: number[], after: number[], unstableFrom: number][] = [
      [3, [], [1, 2], 3],
      [3, [2], [1, 2, 2], 3],
      [1, [2], [2], 1],
      [2, [3, 3], [1, 3, 3], 2],
    ]
    for (const [first, terms, after, unstableFrom] of cases) {
      const log = logOf([1, 2])
      log.append(entriesOf(terms, first))
      expect(allOf(log)).toEqual(after)
      expect(log.unstable.offset).toBe(unstableFrom)
    }
  })

  it('LogMaybeAppend: taken behind an entry that is there; commits no more than what it brought, and never replaces what is committed', () => {
    const cases: [index: number, term: number, terms: number[], commit: number, last: number | undefined, committed: number][] = [
      [3, 2, [4], 3, undefined, 1],
      [4, 3, [4], 3, undefined, 1],
      [3, 3, [], 3, 3, 3],
      [3, 3, [], 4, 3, 3],
      [3, 3, [], 2, 3, 2],
      [3, 3, [], 0, 3, 1],
      [0, 0, [], 3, 0, 1],
      [3, 3, [4], 3, 4, 3],
      [3, 3, [4], 4, 4, 4],
      [3, 3, [4], 5, 4, 4],
      [3, 3, [4, 4], 4, 5, 4],
      [2, 2, [4], 3, 3, 3],
      [1, 1, [4], 3, 2, 2],
      [1, 1, [4, 4], 3, 3, 3],
    ]
    for (const [index, term, terms, commit, last, committed] of cases) {
      const log = logOf([1, 2, 3], [], 1)
      const what = `${terms.join()} behind ${index} of term ${term}, commit ${commit}`
      expect(log.acceptAppend(index, term, entriesOf(terms, index + 1), commit), what).toBe(last)
      expect(log.committed, what).toBe(committed)
      if (last !== undefined) expect(allOf(log).slice(index, last), what).toEqual(terms)
    }
    expect(() => logOf([1, 2, 3], [], 1).acceptAppend(0, 0, entriesOf([4]), 3), 'entry 1 is committed').toThrow(RaftInvariantError)
  })

  it('CompactionSideEffects: what is behind the compacted part stays as it was', () => {
    const terms = Array.from({ length: 1000 }, (_, at) => at + 1)
    const storage = storageWith({ terms: terms.slice(0, 750) })
    const log = new EntryLog(storage, 0, 0)
    log.append(entriesOf(terms.slice(750), 751))
    log.commitTo(1000)
    log.appliedTo(1000)
    storage.createSnapshot(500, members([1]), nothing)
    storage.compact(500)
    expect(log.lastIndex).toBe(1000)
    expect(log.firstIndex).toBe(501)
    for (let index = 500; index <= 1000; index++) expect(log.term(index)).toBe(index)
    expect(log.unstable.entries).toHaveLength(250)
    log.append([normal(1001, 1001)])
    expect(log.lastIndex).toBe(1001)
    expect(log.slice(1000, 1002, NO_LIMIT).map(({ term }) => term)).toEqual([1000, 1001])
  })

  it('NextUnstableEnts, StableTo: entries count as durable once they are, if they were not replaced meanwhile', () => {
    for (const [index, term, unstableFrom] of [
      [3, 1, 4],
      [4, 2, 5],
      [4, 1, 3],
      [5, 2, 3],
      [2, 1, 3],
    ] as const) {
      const log = logOf([1, 1], [1, 2])
      expect(log.unstable.entries.map((entry) => entry.index)).toEqual([3, 4])
      log.unstable.stableTo(index, term)
      expect(log.unstable.offset, `${index} of term ${term}`).toBe(unstableFrom)
      expect(log.stableIndex).toBe(unstableFrom - 1)
    }
  })

  it('StableToWithSnap: nothing at or before a snapshot counts, and of another term nothing does', () => {
    for (const [index, term, unstableFrom] of [
      [6, 2, 7],
      [5, 2, 6],
      [4, 2, 6],
      [6, 3, 6],
      [5, 3, 6],
    ] as const) {
      const log = new EntryLog(compactedAt(5, 2), 5, 5)
      log.append([normal(6, 2)])
      log.unstable.stableTo(index, term)
      expect(log.unstable.offset, `${index} of term ${term}`).toBe(unstableFrom)
    }
  })
})

describe('R-core the log: what is committed and applied', () => {
  it('HasNextCommittedEnts, NextCommittedEnts: those behind the applied ones, once a snapshot that came is installed', () => {
    for (const [applied, indexes] of [
      [3, [4, 5]],
      [4, [5]],
      [5, []],
    ] as const) {
      const log = new EntryLog(compactedAt(3, 1, [1, 1, 1]), 5, applied)
      expect(log.nextCommitted(NO_LIMIT).map(({ index }) => index)).toEqual(indexes)
    }
    const log = new EntryLog(compactedAt(3, 1, [1, 1, 1]), 5, 3)
    log.restore({ meta: { index: 6, term: 2, confState: members([1]) }, data: nothing })
    log.append([normal(7, 2)])
    log.commitTo(7)
    expect(log.nextCommitted(NO_LIMIT)).toEqual([])
    log.unstable.stableSnapshotTo(6)
    expect(log.unstable.entries.map(({ index }) => index)).toEqual([7])
  })

  it('AppliedTo: entries are applied in order, and not before they are committed', () => {
    const log = new EntryLog(compactedAt(3, 1, [1, 1, 1]), 5, 3)
    log.appliedTo(4)
    expect(log.applied).toBe(4)
    expect(() => log.appliedTo(3)).toThrow(RaftInvariantError)
    expect(() => log.appliedTo(6)).toThrow(RaftInvariantError)
    log.appliedTo(5)
    expect(log.nextCommitted(NO_LIMIT)).toEqual([])
  })

  it('CommitTo: never back, never beyond the end', () => {
    const log = logOf([1, 2, 3], [], 2)
    log.commitTo(3)
    expect(log.committed).toBe(3)
    log.commitTo(1)
    expect(log.committed).toBe(3)
    expect(() => log.commitTo(4)).toThrow(RaftInvariantError)
  })
})

describe('R-core the log: what is compacted', () => {
  it('Compaction: entries may go that are in a snapshot, in order', () => {
    const storage = storageWith({ terms: Array.from({ length: 1000 }, () => 1) })
    const log = new EntryLog(storage, 1000, 1000)
    storage.createSnapshot(1000, members([1]), nothing)
    for (const [index, left] of [
      [300, 700],
      [500, 500],
      [800, 200],
      [900, 100],
      // Once more, and less: nothing to do.
      [900, 100],
      [300, 100],
    ] as const) {
      storage.compact(index)
      expect(log.lastIndex - log.firstIndex + 1).toBe(left)
    }
    expect(() => storage.compact(1001)).toThrow(RaftInvariantError)
  })

  it('LogRestore: a log that begins with a snapshot', () => {
    const log = new EntryLog(compactedAt(1000, 1000), 0, 0)
    expect([log.firstIndex, log.lastIndex, log.committed, log.applied, log.unstable.offset]).toEqual([1001, 1000, 1000, 1000, 1001])
    expect(log.term(1000)).toBe(1000)
    expect(log.slice(1001, 1001, NO_LIMIT)).toEqual([])
  })

  it('IsOutOfBounds: asking for what is not there is a mistake', () => {
    const log = new EntryLog(compactedAt(100, 1, [1, 1, 1]), 100, 100)
    for (const [from, to] of [
      [101, 104],
      [102, 102],
      [104, 104],
    ] as const)
      expect(log.slice(from, to, NO_LIMIT)).toHaveLength(to - from)
    for (const [from, to] of [
      [100, 101],
      [99, 102],
      [101, 105],
      [104, 105],
    ] as const)
      expect(() => log.slice(from, to, NO_LIMIT), `${from} to ${to}`).toThrow(RaftInvariantError)
    expect(log.entriesFrom(100, NO_LIMIT), 'compacted: no mistake, but nothing to be had').toBeUndefined()
  })

  it('Term: known from the entry before the first one on', () => {
    const log = new EntryLog(compactedAt(100, 1, [1, 5]), 100, 100)
    log.append([normal(103, 6)])
    expect([99, 100, 101, 102, 103, 104].map((index) => log.term(index))).toEqual([undefined, 1, 1, 5, 6, undefined])
    expect(log.lastTerm).toBe(6)
  })

  it('TermWithUnstableSnapshot: of what a snapshot that came replaces, nothing is known any more', () => {
    const log = new EntryLog(compactedAt(100, 1, [1, 1]), 100, 100)
    log.restore({ meta: { index: 105, term: 2, confState: members([1]) }, data: nothing })
    expect([100, 102, 104, 105, 106].map((index) => log.term(index))).toEqual([undefined, undefined, undefined, 2, undefined])
    expect([log.firstIndex, log.lastIndex, log.committed]).toEqual([106, 105, 105])
  })

  it('Slice: across what is durable and what is not, as many as the limit allows and at least one', () => {
    const log = logOf([1, 1, 1], [2, 2, 2])
    const bytes = 16
    for (const [from, to, maxBytes, indexes] of [
      [1, 4, NO_LIMIT, [1, 2, 3]],
      [4, 7, NO_LIMIT, [4, 5, 6]],
      [2, 6, NO_LIMIT, [2, 3, 4, 5]],
      [3, 3, NO_LIMIT, []],
      [2, 6, 0, [2]],
      [2, 6, bytes, [2]],
      [2, 6, 2 * bytes, [2, 3]],
      [2, 6, 3 * bytes - 1, [2, 3]],
      [2, 6, 3 * bytes, [2, 3, 4]],
      [4, 7, 2 * bytes, [4, 5]],
    ] as const)
      expect(
        log.slice(from, to, maxBytes).map(({ index }) => index),
        `${from} to ${to} within ${maxBytes}`,
      ).toEqual(indexes)
  })

  it('Slice: leaves nothing out where a durable entry is too large and a later one is not', () => {
    const storage = storageWith({})
    storage.append([normal(1, 1), normal(2, 1, 'x'.repeat(1000)), normal(3, 1)])
    const log = new EntryLog(storage, 0, 0)
    log.append([normal(4, 1)])
    expect(log.slice(1, 5, 100).map(({ index }) => index)).toEqual([1])
    expect(log.slice(2, 5, 100).map(({ index }) => index)).toEqual([2])
    expect(log.slice(3, 5, 100).map(({ index }) => index)).toEqual([3, 4])
  })
})
