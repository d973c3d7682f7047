/** Every state of three replicas and their controller within bounds. */
import { describe } from 'vitest'
import { REPLICA_MUTANTS } from './replica-mutants.ts'
import { REPLICA_SEARCHES } from './replica-searches.ts'
import { testSearches } from './search-tests.ts'

describe('every state of three replicas and their controller within bounds', () => {
  testSearches({
    what: 'three replicas',
    suite: 'states-of-replicas',
    command: 'replica-search.ts',
    searches: REPLICA_SEARCHES,
    statesMin: 800_000,
    mutants: REPLICA_MUTANTS,
  })
})
