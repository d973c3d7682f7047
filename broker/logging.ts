/** The node's log: pino behind the `Log` port. JSON lines, or something a person can read on a terminal. */
import { type DestinationStream, pino } from 'pino'
import type { Log } from '../runtime/runtime.ts'
import type { NodeConfig } from './config.ts'

/** Writes to standard error, so that standard output stays the program's. */
export function createLog(config: Pick<NodeConfig, 'logLevel' | 'logFormat'>, isTerminal: boolean): Log {
  const isPretty = config.logFormat === 'pretty' || (config.logFormat === 'auto' && isTerminal)
  const stderr = pino.destination({ fd: 2, sync: true })
  const destination: DestinationStream = isPretty ? { write: (line: string) => void stderr.write(prettyLine(line)) } : stderr
  const logger = pino(
    { level: config.logLevel, base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } },
    destination,
  )
  return {
    debug: (event, fields) => logger.debug(plain(fields), event),
    info: (event, fields) => logger.info(plain(fields), event),
    warn: (event, fields) => logger.warn(plain(fields), event),
    error: (event, fields) => logger.error(plain(fields), event),
  }
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
