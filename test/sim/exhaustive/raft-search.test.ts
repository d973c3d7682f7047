/** Every state of three Raft cores within bounds. */
import { describe, expect, it } from 'vitest'
import { runChild } from './child.ts'
import { RAFT_MUTANTS } from './raft-mutants.ts'
import { RAFT_SEARCHES } from './raft-searches.ts'
import { PATIENCE_MS, testSearches } from './search-tests.ts'

describe('every state of three Raft cores within bounds', () => {
  testSearches({
    what: 'three Raft cores',
    suite: 'states-of-raft',
    command: 'raft-search.ts',
    searches: RAFT_SEARCHES,
    statesMin: 1_000_000,
    mutants: RAFT_MUTANTS,
  })

  it(
    'is looked at, though of clusters that differ by the names of their nodes only one is',
    async () => {
      const { outcome } = await runChild('raft-names.ts')
      expect(outcome.symmetric).toBe(outcome.families)
      expect(outcome.all).toBeGreaterThan(5 * Number(outcome.symmetric))
    },
    PATIENCE_MS,
  )
})
