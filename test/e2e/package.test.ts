/** The npm package as a user gets it: packed, installed in another project without install scripts, imported, type-checked, run. */
import { existsSync } from 'node:fs'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { VERSION } from '../../protocol/version.ts'
import { parseSource } from '../house/source.ts'
import { environmentWithThisNode, olderNode, root, run, runOk, temporaryDirectory } from './support.ts'

const PACKED_MAX_BYTES = 1_000_000

describe('the packed package', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>
  let tarball: string
  let installed: string
  const env = environmentWithThisNode()
  const node = (name: string) => run(process.execPath, [name], { cwd: directory.path, env })
  const write = (name: string, text: string) => writeFile(join(directory.path, name), text)

  beforeAll(async () => {
    directory = await temporaryDirectory()
    await runOk('npm', ['pack', '--pack-destination', directory.path], { cwd: root, env })
    tarball = join(directory.path, (await readdir(directory.path)).find((name) => name.endsWith('.tgz')) ?? 'no tarball')
    await write('package.json', JSON.stringify({ name: 'consumer', private: true, type: 'module' }))
    await runOk('npm', ['install', tarball, '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: directory.path, env })
    installed = join(directory.path, 'node_modules/tidemark')
  })

  afterAll(() => directory?.[Symbol.asyncDispose]())

  it('carries the built code, the contract and the papers, and nothing else', async () => {
    const { stdout } = await runOk('tar', ['-tzf', tarball], { cwd: directory.path })
    const files = stdout
      .trim()
      .split('\n')
      .map((file) => file.replace(/^package\//, ''))
    for (const file of [
      'LICENSE',
      'README.md',
      'CHANGELOG.md',
      'package.json',
      'dist/cli/tidemark.mjs',
      'protocol/proto/tidemark/v1/log.proto',
    ]) {
      expect(files).toContain(file)
    }
    const expected = /^(LICENSE|README\.md|CHANGELOG\.md|package\.json|dist\/.+\.(js|d\.ts|mjs)|protocol\/proto\/.+\.(proto|yaml))$/
    expect(files.filter((file) => !expected.test(file))).toEqual([])
    expect((await stat(tarball)).size).toBeLessThan(PACKED_MAX_BYTES)
  })

  it('brings every package that its code imports and asks for none that it does not', async () => {
    const files = (await readdir(join(installed, 'dist'), { recursive: true })).filter((name) => /\.m?js$/.test(name))
    const texts = await Promise.all(files.map((name) => readFile(join(installed, 'dist', name), 'utf8')))
    const sources = files.map((name, index) => parseSource(name, texts[index] ?? ''))
    // What must not be loaded before it is needed, but then at once, is required.
    const required = texts.flatMap((text) =>
      [...text.matchAll(/createRequire\(import\.meta\.url\)\(['"]([^'"]+)['"]\)/g)].map(([, name = '']) => name),
    )
    const imported = [...required, ...sources.flatMap(({ imports }) => imports.map(({ specifier }) => specifier))].filter(
      (name) => !name.startsWith('.'),
    )
    const packages = imported
      .filter((name) => !name.startsWith('node:'))
      .map((name) =>
        name
          .split('/')
          .slice(0, name.startsWith('@') ? 2 : 1)
          .join('/'),
      )
    const { dependencies } = JSON.parse(await readFile(join(installed, 'package.json'), 'utf8'))
    expect([...new Set(packages)].sort()).toEqual(Object.keys(dependencies).sort())
  })

  it('has a command that tells its version', async () => {
    const { stdout } = await runOk(join(directory.path, 'node_modules/.bin/tidemark'), ['version'], { cwd: directory.path, env })
    expect(stdout.trim()).toBe(VERSION)
  })

  it('has a command that says in one sentence that a Node is too old', async (context) => {
    const old = await olderNode()
    if (old === undefined) return context.skip('needs a Node below 24 on the PATH')
    const { code, stderr } = await run(old, [join(installed, 'dist/cli/tidemark.mjs'), 'version'], { cwd: directory.path })
    expect(code).toBe(1)
    expect(stderr).toMatch(/^error: tidemark needs Node 24\.12 or newer.*\n$/)
  })

  it('gives a TypeScript project the types of the client and of the testing entry', async () => {
    await write(
      'consumer.ts',
      `import { connect, json, type Message, TidemarkError, topic } from 'tidemark'
import { startTidemark } from 'tidemark/testing'

await using node = await startTidemark()
await using tm = await connect(node.address)
const Orders = topic('orders', { key: 'string', value: json<{ total: number }>() })
const receipt: { readonly partition: number; readonly offset: bigint } = await tm.producer().send(Orders, { key: 'a', value: { total: 1 } })
export const offset: bigint = receipt.offset
export const isOurs = (error: unknown): error is TidemarkError => error instanceof TidemarkError
export const totalOf = (message: Message<string, { total: number }>): number => message.value?.total ?? 0
// @ts-expect-error: a record of another shape is refused
await tm.producer().send(Orders, { key: 'a', value: { total: 'one' } })
`,
    )
    const typeRoots = [join(root, 'node_modules/@types')]
    const compilerOptions = {
      strict: true,
      module: 'nodenext',
      target: 'esnext',
      lib: ['esnext'],
      noEmit: true,
      types: ['node'],
      typeRoots,
    }
    await write('tsconfig.json', JSON.stringify({ compilerOptions, files: ['consumer.ts'] }))
    const { stdout } = await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', '.'], { cwd: directory.path })
    expect(stdout).toBe('')
  })

  it('loads neither native code nor a line of the server with the client', async () => {
    await write(
      'loads.mjs',
      `import { registerHooks } from 'node:module'
const loaded = []
registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context) } })
process.dlopen = (_, file) => { throw new Error('native code: ' + file) }
const { connect } = await import('tidemark')
console.log(JSON.stringify({ connect: typeof connect, loaded }))
`,
    )
    const { stdout, stderr } = await node('loads.mjs')
    expect(stderr).toBe('')
    const { connect, loaded }: { connect: string; loaded: string[] } = JSON.parse(stdout)
    expect(connect).toBe('function')
    const texts = await Promise.all(loaded.filter((url) => url.includes('/tidemark/dist/')).map((url) => readFile(new URL(url), 'utf8')))
    // The build joins files and says of each where it came from.
    const rooms = texts.flatMap((text) => [...text.matchAll(/^\/\/ dist\/(\w+)\//gm)].map(([, room = '']) => room))
    expect([...new Set(rooms)].sort()).toEqual(['client', 'protocol', 'runtime'])
    expect(loaded.filter((url) => /\/(level|classic-level|pino|prom-client|commander)\//.test(url))).toEqual([])
  })

  it.each(['memory', 'disk'])('starts a real node in the process of a test, with its data in %s', async (storage) => {
    await write(
      'node.mjs',
      `import { startTidemark } from 'tidemark/testing'
await using node = await startTidemark({ storage: '${storage}' })
const tm = await node.connect()
await tm.admin.createTopic('greetings', { partitions: 1 })
await tm.producer().send('greetings', { key: 'a', value: 'hello' })
for await (const message of tm.consumer('greetings', { start: 'earliest' })) {
  console.log(String(message.key), String(message.value), message.offset)
  break
}
`,
    )
    const { code, stdout, stderr } = await node('node.mjs')
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'a hello 0n\n', stderr: '' })
  })

  it('has no fault that publint knows', async () => {
    expect(existsSync(installed)).toBe(true)
    const { code, stdout } = await run(process.execPath, [join(root, 'node_modules/publint/src/cli.js'), installed, '--strict'], {
      cwd: directory.path,
    })
    expect(stdout).toContain('All good!')
    expect(code).toBe(0)
  })
})
