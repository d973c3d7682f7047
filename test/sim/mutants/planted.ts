/** The file that the mutant named by TIDEMARK_MUTANT changes, with the mistake in it. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MUTANTS } from './table.ts'

export interface Planted {
  readonly path: string
  readonly source: string
}

/** Undefined when no mutant is asked for. Throws when there is none of that name, or its place in the source is not there any more. */
export function planted(id: string | undefined): Planted | undefined {
  if (id === undefined) return undefined
  const mutant = MUTANTS.find((one) => one.id === id)
  if (mutant === undefined) throw new Error(`no mutant ${id}`)
  const path = join(import.meta.dirname, '../../..', mutant.file)
  const source = readFileSync(path, 'utf8')
  if (source.split(mutant.find).length !== 2) throw new Error(`${id}: what is to be replaced does not stand exactly once in ${mutant.file}`)
  return { path, source: source.replace(mutant.find, () => mutant.replace) }
}
