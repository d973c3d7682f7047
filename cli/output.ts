/**
 * What commands print: a table for people, aligned plain text where nobody looks, or data for programs.
 */
import { TidemarkError } from '../protocol/errors.ts'

export type OutputFormat = 'table' | 'json' | 'jsonl' | 'yaml'

export const OUTPUT_FORMATS: readonly OutputFormat[] = ['table', 'json', 'jsonl', 'yaml']

export type Row = Readonly<Record<string, unknown>>

/** Prints rows in the wanted format. Columns are those of the first row. */
export async function printRows(rows: readonly Row[], format: OutputFormat): Promise<void> {
  switch (format) {
    case 'table':
      await write(process.stdout.isTTY ? await prettyTable(rows) : plainTable(rows))
      return
    case 'json':
      await write(`${JSON.stringify(rows, jsonValue, 2)}\n`)
      return
    case 'jsonl':
      await write(rows.map((row) => `${JSON.stringify(row, jsonValue)}\n`).join(''))
      return
    case 'yaml': {
      const { stringify } = await import('yaml')
      await write(stringify(JSON.parse(JSON.stringify(rows, jsonValue))))
      return
    }
  }
}

/** Prints one thing: a row of its fields in a table, an object elsewhere. */
export async function printOne(one: Row, format: OutputFormat): Promise<void> {
  if (format === 'json') await write(`${JSON.stringify(one, jsonValue, 2)}\n`)
  else if (format === 'table')
    await printRows(
      Object.entries(one).map(([name, value]) => ({ name, value })),
      format,
    )
  else await printRows([one], format)
}

export function parseFormat(text: string): OutputFormat {
  const format = OUTPUT_FORMATS.find((one) => one === text)
  if (format === undefined)
    throw new TidemarkError('USAGE', `unknown output format ${JSON.stringify(text)}, there is ${OUTPUT_FORMATS.join(', ')}`)
  return format
}

/** Writes to standard output and waits while it is full. */
export async function write(text: string | Buffer): Promise<void> {
  if (text.length === 0) return
  await new Promise<void>((resolve) => {
    if (process.stdout.write(text)) resolve()
    else process.stdout.once('drain', resolve)
  })
}

/** A line for people, on standard error, so that standard output stays data. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`)
}

function jsonValue(_key: string, value: unknown): unknown {
  // Offsets stay below 2^53.
  return typeof value === 'bigint' ? Number(value) : value
}

async function prettyTable(rows: readonly Row[]): Promise<string> {
  const { default: Table } = await import('cli-table3')
  const [first] = rows
  if (first === undefined) return 'none\n'
  const table = new Table({ head: Object.keys(first), style: { head: ['cyan'], compact: true } })
  for (const row of rows) table.push(Object.values(row).map(cell))
  return `${table.toString()}\n`
}

/** Columns aligned by spaces, a header first. */
function plainTable(rows: readonly Row[]): string {
  const [first] = rows
  if (first === undefined) return ''
  const lines = [Object.keys(first), ...rows.map((row) => Object.values(row).map(cell))]
  const widths = Object.keys(first).map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)))
  return lines
    .map((line) => `${line.map((text, column) => (column === line.length - 1 ? text : text.padEnd(widths[column] ?? 0))).join('  ')}\n`)
    .join('')
}

function cell(value: unknown): string {
  if (value === undefined || value === null) return '-'
  return typeof value === 'string' ? value : JSON.stringify(value, jsonValue)
}
