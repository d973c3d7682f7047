/**
 * Writes `dist/`, what the npm package carries: type declarations of every room, and their JavaScript in a few large files.
 * Finding and reading them one by one is a third of what a start takes.
 */
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { rolldown } from 'rolldown'
import { root, runTool } from './tools.ts'

/** Written by hand in JavaScript, because an older Node must be able to read it to say that it is too old. */
const COMMAND = 'cli/tidemark.mjs'

/** What is loaded from outside; everything else is loaded by these, some of it when it is used. */
const ENTRIES = ['client/index', 'testing/index', 'cli/main']

const output = join(root, 'dist')
rmSync(output, { recursive: true, force: true })
const isCompiled = runTool('tsc', '-p', 'tsconfig.build.json')
if (isCompiled) await bundle()
if (!existsSync(join(root, COMMAND))) console.error(`build: ${COMMAND} is missing, so the package would have no command`)
else cpSync(join(root, COMMAND), join(output, COMMAND))
if (!isCompiled || !existsSync(join(output, COMMAND))) process.exitCode = 1

/** Packages stay packages. What is found by its place beside other files (`import.meta.url`) all belongs to `cli/`: so does every piece. */
async function bundle(): Promise<void> {
  const bundled = await rolldown({
    input: Object.fromEntries(ENTRIES.map((name) => [name, join(output, `${name}.js`)])),
    external: /^[^./]/,
    platform: 'node',
  })
  await bundled.write({ dir: join(root, 'dist.pieces'), entryFileNames: '[name].js', chunkFileNames: 'cli/[name]-[hash].js' })
  for (const name of readdirSync(output, { recursive: true, encoding: 'utf8' })) if (name.endsWith('.js')) rmSync(join(output, name))
  cpSync(join(root, 'dist.pieces'), output, { recursive: true })
  rmSync(join(root, 'dist.pieces'), { recursive: true })
}
