/**
 * Searches the states of three Raft cores, in a process of its own:
 *     node scripts/run.mjs test/sim/exhaustive/raft-search.ts <search> [mutant]
 *
 * The last line is the outcome as JSON; before it, should a rule be broken, the shortest way there.
 */
import { openPrivateFields } from './open-core.ts'
import type { RaftBounds } from './raft-bounds.ts'
import { RAFT_MUTANTS } from './raft-mutants.ts'
import { RAFT_SEARCHES } from './raft-searches.ts'
import { boundsOf, chosen, report } from './search-command.ts'

const { search, mutant } = chosen<RaftBounds>(RAFT_SEARCHES, RAFT_MUTANTS)
openPrivateFields(['controller/raft/'], mutant)
const { RaftModel } = await import('./raft-model.ts')
report(new RaftModel(boundsOf(search, mutant)))
