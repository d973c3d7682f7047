/**
 * Every error tidemark reports, in one table, and the one class that carries them.
 *
 * `number` is stable for ever; where Apache Kafka has the same error it is Kafka's
 * number, tidemark's own start at 1000. `grpc` is the status a whole call
 * fails with. `retriable` says whether the same request may succeed later without
 * anyone changing it. `docs/errors.md` has a section for each code, and a test
 * compares the two.
 */

import { CLIENT_ERRORS } from './client-errors.ts'
import { CLUSTER_ERRORS } from './cluster-errors.ts'
import { type ErrorEntry, GRPC } from './error-entry.ts'
import { GROUP_ERRORS } from './group-errors.ts'

export type { ErrorEntry } from './error-entry.ts'

export const ERRORS = {
  ...CLUSTER_ERRORS,
  ...GROUP_ERRORS,
  ...CLIENT_ERRORS,

  // The request.
  OFFSET_OUT_OF_RANGE: {
    number: 1,
    grpc: GRPC.OUT_OF_RANGE,
    retriable: false,
    text: 'the offset is below the log start or above the log end',
    help: 'Ask for the earliest or latest offset and continue from there.',
  },
  CORRUPT_BATCH: {
    number: 2,
    grpc: GRPC.INVALID_ARGUMENT,
    retriable: false,
    text: 'a record batch is malformed or its checksum is wrong',
    help: 'The bytes changed on the way or the client encodes batches wrongly; the batch was not written.',
  },
  UNKNOWN_TOPIC: {
    number: 3,
    grpc: GRPC.NOT_FOUND,
    retriable: false,
    text: 'no such topic',
    help: 'Create it with `tidemark topic create`, or check the spelling with `tidemark topic list`.',
  },
  UNKNOWN_PARTITION: {
    number: 1001,
    grpc: GRPC.NOT_FOUND,
    retriable: false,
    text: 'the topic has no such partition',
    help: 'Partitions count from 0; `tidemark topic describe` shows how many there are.',
  },
  REQUEST_TIMED_OUT: {
    number: 7,
    grpc: GRPC.DEADLINE_EXCEEDED,
    retriable: true,
    text: 'the request was not finished in time',
    help: 'Try again, or give it more time. What it was to change may be changed all the same; an idempotent producer may send it again safely.',
  },
  RECORD_TOO_LARGE: {
    number: 10,
    grpc: GRPC.INVALID_ARGUMENT,
    retriable: false,
    text: 'a record or batch is larger than the topic allows',
    help: 'Send smaller records or raise `max.message.bytes` of the topic.',
  },
  INVALID_TOPIC_NAME: {
    number: 17,
    grpc: GRPC.INVALID_ARGUMENT,
    retriable: false,
    text: 'the topic name is not allowed',
    help: 'Use 1 to 249 of a-z A-Z 0-9 . _ - and not just dots.',
  },
  INVALID_ACKS: {
    number: 21,
    grpc: GRPC.INVALID_ARGUMENT,
    retriable: false,
    text: 'the acks setting is not one of all, leader, none',
    help: 'Use acks all, leader or none.',
  },
  INVALID_TIMESTAMP: {
    number: 32,
    grpc: GRPC.INVALID_ARGUMENT,
    retriable: false,
    text: 'a timestamp is out of range',
    help: 'Timestamps are milliseconds since 1970 and may not lie further in the future than the topic allows.',
  },
  TOPIC_ALREADY_EXISTS: {
    number: 36,
    grpc: GRPC.ALREADY_EXISTS,
    retriable: false,
    text: 'a topic of that name exists',
    help: 'Choose another name, or use the topic as it is.',
  },
  INVALID_PARTITIONS: {
    number: 37,
    grpc: GRPC.INVALID_ARGUMENT,
    retriable: false,
    text: 'the number of partitions is not allowed',
    help: 'Partitions can be added but never removed; see the limits in the message.',
  },
  INVALID_REPLICATION_FACTOR: {
    number: 38,
    grpc: GRPC.INVALID_ARGUMENT,
    retriable: false,
    text: 'the number of replicas is not allowed',
    help: 'It must lie between 1 and the number of nodes.',
  },
  INVALID_CONFIG: {
    number: 40,
    grpc: GRPC.INVALID_ARGUMENT,
    retriable: false,
    text: 'a setting is unknown or its value is not allowed',
    help: '`tidemark config describe` lists every setting with its range.',
  },
  INVALID_REQUEST: {
    number: 42,
    grpc: GRPC.INVALID_ARGUMENT,
    retriable: false,
    text: 'the request does not make sense',
    help: 'See the message for the field that is wrong.',
  },
  OUT_OF_ORDER_SEQUENCE: {
    number: 45,
    grpc: GRPC.FAILED_PRECONDITION,
    retriable: false,
    text: 'a producer skipped or repeated a sequence number',
    help: 'An earlier batch of this producer is missing; a client that lost track must start with a new producer id.',
  },
  INVALID_PRODUCER_EPOCH: {
    number: 47,
    grpc: GRPC.FAILED_PRECONDITION,
    retriable: false,
    text: 'a newer instance of this producer exists',
    help: 'Stop this instance; the newer one took over.',
  },
  STORAGE_FAILED: {
    number: 56,
    grpc: GRPC.UNAVAILABLE,
    retriable: true,
    text: 'the disk under the partition failed and was taken out of service',
    help: "Look at the node's log and disk, replace the disk, restart the node.",
  },
  UNSUPPORTED_COMPRESSION: {
    number: 76,
    grpc: GRPC.INVALID_ARGUMENT,
    retriable: false,
    text: 'the compression codec is unknown or its package is not installed',
    help: 'Use none, gzip, zstd, lz4 or snappy.',
  },
  INVALID_RECORD: {
    number: 87,
    grpc: GRPC.INVALID_ARGUMENT,
    retriable: false,
    text: 'a record is not allowed in this topic',
    help: 'See the message; compacted topics, for one, need a key in every record.',
  },
  UNKNOWN_TOPIC_ID: {
    number: 100,
    grpc: GRPC.NOT_FOUND,
    retriable: true,
    text: 'the topic was deleted, or deleted and created again',
    help: 'Refresh the metadata; offsets of the old topic mean nothing in the new one.',
  },

  // Limits and resources.
  BUSY: {
    number: 1010,
    grpc: GRPC.RESOURCE_EXHAUSTED,
    retriable: true,
    text: 'the node has as much work in hand as it allows itself',
    help: 'Retry after the time named; the client does so with jittered backoff.',
  },
  DISK_FULL: {
    number: 1011,
    grpc: GRPC.RESOURCE_EXHAUSTED,
    retriable: true,
    text: 'the disk is full; reading and deleting go on',
    help: 'Free space or shorten retention; writing resumes by itself.',
  },
  LIMIT_EXCEEDED: {
    number: 1012,
    grpc: GRPC.RESOURCE_EXHAUSTED,
    retriable: false,
    text: 'the request is larger than a fixed limit',
    help: 'The message names the limit and the size; split the request or raise the limit.',
  },

  // Storage.
  CORRUPT_LOG: {
    number: 1020,
    grpc: GRPC.DATA_LOSS,
    retriable: false,
    text: 'data that was already durable is damaged',
    help: 'Run `tidemark log verify` on the directory; restore it from a replica or a backup.',
  },
  DATA_DIR_LOCKED: {
    number: 1021,
    grpc: GRPC.FAILED_PRECONDITION,
    retriable: false,
    text: 'another process uses the data directory',
    help: 'Stop the other process or choose another data directory.',
  },
  DATA_DIR_INVALID: {
    number: 1022,
    grpc: GRPC.FAILED_PRECONDITION,
    retriable: false,
    text: 'the data directory cannot be used',
    help: 'See the message; nothing was changed or deleted.',
  },

  // The node and the connection.
  ADDRESS_IN_USE: {
    number: 1030,
    grpc: GRPC.FAILED_PRECONDITION,
    retriable: false,
    text: 'the address to listen on is taken',
    help: 'Stop the other program or choose another port with --listen.',
  },
  UNAVAILABLE: {
    number: 1031,
    grpc: GRPC.UNAVAILABLE,
    retriable: true,
    text: 'the node cannot be reached',
    help: 'Check the address and that the node runs; the client keeps retrying until its deadline.',
  },
  SHUTTING_DOWN: {
    number: 1032,
    grpc: GRPC.UNAVAILABLE,
    retriable: true,
    text: 'the node is shutting down',
    help: 'Retry on another node, or when it is back.',
  },
  CANCELLED: { number: 1033, grpc: GRPC.CANCELLED, retriable: false, text: 'the caller gave up', help: 'Nothing to do.' },
  CLOSED: {
    number: 1034,
    grpc: GRPC.FAILED_PRECONDITION,
    retriable: false,
    text: 'the client, producer or consumer is closed',
    help: 'Create a new one.',
  },
  UNSUPPORTED: {
    number: 1035,
    grpc: GRPC.UNIMPLEMENTED,
    retriable: false,
    text: 'this node does not know the call',
    help: 'Use the same version on both sides.',
  },
  INSECURE_LISTEN: {
    number: 1036,
    grpc: GRPC.FAILED_PRECONDITION,
    retriable: false,
    text: 'listening beyond this machine without authentication',
    help: 'Listen on 127.0.0.1, or pass --insecure when the network is trusted.',
  },

  /** A bug or something nobody foresaw. */
  INTERNAL: {
    number: 1099,
    grpc: GRPC.INTERNAL,
    retriable: false,
    text: 'an unexpected failure',
    help: "The node's log has the details; please report it.",
  },
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof ERRORS

/** Where the leader of a partition is, as an error can tell it. */
export interface LeaderHint {
  readonly nodeId: number
  readonly leaderEpoch: number
  readonly host: string
  readonly port: number
}

/**
 * What became of a write whose request failed: certainly not written, or nobody knows.
 * (A write that succeeded raises no error.)
 */
export type Outcome = 'failed' | 'indeterminate'

export interface TidemarkErrorOptions {
  readonly cause?: unknown
  /** Overrides the table, for errors a newer node sends that this table does not know. */
  readonly retriable?: boolean | undefined
  readonly retryAfterMs?: number | undefined
  readonly leader?: LeaderHint | undefined
  readonly outcome?: Outcome | undefined
}

/** The one error class of tidemark. Match on `code`, which never changes its meaning; messages are for people. */
export class TidemarkError extends Error {
  override readonly name = 'TidemarkError'
  readonly code: ErrorCode
  /** Whether the same request may succeed later without anyone changing it. */
  readonly retriable: boolean
  /** How long the node asks to wait before a retry. */
  readonly retryAfterMs: number | undefined
  readonly leader: LeaderHint | undefined
  /** Set on failed writes. */
  readonly outcome: Outcome | undefined

  /** `detail` replaces the table's text; it should be one clause that names the values involved. */
  constructor(code: ErrorCode, detail?: string, options: TidemarkErrorOptions = {}) {
    super(detail ?? ERRORS[code].text, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retriable = options.retriable ?? ERRORS[code].retriable
    this.retryAfterMs = options.retryAfterMs
    this.leader = options.leader
    this.outcome = options.outcome
  }

  /** What to do about it, one sentence. */
  get help(): string {
    return ERRORS[this.code].help
  }

  /** True for a `TidemarkError`, also one of another copy of this package. */
  static is(error: unknown): error is TidemarkError {
    return error instanceof Error && error.name === 'TidemarkError' && 'code' in error && isErrorCode(error.code)
  }

  /** Any caught value as a `TidemarkError`: itself, or `fallback` (default `INTERNAL`) with the value as cause. */
  static from(error: unknown, fallback: ErrorCode = 'INTERNAL'): TidemarkError {
    if (TidemarkError.is(error)) return error
    if (error instanceof Error && error.name === 'AbortError') return new TidemarkError('CANCELLED', undefined, { cause: error })
    const message = error instanceof Error ? error.message : String(error)
    return new TidemarkError(fallback, message, { cause: error })
  }
}

export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(ERRORS, code)
}
