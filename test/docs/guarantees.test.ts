import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

/** The last cell of a row: `file`: title, or the title alone in a table whose head names the file. */
function namedTests(page: string): { readonly file: string; readonly title: string }[] {
  let headFile = ''
  return page.split('\n').flatMap((line) => {
    const last = line.startsWith('|') ? line.split('|').at(-2)?.trim() : undefined
    if (last === undefined || /^-+$/.test(last)) return []
    if (/^test\b/.test(last)) {
      headFile = /`(.+)`/.exec(last)?.[1] ?? ''
      return []
    }
    const own = /^`(.+)`: (.*)$/.exec(last)
    return [own === null ? { file: headFile, title: last } : { file: own[1] ?? '', title: own[2] ?? '' }]
  })
}

it('every row of the guarantees names a test that there is', () => {
  const rows = namedTests(read('docs/guarantees.md'))
  expect(rows.length).toBeGreaterThan(20)
  const missing = rows.filter(({ file, title }) => {
    const wanted = title.replace(/ ?…$/, '').replace(/\b(before|after) the transaction$/, '%s the transaction')
    return !read(`test/client/group/${file}`).includes(wanted)
  })
  expect(missing).toEqual([])
})
