/**
 * Searches the states of three Raft cores, in a process of its own:
 *     node scripts/run.mjs test/sim/exhaustive/raft-search.ts <search> [mistake]
 *
 * The last line is the outcome as JSON; before it, should a rule be broken, the shortest way there.
 */
import { search } from './breadth-first.ts'
import { openPrivateFields } from './open-core.ts'
import { RAFT_MISTAKES } from './raft-mistakes.ts'
import { RaftModel } from './raft-model.ts'
import { RAFT_SEARCHES, type RaftSearch } from './raft-searches.ts'

/** Beyond that it is not complete. */
const STATES_MAX = 30_000_000

const [name = '', mistakeName] = process.argv.slice(2)
const wanted = (RAFT_SEARCHES as Readonly<Record<string, RaftSearch>>)[name]
if (wanted === undefined) throw new Error(`no search ${name}; there are ${Object.keys(RAFT_SEARCHES).join(', ')}`)
const mistake = RAFT_MISTAKES.find((one) => one.name === mistakeName)
if (mistakeName !== undefined && mistake === undefined) throw new Error(`no mistake ${mistakeName}`)

openPrivateFields(['controller/raft/'], mistake)
const { RawNode } = await import('../../../controller/raft/raw-node.ts')
const { MemoryStorage } = await import('../../../controller/raft/storage.ts')

const isFull = process.env.TIDEMARK_EXHAUSTIVE === 'full' && mistake === undefined
const model = new RaftModel({ RawNode, MemoryStorage }, { ...wanted.bounds, ...(isFull && wanted.full) })
const { violation, ...outcome } = search(model, STATES_MAX)
if (violation !== undefined) process.stdout.write(`${violation.path.join('\n')}\n`)
process.stdout.write(`${JSON.stringify({ ...outcome, nodeStates: model.nodeStates, rule: violation?.rule })}\n`)
