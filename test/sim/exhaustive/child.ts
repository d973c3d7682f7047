/** Runs a file of this folder in a process of its own, whose last line is what it found. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export interface Found {
  /** The last line. */
  readonly outcome: Readonly<Record<string, unknown>>
  /** What it printed before. */
  readonly path: string
}

export async function runChild(file: string, args: readonly string[] = []): Promise<Found> {
  const child = spawn(process.execPath, [fileURLToPath(new URL(file, import.meta.url)), ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve))
  if (code !== 0) throw new Error(`${file} ${args.join(' ')} ended with ${code}: ${errors}`)
  const lines = output.trimEnd().split('\n')
  return { outcome: JSON.parse(lines.at(-1) as string) as Found['outcome'], path: lines.slice(0, -1).join('\n') }
}
