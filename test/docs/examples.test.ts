import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** Pages whose TypeScript examples have to compile as they stand. */
const PAGES = ['README.md', 'docs/client.md']

it('the examples of the documentation compile', () => {
  const directory = mkdtempSync(join(root, '.examples-'))
  try {
    for (const page of PAGES) {
      const text = readFileSync(join(root, page), 'utf8')
      for (const [index, [, code = '']] of [...text.matchAll(/^```ts\n(.*?)^```$/gms)].entries()) {
        writeFileSync(join(directory, `${page.replace(/\W/g, '-')}-${index}.ts`), `${code}\nexport {}\n`)
      }
    }
    const config = {
      extends: '../tsconfig.json',
      compilerOptions: {
        noUnusedLocals: false,
        paths: { tidemark: [join(root, 'client/index.ts')], 'tidemark/testing': [join(root, 'testing/index.ts')] },
      },
      include: ['*.ts', '../protocol/untyped-packages.d.ts'],
    }
    writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify(config))
    expect(compile(directory)).toBe('')
  } finally {
    rmSync(directory, { recursive: true })
  }
}, 60_000)

/** What the compiler says; nothing when all is well. */
function compile(directory: string): string {
  try {
    return execFileSync(join(root, 'node_modules/.bin/tsc'), ['--noEmit', '-p', directory], {
      encoding: 'utf8',
      shell: process.platform === 'win32',
    })
  } catch (error) {
    return error instanceof Error && 'stdout' in error ? String(error.stdout) : String(error)
  }
}
