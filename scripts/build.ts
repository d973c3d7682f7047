/** Writes `dist/`, what the npm package carries: JavaScript and type declarations of every room, without tests and scripts. */
import { cpSync, existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { root, runTool } from './tools.ts'

/** Written by hand in JavaScript, because an older Node must be able to read it to say that it is too old. */
const COMMAND = 'cli/tidemark.mjs'

const output = join(root, 'dist')
rmSync(output, { recursive: true, force: true })
const isBuilt = runTool('tsc', '-p', 'tsconfig.build.json')
if (!existsSync(join(root, COMMAND))) console.error(`build: ${COMMAND} is missing, so the package would have no command`)
else cpSync(join(root, COMMAND), join(output, COMMAND))
if (!isBuilt || !existsSync(join(output, COMMAND))) process.exitCode = 1
