/**
 * Loads modules of the project with their private fields open, and with mistakes planted where a test wants one.
 *
 * To be searched, a core must be copied, and compared with others: two are the same when everything they remember is. What
 * a class remembers is in private fields, which only the class can read. So the files under `folders` are loaded with `#name` written
 * as `private_name`, and nothing else changed: a copy or a comparison then sees every field there is, those that are added
 * next year among them. The code that runs is the one that ships, statement by statement.
 *
 * Works where Node itself loads modules, for what is imported afterwards.
 */
import { registerHooks } from 'node:module'

/** A place of one file to be read as something else. `find` stands there once. */
export interface Mistake {
  readonly name: string
  /** Path in the project. */
  readonly file: string
  readonly find: string
  readonly replace: string
}

const PRIVATE_NAME = /#(?=[a-zA-Z])/g

export function openPrivateFields(folders: readonly string[], mistake?: Mistake): void {
  const root = new URL('../../../', import.meta.url).href
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context)
      const path = url.startsWith(root) ? url.slice(root.length) : ''
      const { source: bytes } = loaded
      if (bytes === undefined || bytes === null || !folders.some((folder) => path.startsWith(folder))) return loaded
      const text = typeof bytes === 'string' ? bytes : new TextDecoder().decode(bytes)
      const source = path === mistake?.file ? plant(text, mistake) : text
      return { ...loaded, source: source.replace(PRIVATE_NAME, 'private_') }
    },
  })
}

function plant(text: string, { name, file, find, replace }: Mistake): string {
  const parts = text.split(find)
  if (parts.length !== 2) throw new Error(`mistake "${name}": ${file} has ${parts.length - 1} places that read ${JSON.stringify(find)}`)
  return parts.join(replace)
}
