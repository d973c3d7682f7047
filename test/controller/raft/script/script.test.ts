/**
 * Scenarios as text: what is done (`> …`), and everything that follows from it. `REWRITE=1` writes the files anew; what changed
 * in them is then to be read.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { runScript } from './run-script.ts'

const folder = new URL('testdata/', import.meta.url)
const files = readdirSync(folder).filter((name) => name.endsWith('.txt'))

describe('R-dd the scenario', () => {
  for (const file of files)
    it(`${file.slice(0, -4)} goes as it is written down`, () => {
      const path = new URL(file, folder)
      const text = readFileSync(path, 'utf8')
      const actual = runScript(text)
      if (process.env['REWRITE'] === '1') writeFileSync(path, actual)
      else expect(actual).toBe(text)
    })
})
