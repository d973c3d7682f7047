/**
 * Shows that the search of Raft misses nothing because it looks at one of all clusters that differ by the names of their nodes: goes
 * through all of them once, and counts their families.
 *     node scripts/run.mjs test/sim/exhaustive/raft-names.ts
 */
import { type Model, search } from './breadth-first.ts'
import { openPrivateFields } from './open-core.ts'
import { RAFT_SEARCHES } from './raft-searches.ts'

openPrivateFields(['controller/raft/'])
const { RaftModel } = await import('./raft-model.ts')

const model = new RaftModel({ ...RAFT_SEARCHES.elections.bounds, termMax: 1, crashes: 1, compactions: 1 })
const families = new Set<string>()
const underEveryName: Model = {
  roots: model.roots,
  canonical: (state) => state,
  expand: (state, reach) => model.expand(state, reach),
  violation(state) {
    families.add(model.canonical(state).join())
    return undefined
  },
  describeEvent: (event) => model.describeEvent(event),
  describeState: (state) => model.describeState(state),
}
const all = search(underEveryName, 10_000_000)
const symmetric = search(model, 10_000_000)
process.stdout.write(`${JSON.stringify({ all: all.states, families: families.size, symmetric: symmetric.states })}\n`)
