/**
 * Writes the parts of docs/ that are made from tables: errors.md, configuration.md, and the figures of long runs in reliability.md. `--check` fails
 * instead when they differ.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { environmentName } from '../broker/config.ts'
import { NODE_SETTINGS } from '../broker/node-settings.ts'
import { type AllowedType, allowedValues } from '../protocol/allowed-values.ts'
import { ERRORS } from '../protocol/errors.ts'
import { TOPIC_SETTINGS } from '../protocol/topic-config.ts'
import { publishedFigures, sumOfFigures, textOfFigures } from './figures.ts'

const docs = join(dirname(dirname(fileURLToPath(import.meta.url))), 'docs')
const pages: Readonly<Record<string, string>> = {
  'errors.md': errorsPage(),
  'configuration.md': configurationPage(),
  'reliability.md': withFigures(readFileSync(join(docs, 'reliability.md'), 'utf8')),
}

for (const [name, text] of Object.entries(pages)) {
  const path = join(docs, name)
  if (!process.argv.includes('--check')) writeFileSync(path, text)
  else if (readFileSync(path, 'utf8') !== text) {
    console.error(`docs/${name} is not what the tables say. Run \`node scripts/run.mjs scripts/gen-docs.ts\` and commit the result.`)
    process.exitCode = 1
  }
}

function errorsPage(): string {
  const sections = Object.entries(ERRORS).map(([code, { number, retriable, text, help }]) =>
    [
      `## ${code}`,
      '',
      `${capital(text)}. ${help}`,
      '',
      `Number ${number}. ${retriable ? 'May be retried as it is.' : 'Retrying the same request does not help.'}`,
      '',
    ].join('\n'),
  )
  return [
    '# Errors',
    '',
    'Every failure carries one of these codes, in the client library as `TidemarkError.code`, on the wire as `ErrorDetail.code`, on the command line',
    'in brackets. Codes never change their meaning; messages are for people. `retriable` says whether the same request may succeed later without anyone',
    'changing it; the client retries those by itself until its deadline. A failed send also has an `outcome`: `failed` (certainly not written) or',
    '`indeterminate` (nobody knows).',
    '',
    'This page is made from `protocol/errors.ts` by `scripts/gen-docs.ts`.',
    '',
    ...sections,
  ].join('\n')
}

function configurationPage(): string {
  const nodeRows = Object.entries(NODE_SETTINGS).map(
    ([key, { type, defaultText, text }]) =>
      `| \`${key}\` | ${range(type)} | ${defaultText === '' ? '–' : `\`${defaultText}\``} | \`${environmentName(key)}\` | ${text} |`,
  )
  const topicRows = Object.entries(TOPIC_SETTINGS).map(
    ([key, { type, defaultText, text, fixed }]) =>
      `| \`${key}\` | ${range(type)} | \`${defaultText}\` | ${text}${fixed ? ' Fixed once the topic exists.' : ''} |`,
  )
  return [
    '# Configuration',
    '',
    'A node takes its settings from flags, the environment, a file and the defaults: a flag beats the environment, the environment beats the file, the',
    'file beats the default. The file is YAML, `--config FILE` or `./tidemark.yaml`; dotted keys may be nested. Flags: `--listen`, `--data-dir` and the like',
    'for the first ones, `--set key=value` for any. `tidemark config print` shows every value and where it comes from. An unknown key is an error.',
    '',
    'Sizes take `B KB MB GB KiB MiB GiB`, durations `ms s m h d w`.',
    '',
    'This page is made from `broker/config.ts` and `protocol/topic-config.ts` by `scripts/gen-docs.ts`.',
    '',
    '## Settings of a node',
    '',
    '| key | values | default | environment | meaning |',
    '|---|---|---|---|---|',
    ...nodeRows,
    '',
    '## Settings of a topic',
    '',
    'Given when the topic is created (`tidemark topic create NAME -c key=value`) or changed later (`tidemark topic alter`).',
    '',
    '| key | values | default | meaning |',
    '|---|---|---|---|',
    ...topicRows,
    '',
  ].join('\n')
}

/** The page with the newest figures of long runs between its two marks. */
function withFigures(page: string): string {
  const rows = Object.entries(publishedFigures()).flatMap(([suite, runs]) => {
    const rowsOfRuns = runs.map(({ figures, commit, date }) => `| ${suite} | ${textOfFigures(figures)} | \`${commit}\`, ${date} |`)
    const together = sumOfFigures(runs.map(({ figures }) => new Map([[suite, figures]]))).get(suite) ?? {}
    return runs.length < 2 ? rowsOfRuns : [...rowsOfRuns, `| ${suite}, together | ${textOfFigures(together)} | |`]
  })
  const table = ['| suite | checked | code |', '|---|---|---|', ...rows].join('\n')
  return page.replace(/(<!-- figures -->\n)[^]*?(<!-- \/figures -->)/, (_, begin: string, end: string) => `${begin}${table}\n${end}`)
}

function range(type: AllowedType): string {
  const { range: bounds, words } = allowedValues(type)
  return [...(bounds === undefined ? [] : [bounds]), ...words.map((word) => `\`${word}\``)].join(', ')
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
