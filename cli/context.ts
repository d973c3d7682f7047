/** Which cluster a command talks to, and the client it talks through. */
import type { Tidemark } from '../client/index.ts'
import { durationOf } from './arguments.ts'
import { EXIT } from './exit-codes.ts'
import { note, type OutputFormat } from './output.ts'

/** Options that every command has. */
export interface GlobalOptions {
  readonly bootstrap: string
  readonly output: OutputFormat
  readonly yes?: boolean
  readonly debug?: boolean
  /** For one command, such as `30s`. */
  readonly timeout: string
}

/** Commands that a damaged or missing context must not stop. */
export const TALKS_TO_NOBODY: ReadonlySet<string> = new Set(['dev', 'serve', 'log', 'config', 'context', 'completion', 'version'])

export const BOOTSTRAP_DEFAULT = '127.0.0.1:9092'

/** Nobody wants to look at a silent prompt for longer, only to learn that no node runs. */
const CONNECT_MAX_MS = 5000

/** Connects, runs `work`, and closes whatever happens. */
export async function withClient<T>(options: GlobalOptions, work: (tm: Tidemark) => Promise<T>): Promise<T> {
  const timeout = durationOf(options.timeout, '--timeout')
  const { connect } = await import('../client/index.ts')
  const tm = await connect(options.bootstrap, { requestTimeout: timeout, connectTimeout: Math.min(timeout, CONNECT_MAX_MS) })
  try {
    return await work(tm)
  } finally {
    await tm.close()
  }
}

/** After an interrupt whatever is still under way (a commit, a farewell, records on their way) gets this long. */
const INTERRUPTED_MAX_MS = 1000

/** Aborts at the first Ctrl-C or SIGTERM, after which the process ends soon, whoever does not answer; the second ends it at once. */
export function interruptSignal(): AbortSignal {
  const abort = new AbortController()
  const interrupt = (): void => {
    if (abort.signal.aborted) process.exit(EXIT.interrupted)
    setTimeout(() => {
      note(`interrupted; not everything that was under way came to its end within ${INTERRUPTED_MAX_MS / 1000} s`)
      process.exit(EXIT.interrupted)
    }, INTERRUPTED_MAX_MS).unref()
    abort.abort()
  }
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  return abort.signal
}
