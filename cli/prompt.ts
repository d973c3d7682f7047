/** Asks before something is destroyed. */
import { createInterface } from 'node:readline/promises'
import { TidemarkError } from '../protocol/errors.ts'
import type { GlobalOptions } from './context.ts'
import { note } from './output.ts'

/** Throws unless the user says yes, here or with `--yes`: `CANCELLED` after a no, `USAGE` when nobody can be asked. */
export async function confirm(what: string, options: GlobalOptions): Promise<void> {
  if (options.yes) return
  if (!process.stdin.isTTY) throw new TidemarkError('USAGE', `${what}: say --yes when nobody can be asked`)
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    // Ctrl-C and Ctrl-D close the terminal, and nobody would answer any more.
    const gone = new Promise<string>((resolve) => void terminal.once('close', () => resolve('')))
    const answer = await Promise.race([terminal.question(`${what}? [y/N] `), gone])
    if (!/^y(es)?$/i.test(answer.trim())) {
      note('nothing was changed')
      throw new TidemarkError('CANCELLED', 'the answer was no')
    }
  } finally {
    terminal.close()
  }
}
