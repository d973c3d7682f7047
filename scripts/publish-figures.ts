/**
 * Takes the figures of long runs over into docs/figures.json, from which docs/reliability.md is made:
 *
 *     TIDEMARK_FIGURES=/tmp/figures npm run crash -- --images 1000000
 *     node scripts/run.mjs scripts/publish-figures.ts /tmp/figures && node scripts/run.mjs scripts/gen-docs.ts
 *
 * Figures of one suite in several directories are added up: parts of one run. They replace what was published of that suite, or with `--keep`
 * only what was published of it for the same code. The code is the commit that is checked out, without changes in the tree, or `--code <commit>`
 * when the run was made in another clone.
 */
import { execFileSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import { type PublishedFigures, publishedFigures, readFigures, sumOfFigures, writePublishedFigures } from './figures.ts'

const git = (...args: string[]): string => execFileSync('git', args, { encoding: 'utf8' }).trim()

const { values: flags, positionals: directories } = parseArgs({
  allowPositionals: true,
  options: { keep: { type: 'boolean', default: false }, code: { type: 'string' } },
})
if (directories.length === 0)
  throw new Error('usage: publish-figures.ts [--keep] [--code commit] <directories in which suites noted their figures>')
if (flags.code === undefined && git('status', '--porcelain', '--untracked-files=no') !== '')
  throw new Error('the tree has changes: which code was it that ran?')
const commit = git('rev-parse', '--short', flags.code ?? 'HEAD')
const date = new Date().toISOString().slice(0, 10)
const published: Record<string, readonly PublishedFigures[]> = { ...publishedFigures() }
for (const [suite, figures] of sumOfFigures(directories.map(readFigures))) {
  const others = flags.keep ? (published[suite] ?? []).filter((one) => one.commit !== commit) : []
  published[suite] = [...others, { commit, date, figures }]
  console.log(`${suite}: ${JSON.stringify(figures)}`)
}
writePublishedFigures(published)
