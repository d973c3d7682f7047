/** Loaded before everything else (`node --import`): Node loads one file with a mistake in it. */
import { registerHooks } from 'node:module'
import { pathToFileURL } from 'node:url'
import { planted } from './planted.ts'

const mistake = planted(process.env.TIDEMARK_MUTANT)

if (mistake !== undefined) {
  const planted = pathToFileURL(mistake.path).href
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context)
      return url === planted ? { ...loaded, source: mistake.source } : loaded
    },
  })
}
