/** What a majority has agreed on, against the plainest way to find it. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { committedIndex, voteResult } from '../../../controller/raft/quorum.ts'

describe('a majority', () => {
  it('has reached the largest index that more than half have reached', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20), { minLength: 1, maxLength: 9 }), (matches) => {
        const isReached = (index: number): boolean => matches.filter((match) => match >= index).length * 2 > matches.length
        const naive = Array.from({ length: 21 }, (_, index) => index).findLast(isReached)
        expect(committedIndex(matches)).toBe(naive)
      }),
      { numRuns: 2000 },
    )
  })

  it('wins when more than half grant, loses when that cannot happen any more', () => {
    const vote = fc.constantFrom(true, false, undefined)
    fc.assert(
      fc.property(fc.array(vote, { minLength: 1, maxLength: 9 }), (votes) => {
        const granted = votes.filter((is) => is === true).length
        const open = votes.filter((is) => is === undefined).length
        const expected = granted * 2 > votes.length ? 'won' : (granted + open) * 2 > votes.length ? 'pending' : 'lost'
        const cast = new Map(votes.flatMap((is, id) => (is === undefined ? [] : [[id + 1, is] as const])))
        // Others, who have no vote, change nothing.
        cast.set(99, true).set(98, false)
        const ids = votes.map((_, at) => at + 1)
        expect(voteResult(ids, cast)).toBe(expected)
      }),
      { numRuns: 2000 },
    )
  })
})
