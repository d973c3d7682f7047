/** The numbers of which a state of a searched cluster is made: nodes, history, what is used up of each bound, messages under way. */
import { NODES } from './raft-input.ts'

/** What is counted against a bound. */
export const BUDGETS = ['proposals', 'crashes', 'pauses', 'duplicates', 'compactions', 'transfers', 'removals', 'reads'] as const
export type Budget = (typeof BUDGETS)[number]

/** Places; nodes are at the first. */
export const HISTORY = NODES.length
export const PLACES = Object.fromEntries(BUDGETS.map((budget, at) => [budget, HISTORY + 1 + at])) as Readonly<Record<Budget, number>>
export const MESSAGES = HISTORY + 1 + BUDGETS.length
