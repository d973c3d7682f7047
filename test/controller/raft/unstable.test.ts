/** The end of the log that is not durable yet. Titles begin with the names of etcd's suite. */
import { describe, expect, it } from 'vitest'
import { RaftInvariantError } from '../../../controller/raft/invariant.ts'
import type { Snapshot } from '../../../controller/raft/messages.ts'
import { Unstable } from '../../../controller/raft/unstable.ts'
import { members, normal } from './network.ts'

function snapshotAt(index: number, term: number): Snapshot {
  return { meta: { index, term, confState: members([1, 2, 3]) }, data: new Uint8Array(0) }
}

/** Entries of these terms from `offset` on, behind a snapshot or none. */
function unstableOf(offset: number, terms: readonly number[], snapshot?: Snapshot): Unstable {
  const unstable = new Unstable(offset)
  if (snapshot !== undefined) unstable.restore(snapshot)
  unstable.append(terms.map((term, at) => normal(offset + at, term)))
  return unstable
}

const shapeOf = ({ offset, entries }: Unstable) => [offset, entries.map(({ term }) => term)]

describe('R-core what is not durable yet', () => {
  it('UnstableMaybeLastIndex: of the entries, else of the snapshot, else none', () => {
    expect(unstableOf(5, [1]).lastIndex).toBe(5)
    expect(unstableOf(5, [1], snapshotAt(4, 1)).lastIndex).toBe(5)
    expect(unstableOf(5, [], snapshotAt(4, 1)).lastIndex).toBe(4)
    expect(unstableOf(0, []).lastIndex).toBeUndefined()
  })

  it('UnstableMaybeTerm: of its entries and of the snapshot, of nothing else', () => {
    for (const [unstable, index, term] of [
      [unstableOf(5, [1]), 5, 1],
      [unstableOf(5, [1]), 6, undefined],
      [unstableOf(5, [1]), 4, undefined],
      [unstableOf(5, [1], snapshotAt(4, 1)), 5, 1],
      [unstableOf(5, [1], snapshotAt(4, 1)), 4, 1],
      [unstableOf(5, [1], snapshotAt(4, 1)), 3, undefined],
      [unstableOf(5, [], snapshotAt(4, 1)), 5, undefined],
      [unstableOf(5, [], snapshotAt(4, 1)), 4, 1],
      [unstableOf(0, []), 5, undefined],
    ] as const)
      expect(unstable.term(index)).toBe(term)
  })

  it('UnstableRestore, UnstableNextSnapshot, UnstableMaybeFirstIndex: a snapshot replaces what there is, and is there until it is installed', () => {
    const unstable = unstableOf(5, [1, 1], snapshotAt(4, 1))
    unstable.restore(snapshotAt(6, 2))
    expect(shapeOf(unstable)).toEqual([7, []])
    expect(unstable.snapshot).toEqual(snapshotAt(6, 2))
    unstable.stableSnapshotTo(4)
    expect(unstable.snapshot, 'another one was installed').toEqual(snapshotAt(6, 2))
    unstable.stableSnapshotTo(6)
    expect(unstable.snapshot).toBeUndefined()
  })

  it('UnstableStableTo, UnstableNextEntries: those up to the one that was written, if it still is that one', () => {
    const cases: [before: Unstable, index: number, term: number, after: unknown[]][] = [
      [unstableOf(5, []), 5, 1, [5, []]],
      [unstableOf(5, [1]), 5, 1, [6, []]],
      [unstableOf(5, [1, 1]), 5, 1, [6, [1]]],
      [unstableOf(5, [1, 1]), 6, 1, [7, []]],
      // Replaced while it was written.
      [unstableOf(6, [2]), 6, 1, [6, [2]]],
      [unstableOf(5, [1]), 4, 1, [5, [1]]],
      [unstableOf(5, [1]), 4, 2, [5, [1]]],
      [unstableOf(5, [1]), 9, 1, [5, [1]]],
      [unstableOf(5, [1], snapshotAt(4, 1)), 5, 1, [6, []]],
      [unstableOf(5, [1, 1], snapshotAt(4, 1)), 5, 1, [6, [1]]],
      [unstableOf(6, [2], snapshotAt(5, 1)), 6, 1, [6, [2]]],
      // What was written is in the snapshot.
      [unstableOf(5, [1], snapshotAt(4, 1)), 4, 1, [5, [1]]],
      [unstableOf(5, [2], snapshotAt(4, 2)), 4, 1, [5, [2]]],
    ]
    for (const [unstable, index, term, after] of cases) {
      const before = shapeOf(unstable)
      unstable.stableTo(index, term)
      expect(shapeOf(unstable), `${JSON.stringify(before)} to ${index} of term ${term}`).toEqual(after)
    }
  })

  it('UnstableTruncateAndAppend: behind the end, over all of it, over a part of it', () => {
    const cases: [terms: number[], first: number, added: number[], after: unknown[]][] = [
      [[1], 6, [1, 1], [5, [1, 1, 1]]],
      [[1], 5, [2, 2], [5, [2, 2]]],
      [[1], 4, [2, 2, 2], [4, [2, 2, 2]]],
      [[1, 1, 1], 6, [2], [5, [1, 2]]],
      [[1, 1, 1], 7, [2, 2], [5, [1, 1, 2, 2]]],
      [[], 5, [1], [5, [1]]],
      [[], 3, [1], [3, [1]]],
    ]
    for (const [terms, first, added, after] of cases) {
      const unstable = unstableOf(5, terms)
      const before = unstable.entries
      const copy = [...before]
      unstable.append(added.map((term, at) => normal(first + at, term)))
      expect(shapeOf(unstable), `${added.join()} from ${first} on`).toEqual(after)
      expect(before, 'what was handed out before is not changed').toEqual(copy)
    }
    expect(() => unstableOf(5, [1]).append([normal(7, 1)]), 'a gap').toThrow(RaftInvariantError)
  })
})
