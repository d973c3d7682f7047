/**
 * Figures of the suites that prove something: how much a run has checked. Each suite notes its own, as one small file in the directory that
 * `TIDEMARK_FIGURES` names, or nowhere when it names none.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** By what is counted: `states`, `seconds`. */
export type Figures = Readonly<Record<string, number>>

/** `suite` is a word, and the same again replaces what it noted before. */
export function noteFigures(suite: string, figures: Figures): void {
  const directory = process.env['TIDEMARK_FIGURES'] ?? ''
  if (directory === '') return
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, `${suite}.json`), `${JSON.stringify(figures)}\n`)
}

/** What was noted in a directory, by suite. */
export function readFigures(directory: string): ReadonlyMap<string, Figures> {
  if (!existsSync(directory)) return new Map()
  const files = readdirSync(directory).filter((name) => name.endsWith('.json'))
  return new Map(
    files.sort().map((name) => [name.slice(0, -'.json'.length), JSON.parse(readFileSync(join(directory, name), 'utf8')) as Figures]),
  )
}
