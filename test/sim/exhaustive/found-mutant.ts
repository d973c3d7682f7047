/** A planted mistake that a search finds. Those with a number are of the table that the simulation has to find too. */
import type { Mutant } from '../mutants/mutant.ts'
import { MUTANTS } from '../mutants/table.ts'

export interface FoundMutant<SearchName> extends Mutant {
  readonly search: SearchName
  /** That it breaks, or a part of what is said about it. */
  readonly rule: string
  /** On the shortest way there. */
  readonly events: number
}

export function mutantOf(id: string): Mutant {
  const found = MUTANTS.find((mutant) => mutant.id === id)
  if (found === undefined) throw new Error(`no mutant ${id}`)
  return found
}
