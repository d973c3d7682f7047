import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const page = readFileSync(join(root, 'docs/internals/findings-of-others.md'), 'utf8')

/** `| J01 | … | `path`: beginning of a title |` */
const rows = [...page.matchAll(/^\| (J\d\d) \|.*\| `([^`]+)`: (.+) \|$/gm)].map(
  ([, id, path, title]) => ({ id, path, title }) as Record<string, string>,
)

it('every finding of others has a row, in order, and each row names a test', () => {
  expect(rows.map(({ id }) => id)).toEqual(Array.from({ length: 27 }, (_, at) => `J${String(at + 1).padStart(2, '0')}`))
})

it('every test that a finding of others names exists', () => {
  const missing = rows.filter(({ path = '', title = '' }) => {
    if (!existsSync(join(root, path))) return true
    const text = readFileSync(join(root, path), 'utf8')
    // A title in quotes, from its beginning on; what is in backticks there may be escaped or not.
    return !new RegExp(`\\(\\s*['"\`]${RegExp.escape(title)}`).test(text)
  })
  expect(missing).toEqual([])
})
