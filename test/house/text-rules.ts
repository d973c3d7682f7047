/** What holds for whole files and for the tree: sizes, what must exist, what no text may name. */
import { posix } from 'node:path'
import type { Finding } from './source.ts'

/** A file of more lines than this is probably two ideas. A file of tests is a list, and may be longer. */
export const FILE_LINES_MAX = 300
export const TEST_FILE_LINES_MAX = 500

/**
 * A ratchet: a file may have as many lines as the limit says, or the number it has in `longFiles`. It may not grow over that,
 * and when it shrinks the number follows, so that the list only ever gets shorter.
 */
export function checkLength(path: string, lines: number, longFiles: Readonly<Record<string, number>>): Finding[] {
  const known = longFiles[path]
  const limit = path.startsWith('test/') ? TEST_FILE_LINES_MAX : FILE_LINES_MAX
  const finding = (message: string): Finding[] => [{ path, line: lines, message }]
  if (known === undefined) return lines > limit ? finding(`${lines} lines: at most ${limit}, split it by ideas`) : []
  if (lines > known) return finding(`grew from ${known} to ${lines} lines: put what is new into a file of its own`)
  if (lines <= limit) return finding(`has ${lines} lines now: take it off the list in test/house/long-files.ts`)
  return lines < known ? finding(`shrank to ${lines} lines: write that number into test/house/long-files.ts`) : []
}

const README_LINES_MAX = 40

/** Every room says in its README what it is. */
export function checkReadme(room: string, readme: string | undefined): Finding[] {
  const path = `${room}/README.md`
  if (readme === undefined)
    return [{ path, line: 1, message: 'is missing: say what the room is, what it may import, which file to read first' }]
  const lines = readme.trimEnd().split('\n').length
  return lines > README_LINES_MAX
    ? [{ path, line: lines, message: `${lines} lines: at most ${README_LINES_MAX}, the rest belongs to docs/` }]
    : []
}

/** The only files that may gather exports for others: what users import. */
const ENTRIES = new Set(['client/index.ts', 'testing/index.ts'])

export function checkBarrel(path: string): Finding[] {
  if (!/(^|\/)index\.[cm]?[jt]s$/.test(path) || ENTRIES.has(path)) return []
  return [{ path, line: 1, message: 'a barrel file: let others import the files they mean' }]
}

/** Every script has a line in scripts/README.md, by its path below scripts/ or by its folder. */
export function checkScriptsAreListed(paths: readonly string[], readme: string): Finding[] {
  return paths
    .filter((path) => /^scripts\/.*\.(ts|mjs|sh)$/.test(path))
    .filter((path) => {
      const name = path.slice('scripts/'.length)
      return !readme.includes(`\`${name}\``) && !(name.includes('/') && readme.includes(`\`${name.slice(0, name.lastIndexOf('/') + 1)}\``))
    })
    .map((path) => ({ path, line: 1, message: 'has no line in scripts/README.md' }))
}

/** Put together from parts, so that this file does not name what it forbids. */
const FORBIDDEN_TEXTS: readonly { readonly pattern: RegExp; readonly message: string }[] = [
  {
    pattern: new RegExp(['registry', '\\.(npmjs|yarnpkg)\\.'].join('')),
    message: 'names a package registry: which one is used is the business of the machine',
  },
  {
    pattern: new RegExp(['"resolved"', ': "http'].join('')),
    message: 'holds the address of a package: install with `omit-lockfile-registry-resolved`',
  },
  {
    pattern: new RegExp(`(^|[\\s"'\`(=:])/(${['home', 'root', 'Users', 'work'].join('|')})/[\\w.-]+`),
    message: 'holds an absolute path of one machine: make it relative',
  },
]

export function checkTexts(path: string, text: string): Finding[] {
  return text
    .split('\n')
    .flatMap((content, index) =>
      FORBIDDEN_TEXTS.filter(({ pattern }) => pattern.test(content)).map(({ message }) => ({ path, line: index + 1, message })),
    )
}

/** A link of a page to another file of the project leads to one. */
export function checkLinks(path: string, text: string, exists: (path: string) => boolean): Finding[] {
  return text.split('\n').flatMap((content, index) =>
    [...content.matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)/g)]
      .map((match) => posix.join(posix.dirname(path), match[1] ?? ''))
      .filter((target) => !exists(target))
      .map((target) => ({ path, line: index + 1, message: `links to ${target}, which is not there` })),
  )
}
