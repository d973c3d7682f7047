/**
 * Searches the states of three replicas and their controller, in a process of its own:
 *     node scripts/run.mjs test/sim/exhaustive/replica-search.ts <search> [mutant]
 *
 * The last line is the outcome as JSON; before it, should a rule be broken, the shortest way there.
 */
import { openPrivateFields } from './open-core.ts'
import type { ReplicaBounds } from './replica-bounds.ts'
import { REPLICA_MUTANTS } from './replica-mutants.ts'
import { REPLICA_SEARCHES } from './replica-searches.ts'
import { boundsOf, chosen, report } from './search-command.ts'

const { search, mutant } = chosen<ReplicaBounds>(REPLICA_SEARCHES, REPLICA_MUTANTS)
openPrivateFields(['broker/', 'log/leader-epochs.ts'], mutant)
const { ReplicaModel } = await import('./replica-model.ts')
report(new ReplicaModel(boundsOf(search, mutant)))
