/** Loaded before everything else (`node --import`): the one file that the mutant named by TIDEMARK_MUTANT changes is loaded with the mistake in it. */
import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { MUTANTS } from './table.ts'

const mutant = MUTANTS.find(({ id }) => id === process.env.TIDEMARK_MUTANT)
if (mutant === undefined) throw new Error(`no mutant ${process.env.TIDEMARK_MUTANT}`)

const { file, find, replace } = mutant
const path = join(import.meta.dirname, '../../..', file)
const source = readFileSync(path, 'utf8')
if (source.split(find).length !== 2) throw new Error(`${mutant.id}: what is to be replaced does not stand exactly once in ${file}`)
const planted = pathToFileURL(path).href

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context)
    return url === planted ? { ...loaded, source: source.replace(find, () => replace) } : loaded
  },
})
