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

/** What the parts of a run have checked together. */
export function sumOfFigures(parts: Iterable<ReadonlyMap<string, Figures>>): ReadonlyMap<string, Figures> {
  const sums = new Map<string, Record<string, number>>()
  for (const part of parts) {
    for (const [suite, figures] of part) {
      const sum = sums.get(suite) ?? {}
      for (const [what, value] of Object.entries(figures)) sum[what] = (sum[what] ?? 0) + value
      sums.set(suite, sum)
    }
  }
  return sums
}

/** Figures of a long run, and the code that ran. */
export interface PublishedFigures {
  readonly commit: string
  /** As in 2026-11-25. */
  readonly date: string
  readonly figures: Figures
}

const PUBLISHED = join(import.meta.dirname, '../docs/figures.json')

/** By suite, the runs of each. */
export function publishedFigures(): Readonly<Record<string, readonly PublishedFigures[]>> {
  return existsSync(PUBLISHED) ? (JSON.parse(readFileSync(PUBLISHED, 'utf8')) as Record<string, PublishedFigures[]>) : {}
}

export function writePublishedFigures(all: Readonly<Record<string, readonly PublishedFigures[]>>): void {
  const sorted = Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)))
  writeFileSync(PUBLISHED, `${JSON.stringify(sorted, undefined, 2)}\n`)
}

/** As in "300 seeds (at least 100), 4,123 faults". */
export function textOfFigures(figures: Figures, atLeast: Figures = {}): string {
  return Object.entries(figures)
    .map(([what, value]) => {
      const least = atLeast[what]
      return `${value.toLocaleString('en')} ${what}${least === undefined ? '' : ` (at least ${least.toLocaleString('en')})`}`
    })
    .join(', ')
}
