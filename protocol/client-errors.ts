/** The part of the error table that is the client's own: no node answers with these. */
import { type ErrorEntry, GRPC } from './error-entry.ts'

export const CLIENT_ERRORS = {
  BUFFER_FULL: {
    number: 1040,
    grpc: GRPC.RESOURCE_EXHAUSTED,
    retriable: true,
    text: "the producer's buffer stayed full for too long",
    help: 'The broker accepts less than is sent: slow down, or wait for `ready()`.',
  },
  DELIVERY_TIMED_OUT: {
    number: 1041,
    grpc: GRPC.DEADLINE_EXCEEDED,
    retriable: false,
    text: 'a record was not acknowledged within the delivery timeout',
    help: 'Whether it was written is unknown unless `outcome` says failed.',
  },
  STALLED: {
    number: 1042,
    grpc: GRPC.DEADLINE_EXCEEDED,
    retriable: false,
    text: 'a consumer made no progress for too long',
    help: 'The message names the partition and what it waits for.',
  },
  SERIALIZATION_FAILED: {
    number: 1043,
    grpc: GRPC.INVALID_ARGUMENT,
    retriable: false,
    text: "a key or value does not fit the topic's schema",
    help: 'The message names the record and the rule; fix the data or the schema.',
  },
  USAGE: {
    number: 1044,
    grpc: GRPC.INVALID_ARGUMENT,
    retriable: false,
    text: 'the call or command is used wrongly',
    help: 'See the message.',
  },
  OFFSET_NOT_COMMITTED: {
    number: 1045,
    grpc: GRPC.FAILED_PRECONDITION,
    retriable: false,
    text: 'the group has not committed an offset of the partition',
    help: 'Say where the group begins: `start` of the consumer, `--offset` of the command line.',
  },
} as const satisfies Record<string, ErrorEntry>
