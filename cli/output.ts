/**
 * What commands print: a table for people, aligned plain text where nobody looks, or data for programs.
 */
export type OutputFormat = 'table' | 'json' | 'jsonl' | 'yaml'

export const OUTPUT_FORMATS: readonly OutputFormat[] = ['table', 'json', 'jsonl', 'yaml']

export type Row = Readonly<Record<string, unknown>>

/** Prints rows in the wanted format. Columns are all the fields any row has. */
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
  if (rows.length === 0) return 'none\n'
  const { default: Table } = await import('cli-table3')
  const columns = columnsOf(rows)
  const table = new Table({ head: [...columns], style: { head: ['cyan'], compact: true } })
  for (const row of rows) table.push(columns.map((column) => cell(row[column])))
  return `${table.toString()}\n`
}

/** Columns aligned by spaces, a header first. */
export function plainTable(rows: readonly Row[]): string {
  if (rows.length === 0) return ''
  const columns = columnsOf(rows)
  const lines = [columns, ...rows.map((row) => columns.map((column) => cell(row[column])))]
  const widths = columns.map((_, at) => lines.reduce((most, line) => Math.max(most, (line[at] ?? '').length), 0))
  return lines
    .map(
      (line) =>
        `${line
          .map((text, at) => text.padEnd(widths[at] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('')
}

function columnsOf(rows: readonly Row[]): readonly string[] {
  return [...new Set(rows.flatMap((row) => Object.keys(row)))]
}

function cell(value: unknown): string {
  if (value === undefined || value === null) return '-'
  return typeof value === 'string' ? value : JSON.stringify(value, jsonValue)
}
