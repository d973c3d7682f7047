/**
 * Takes the figures of long runs over into docs/figures.json, from which docs/reliability.md is made:
 *
 *     TIDEMARK_FIGURES=/tmp/figures npm run crash -- --images 1000000
 *     node scripts/run.mjs scripts/publish-figures.ts /tmp/figures && node scripts/run.mjs scripts/gen-docs.ts
 *
 * A suite that was published before is replaced. The commit is the one that is checked out; with changes in the tree nothing is taken.
 */
import { execFileSync } from 'node:child_process'
import { type PublishedFigures, publishedFigures, readFigures, writePublishedFigures } from './figures.ts'

const git = (...args: string[]): string => execFileSync('git', args, { encoding: 'utf8' }).trim()

const directory = process.argv[2]
if (directory === undefined) throw new Error('usage: publish-figures.ts <directory in which suites noted their figures>')
if (git('status', '--porcelain', '--untracked-files=no') !== '') throw new Error('the tree has changes: which code was it that ran?')
const stamp = { commit: git('rev-parse', '--short', 'HEAD'), date: new Date().toISOString().slice(0, 10) }
const published: Record<string, PublishedFigures> = { ...publishedFigures() }
for (const [suite, figures] of readFigures(directory)) {
  published[suite] = { ...stamp, figures }
  console.log(`${suite}: ${JSON.stringify(figures)}`)
}
writePublishedFigures(published)
