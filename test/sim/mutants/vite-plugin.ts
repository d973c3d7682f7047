/** The tests load one file with a mistake in it, when TIDEMARK_MUTANT asks for one. */
import type { Plugin } from 'vite'
import { planted } from './planted.ts'

export function plantMutant(): Plugin {
  const mistake = planted(process.env.TIDEMARK_MUTANT)
  return {
    name: 'plant-mutant',
    enforce: 'pre',
    load(id) {
      return mistake !== undefined && id.split('?')[0] === mistake.path ? mistake.source : undefined
    },
  }
}
