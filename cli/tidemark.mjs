#!/usr/bin/env node
/**
 * The `tidemark` command. Plain JavaScript, so that an old Node can say what is needed instead of failing on
 * syntax. Lies beside `main.ts` in a clone and beside `main.js` in the package.
 */
import { existsSync } from 'node:fs'
import module from 'node:module'

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 24 || (major === 24 && minor < 12)) {
  console.error(
    `error: tidemark needs Node 24.12 or newer, this is ${process.versions.node}. Install a newer Node; in a clone, ./tidemark brings its own.`,
  )
  process.exit(1)
}
module.enableCompileCache?.()
const source = new URL('./main.ts', import.meta.url)
const { main } = await import(existsSync(source) ? source.href : new URL('./main.js', import.meta.url).href)
await main(process.argv)
