/** The house rules, held against every file of the project. tidy-rules.test.ts shows that each rule can fail. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { checkCode, checkComments, checkFunctions } from './code-rules.ts'
import { checkCycles, checkImports, ROOMS } from './import-rules.ts'
import { LONG_FILES } from './long-files.ts'
import { describeFinding, type Finding, parseSource } from './source.ts'
import { checkBarrel, checkLength, checkLinks, checkReadme, checkScriptsAreListed, checkTexts } from './text-rules.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const paths = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((path) => path !== '' && existsSync(join(root, path)))
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

const written = paths.filter((path) => /\.[cm]?ts$|\.mjs$/.test(path) && !path.startsWith('protocol/gen/') && !path.endsWith('.d.ts'))
const sources = written.map((path) => parseSource(path, read(path)))

describe('the house', () => {
  it('has code to look at', () => {
    expect(sources.length).toBeGreaterThan(50)
  })

  it('imports one way only', () => expectNone(sources.flatMap(checkImports)))

  it('has no ring of imports', () => expectNone(checkCycles(sources)))

  it('uses nothing that is banned', () => expectNone(sources.flatMap(checkCode)))

  it('leaves no switch for the type checker and no work without an issue in a comment', () => expectNone(sources.flatMap(checkComments)))

  it('has no function longer than a screen', () => expectNone(sources.flatMap(checkFunctions)))

  it('lets no long file grow', () => {
    const gone = Object.keys(LONG_FILES).filter((path) => !written.includes(path))
    expect(gone, 'on the list in test/house/long-files.ts, but not in the tree').toEqual([])
    expectNone(sources.flatMap(({ path, text }) => checkLength(path, text.trimEnd().split('\n').length, LONG_FILES)))
  })

  it('gathers exports only where users import', () => expectNone(paths.flatMap(checkBarrel)))

  it('has a README in every room', () => {
    const rooms = Object.keys(ROOMS).filter((room) => room !== 'test')
    expectNone(
      rooms.flatMap((room) => checkReadme(room, existsSync(join(root, room, 'README.md')) ? read(`${room}/README.md`) : undefined)),
    )
  })

  it('describes every script', () => expectNone(checkScriptsAreListed(paths, read('scripts/README.md'))))

  it('has no link that leads nowhere', () => {
    const pages = paths.filter((path) => path.endsWith('.md'))
    expectNone(pages.flatMap((path) => checkLinks(path, read(path), (target) => existsSync(join(root, target)))))
  })

  it('names no package registry and no path of one machine', () => expectNone(paths.flatMap((path) => checkTexts(path, read(path)))))
})

function expectNone(findings: readonly Finding[]): void {
  expect(findings.map(describeFinding)).toEqual([])
}
