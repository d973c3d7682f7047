/**
 * Loads modules of the project with their private fields open, and with mistakes planted where a test wants one.
 *
 * To be searched, a core must be copied, and compared with others: two are the same when everything they remember is. What
 * a class remembers is in private fields, which only the class can read. So the files under `folders` are loaded with `#name` written
 * as `private_name`, and nothing else changed: a copy or a comparison then sees every field there is, those that are added
 * next year among them. The code that runs is the one that ships, statement by statement.
 *
 * A class that is spread into another object would spread more than it does; none is. Works where Node itself loads modules, for what is imported
 * afterwards.
 */
import { registerHooks } from 'node:module'
import type { Mutant } from '../mutants/mutant.ts'

const PRIVATE_NAME = /#(?=[a-zA-Z])/g

export function openPrivateFields(folders: readonly string[], mistake?: Mutant): void {
  const root = new URL('../../../', import.meta.url).href
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context)
      const path = url.startsWith(root) ? url.slice(root.length) : ''
      const isOpened = folders.some((folder) => path.startsWith(folder))
      const isMistaken = path === mistake?.file
      const { source: bytes } = loaded
      if (bytes === undefined || bytes === null || !(isOpened || isMistaken)) return loaded
      const text = typeof bytes === 'string' ? bytes : new TextDecoder().decode(bytes)
      const source = isMistaken ? plant(text, mistake) : text
      return { ...loaded, source: isOpened ? source.replace(PRIVATE_NAME, 'private_') : source }
    },
  })
}

function plant(text: string, { id, file, find, replace }: Mutant): string {
  const parts = text.split(find)
  if (parts.length !== 2) throw new Error(`${id}: what is to be replaced stands ${parts.length - 1} times in ${file}`)
  return parts.join(replace)
}
