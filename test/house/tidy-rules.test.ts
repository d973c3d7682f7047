/** Each rule of the house fails on a planted bad example and lets the right form pass. */
import { describe, expect, it } from 'vitest'
import { checkCode, checkComments, checkFunctions } from './code-rules.ts'
import { checkCycles, checkImports } from './import-rules.ts'
import { type Finding, parseSource } from './source.ts'
import { checkBarrel, checkLength, checkLinks, checkReadme, checkScriptsAreListed, checkTexts } from './text-rules.ts'

const messages = (findings: readonly Finding[]): string => findings.map(({ line, message }) => `${line}: ${message}`).join('\n')
const imports = (path: string, text: string): string => messages(checkImports(parseSource(path, text)))
const code = (path: string, text: string): string => messages(checkCode(parseSource(path, text)))

describe('imports', () => {
  const wrong: readonly [path: string, text: string, objection: RegExp][] = [
    ['runtime/node.ts', "import { x } from '../protocol/ids.ts'", /runtime\/ may import no other room/],
    ['log/segment.ts', "import { x } from '../broker/server.ts'", /log\/ may import protocol, runtime/],
    ['log/segment.ts', "import type { X } from '../client/types.ts'", /log\/ may import/],
    ['log/segment.ts', "export { x } from '../controller/image.ts'", /log\/ may import/],
    ['log/segment.ts', "type X = import('../controller/image.ts').X", /log\/ may import/],
    ['client/connect.ts', "const x = await import('../broker/server.ts')", /client\/ may import protocol, runtime/],
    ['client/connect.ts', "import { Level } from 'level'", /client\/ may import of packages only @grpc\/grpc-js/],
    ['broker/partition.ts', "import { connect } from '../client/connect.ts'", /broker\/ may import/],
    ['log/segment.ts', "import { open } from 'node:fs/promises'", /come from the Runtime/],
    ['broker/partition.ts', "import { setTimeout } from 'node:timers/promises'", /come from the Runtime/],
    ['log/segment.ts', "import { connect } from 'node:net'", /knows no network/],
    ['broker/partition.ts', "import { randomBytes } from 'node:crypto'", /random\.bytes/],
    ['controller/controller.ts', "import { Level } from 'level'", /level-raft-store/],
    ['controller/raft/raft.ts', "import { x } from '../../protocol/ids.ts'", /imports nothing but itself/],
    ['controller/raft/raft.ts', "import { hash } from 'node:crypto'", /imports nothing but itself/],
    ['controller/metadata/image.ts', "import { x } from 'node:net'", /sans-I\/O/],
    ['broker/operations/fetch.ts', "import { x } from '../transport/port.ts'", /who carries it/],
    ['broker/partition.ts', "import { nodeRuntime } from '../runtime/node.ts'", /composition roots/],
    ['cli/topic.ts', "import { startNode } from '../broker/server.ts'", /must not load a server/],
    ['cli/topic.ts', "const x = await import('../broker/server.ts')", /must not load a server/],
    ['cli/serve.ts', "import { startNode } from '../broker/server.ts'", /by import\(\)/],
    ['cli/serve.ts', "const x = await import('../log/dump.ts')", /only cli\/log\.ts/],
    ['cli/main.ts', "import type { X } from '../controller/controller.ts'", /cli\/ may import/],
    ['testing/index.ts', "import { x } from '../test/support.ts'", /testing\/ may import/],
  ]
  it.each(wrong)('refuses in %s: %s', (path, text, objection) => expect(imports(path, text)).toMatch(objection))

  const right: readonly [path: string, text: string][] = [
    [
      'log/segment.ts',
      "import { x } from '../protocol/ids.ts'\nimport type { Files } from '../runtime/runtime.ts'\nimport { y } from './checkpoint.ts'",
    ],
    ['cli/serve.ts', "import type { X } from '../broker/server.ts'\nconst x = await import('../broker/server.ts')"],
    ['cli/log.ts', "const x = await import('../log/dump.ts')"],
    ['controller/level-raft-store.ts', "import { Level } from 'level'"],
    ['broker/partition.ts', "import { createHash } from 'node:crypto'"],
    ['broker/server.ts', "import { nodeRuntime } from '../runtime/node.ts'"],
    ['controller/raft/raft.ts', "import { x } from './progress.ts'"],
    ['protocol/gen/log.ts', "import { BinaryReader } from '@bufbuild/protobuf/wire'"],
  ]
  it.each(right)('accepts in %s: %s', (path, text) => expect(imports(path, text)).toBe(''))

  it('finds a ring, also one of types', () => {
    const ring = [
      parseSource('log/a.ts', "import { b } from './b.ts'"),
      parseSource('log/b.ts', "import { c } from './c.ts'"),
      parseSource('log/c.ts', "import type { A } from './a.ts'"),
    ]
    expect(messages(checkCycles(ring))).toContain('log/a.ts → log/b.ts → log/c.ts → log/a.ts')
    expect(checkCycles(ring.slice(0, 2))).toEqual([])
  })

  it('takes a file loaded when it is used for no part of a ring', () => {
    const lazy = [parseSource('log/a.ts', "const b = await import('./b.ts')"), parseSource('log/b.ts', "import type { A } from './a.ts'")]
    expect(checkCycles(lazy)).toEqual([])
  })
})

describe('code', () => {
  const wrong: readonly [path: string, text: string, objection: RegExp][] = [
    ['log/a.ts', 'const x = Date.now()', /clock\.now/],
    ['log/a.ts', 'const x = new Date()', /clock\.now/],
    ['broker/a.ts', 'const now = Date.now', /clock\.now/],
    ['client/a.ts', 'const x = Math.random()', /random\.float/],
    ['client/a.ts', 'const x = performance.now()', /clock\.monotonic/],
    ['controller/a.ts', 'const x = crypto.randomUUID()', /random\.bytes/],
    ['client/a.ts', 'setTimeout(run, 5)', /timers\.after/],
    ['client/a.ts', 'globalThis.setInterval(run, 5)', /timers\.every/],
    ['broker/a.ts', 'setImmediate(run)', /timers\.nextTurn/],
    ['broker/a.ts', "const x = process.env['HOME']", /composition roots/],
    ['broker/a.ts', "throw new Error('no')", /TidemarkError/],
    ['log/a.ts', "throw new TypeError('no')", /invariant/],
    ['log/tail-cache.ts', 'const x = Buffer.concat(parts)', /every batch/],
    ['cli/a.ts', 'enum Colour { red }', /as const/],
    ['cli/a.ts', 'export default 3', /give it a name/],
    ['cli/a.ts', 'export function f(x: any): void {}', /unknown/],
    ['test/log/a.test.ts', "it.only('works', () => {})", /every other test/],
    ['test/log/a.test.ts', "describe.skip('works', () => {})", /with a reason/],
  ]
  it.each(wrong)('refuses in %s: %s', (path, text, objection) => expect(code(path, text)).toMatch(objection))

  const right: readonly [path: string, text: string][] = [
    ['runtime/node.ts', 'export const now = (): number => Date.now()'],
    ['cli/a.ts', "setTimeout(run, 5); throw new Error('no')"],
    ['log/a.ts', 'const x = new Date(timestampMs); const y = this.#timers.after(5, run); const z = value.valueOf()'],
    ['log/a.ts', "throw new TidemarkError('UNKNOWN_TOPIC', 'no such topic')"],
    ['vitest.config.ts', 'export default {}'],
    ['broker/config.ts', 'const x = process.env'],
    ['test/log/a.test.ts', "it('works', (context) => context.skip('needs root'))"],
  ]
  it.each(right)('accepts in %s: %s', (path, text) => expect(code(path, text)).toBe(''))

  it('says where', () => expect(code('log/a.ts', '\n\nconst x = Date.now()')).toMatch(/^3: /))

  it('refuses a switch for the type checker and work without an issue', () => {
    // In parts, so that this file passes its own rules.
    const comment = (text: string): string => messages(checkComments(parseSource('log/a.ts', `// ${text}\nconst x = 1`)))
    expect(comment(['@ts', 'ignore'].join('-'))).toMatch(/mend the type/)
    expect(comment(['TO', 'DO: later'].join(''))).toMatch(/without an issue/)
    expect(comment(['TO', 'DO(#12): later'].join(''))).toBe('')
  })

  it('refuses a function of more than seventy lines', () => {
    const body = (lines: number): string => `function f() {\n${'  g()\n'.repeat(lines - 2)}}`
    expect(messages(checkFunctions(parseSource('log/a.ts', body(71))))).toMatch(/a function of 71 lines/)
    expect(checkFunctions(parseSource('log/a.ts', body(70)))).toEqual([])
  })
})

describe('files', () => {
  it('refuses a long file, a grown one and a number that is too high', () => {
    expect(messages(checkLength('log/a.ts', 301, {}))).toMatch(/split it/)
    expect(messages(checkLength('log/a.ts', 410, { 'log/a.ts': 400 }))).toMatch(/grew from 400 to 410/)
    expect(messages(checkLength('log/a.ts', 390, { 'log/a.ts': 400 }))).toMatch(/shrank to 390/)
    expect(messages(checkLength('log/a.ts', 290, { 'log/a.ts': 400 }))).toMatch(/take it off the list/)
    expect(checkLength('log/a.ts', 400, { 'log/a.ts': 400 })).toEqual([])
    expect(checkLength('log/a.ts', 300, {})).toEqual([])
    expect(checkLength('test/log/a.test.ts', 450, {})).toEqual([])
  })

  it('refuses a room without a README and a README that rambles', () => {
    expect(messages(checkReadme('log', undefined))).toMatch(/is missing/)
    expect(messages(checkReadme('log', 'line\n'.repeat(41)))).toMatch(/41 lines/)
    expect(checkReadme('log', 'line\n'.repeat(40))).toEqual([])
  })

  it('refuses a barrel where no user imports', () => {
    expect(messages(checkBarrel('log/index.ts'))).toMatch(/barrel/)
    expect(checkBarrel('client/index.ts')).toEqual([])
    expect(checkBarrel('log/offset-index.ts')).toEqual([])
  })

  it('refuses a script that scripts/README.md does not mention', () => {
    const paths = ['scripts/lint.ts', 'scripts/bench/produce.ts', 'log/a.ts']
    expect(messages(checkScriptsAreListed(paths, '`bench/`'))).toMatch(/no line/)
    expect(checkScriptsAreListed(paths, '`lint.ts` and `bench/`')).toEqual([])
  })

  it('refuses a link that leads nowhere', () => {
    const exists = (path: string): boolean => path === 'docs/errors.md'
    expect(messages(checkLinks('docs/README.md', 'first\nsee [errors](error.md)', exists))).toBe(
      '2: links to docs/error.md, which is not there',
    )
    expect(
      checkLinks('docs/README.md', '[a](errors.md#codes) [b](https://example.org/x) [c](#here) [d](../docs/errors.md)', exists),
    ).toEqual([])
  })

  it('refuses the address of a registry and a path of one machine', () => {
    expect(messages(checkTexts('a.md', `see https://${['registry', 'npmjs', 'org'].join('.')}/x`))).toMatch(/package registry/)
    expect(messages(checkTexts('a.json', ['"resolved"', ' "https://x"'].join(':')))).toMatch(/address of a package/)
    expect(messages(checkTexts('a.ts', `const x = '${['', 'home', 'me', 'x'].join('/')}'`))).toMatch(/one machine/)
    expect(checkTexts('a.ts', "const x = 'docs/home/x' // https://example.org/home/x")).toEqual([])
  })
})
