/** Asks before something is destroyed. */
import { createInterface } from 'node:readline/promises'
import { TidemarkError } from '../protocol/errors.ts'
import type { GlobalOptions } from './context.ts'

/** Throws `USAGE` unless the user says yes, here or with `--yes`. */
export async function confirm(what: string, options: GlobalOptions): Promise<void> {
  if (options.yes) return
  if (!process.stdin.isTTY) throw new TidemarkError('USAGE', `${what}: say --yes when nobody can be asked`)
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = await terminal.question(`${what}? [y/N] `)
    if (!/^y(es)?$/i.test(answer.trim())) throw new TidemarkError('USAGE', 'nothing was changed')
  } finally {
    terminal.close()
  }
}
