/** How the command ends. */
import { ERRORS, type ErrorCode } from '../protocol/errors.ts'

export const EXIT = { ok: 0, failed: 1, usage: 2, notFound: 3, refused: 4, unhealthy: 10, interrupted: 130 } as const

const USAGE_CODES: ReadonlySet<ErrorCode> = new Set([
  'USAGE',
  'INVALID_CONFIG',
  'INVALID_TOPIC_NAME',
  'INVALID_PARTITIONS',
  'INVALID_REPLICATION_FACTOR',
  'INVALID_ACKS',
  'INVALID_GROUP_ID',
  'OFFSET_NOT_COMMITTED',
  'INVALID_REQUEST',
  'UNSUPPORTED_COMPRESSION',
])

export function exitCodeOf(code: ErrorCode): number {
  if (code === 'INSECURE_LISTEN') return EXIT.refused
  if (USAGE_CODES.has(code)) return EXIT.usage
  return ERRORS[code].grpc === 5 ? EXIT.notFound : EXIT.failed
}
