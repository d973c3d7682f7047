/** What the commands that search have in common: arguments, bounds, and how the outcome is told. */
import { type Model, search } from './breadth-first.ts'
import type { Mutant } from '../mutants/mutant.ts'

/** Where there are more, the search is not complete. */
const STATES_MAX = 30_000_000

interface Search<Bounds> {
  readonly bounds: Bounds
  readonly full?: Partial<Bounds>
}

/** Of the arguments: which search, and which planted mistake if any. */
export function chosen<Bounds>(
  searches: Readonly<Record<string, Search<Bounds>>>,
  mutants: readonly Mutant[],
): { readonly search: Search<Bounds>; readonly mutant: Mutant | undefined } {
  const [name = '', id] = process.argv.slice(2)
  const wanted = searches[name]
  if (wanted === undefined) throw new Error(`no search ${JSON.stringify(name)}; there are ${Object.keys(searches).join(' · ')}`)
  const mutant = mutants.find((one) => one.id === id)
  if (id !== undefined && mutant === undefined) throw new Error(`no mutant ${id}; there are ${mutants.map((one) => one.id).join(' · ')}`)
  return { search: wanted, mutant }
}

export function boundsOf<Bounds>({ bounds, full }: Search<Bounds>, mutant: Mutant | undefined): Bounds {
  return process.env.TIDEMARK_EXHAUSTIVE === 'full' && mutant === undefined ? { ...bounds, ...full } : bounds
}

export function report(model: Model): void {
  const { violation, ...outcome } = search(model, STATES_MAX)
  if (violation !== undefined) process.stdout.write(`${violation.path.join('\n')}\n`)
  process.stdout.write(`${JSON.stringify({ ...outcome, rule: violation?.rule })}\n`)
}
