/**
 * What commands print: a table for people, aligned plain text where nobody looks, or data for programs.
 */
export type OutputFormat = 'table' | 'json' | 'jsonl' | 'yaml'

export const OUTPUT_FORMATS: readonly OutputFormat[] = ['table', 'json', 'jsonl', 'yaml']

/** Fields in camelCase; a table shows their names as words. */
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
    case 'yaml':
      await write(await yamlOf(rows))
      return
  }
}

/** Prints one thing: a line for each of its fields in a table, an object elsewhere. */
export async function printOne(one: Row, format: OutputFormat): Promise<void> {
  switch (format) {
    case 'table':
      await write(aligned(Object.entries(one).map(([name, value]) => [words(name), cell(value)])))
      return
    case 'json':
      await write(`${JSON.stringify(one, jsonValue, 2)}\n`)
      return
    case 'jsonl':
      await printRows([one], format)
      return
    case 'yaml':
      await write(await yamlOf(one))
      return
  }
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

async function yamlOf(value: unknown): Promise<string> {
  const { stringify } = await import('yaml')
  return stringify(JSON.parse(JSON.stringify(value, jsonValue)))
}

/** Lines around the cells, unless the terminal is too narrow for them. */
async function prettyTable(rows: readonly Row[]): Promise<string> {
  if (rows.length === 0) return 'none\n'
  const [head = [], ...lines] = cellsOf(rows)
  const width = widthsOf([head, ...lines]).reduce((sum, most) => sum + most + 3, 1)
  if (width > process.stdout.columns) return plainTable(rows)
  const { default: Table } = await import('cli-table3')
  const table = new Table({ head: [...head], style: { head: ['cyan'], compact: true } })
  for (const line of lines) table.push([...line])
  return `${table.toString()}\n`
}

/** Columns aligned by spaces, a header first. */
export function plainTable(rows: readonly Row[]): string {
  return rows.length === 0 ? '' : aligned(cellsOf(rows))
}

function aligned(lines: readonly (readonly string[])[]): string {
  const widths = widthsOf(lines)
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

/** The names of all the fields any row has, then a line for each row. */
function cellsOf(rows: readonly Row[]): readonly (readonly string[])[] {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))]
  return [columns.map(words), ...rows.map((row) => columns.map((column) => cell(row[column])))]
}

function widthsOf(lines: readonly (readonly string[])[]): readonly number[] {
  return (lines[0] ?? []).map((_, at) => lines.reduce((most, line) => Math.max(most, (line[at] ?? '').length), 0))
}

/** `highWatermark` → `high watermark`. */
function words(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
}

function cell(value: unknown): string {
  if (value === undefined || value === null) return '-'
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  return typeof value === 'string' ? value : JSON.stringify(value, jsonValue)
}
