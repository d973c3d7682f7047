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

/** Nothing is wrong with the command: the state of things does not allow it. */
const REFUSED_CODES: ReadonlySet<ErrorCode> = new Set(['INSECURE_LISTEN', 'TOPIC_ALREADY_EXISTS', 'NON_EMPTY_GROUP', 'NODE_IN_USE'])

export function exitCodeOf(code: ErrorCode): number {
  if (REFUSED_CODES.has(code)) return EXIT.refused
  if (USAGE_CODES.has(code)) return EXIT.usage
  return ERRORS[code].grpc === 5 ? EXIT.notFound : EXIT.failed
}
