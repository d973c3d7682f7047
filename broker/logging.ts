/** The node's log: pino behind the `Log` port. JSON lines, or something a person can read on a terminal. */
import { createRequire } from 'node:module'
import type { DestinationStream, Logger } from 'pino'
import type { Log } from '../runtime/runtime.ts'
import type { LogLevel, NodeConfig } from './config.ts'

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error', 'silent']

/** Writes to standard error, so that standard output stays the program's. */
export function createLog(config: Pick<NodeConfig, 'logLevel' | 'logFormat'>, isTerminal: boolean): Log {
  // Made with the first line that is to be seen, so that a node that starts does not wait for it.
  let logger: Logger | undefined
  const least = LEVELS.indexOf(config.logLevel)
  const at =
    (level: Exclude<LogLevel, 'silent'>): Log[typeof level] =>
    (event, fields) => {
      if (LEVELS.indexOf(level) < least) return
      logger ??= createLogger(config, isTerminal)
      logger[level](plain(fields), event)
    }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

function createLogger({ logLevel, logFormat }: Pick<NodeConfig, 'logLevel' | 'logFormat'>, isTerminal: boolean): Logger {
  const { pino } = createRequire(import.meta.url)('pino') as typeof import('pino')
  const isPretty = logFormat === 'pretty' || (logFormat === 'auto' && isTerminal)
  const stderr = pino.destination({ fd: 2, sync: true })
  const destination: DestinationStream = isPretty ? { write: (line: string) => void stderr.write(prettyLine(line)) } : stderr
  return pino(
    { level: logLevel, base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } },
    destination,
  )
}

/** Errors as their message and code; a stack would drown the line. */
function plain(fields: Readonly<Record<string, unknown>> | undefined): object {
  if (fields === undefined) return {}
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, value instanceof Error ? errorText(value) : value]))
}

function errorText(error: Error): string {
  const code = 'code' in error && typeof error.code === 'string' ? `${error.code}: ` : ''
  return `${code}${error.message}`
}

function prettyLine(line: string): string {
  const { level, time, msg, ...fields } = JSON.parse(line) as { level: string; time: string; msg: string } & Record<string, unknown>
  const shown = Object.entries(fields).map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  return `${time.slice(11, 23)} ${level.padEnd(5)} ${[msg, ...shown].join(' ')}\n`
}
