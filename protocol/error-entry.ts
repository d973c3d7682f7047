/** What an entry of the error table says. */

/** gRPC status codes by number, so that this file needs no transport. */
export const GRPC = {
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
} as const

export interface ErrorEntry {
  readonly number: number
  /** gRPC status code. */
  readonly grpc: number
  readonly retriable: boolean
  /** What happened, one clause. */
  readonly text: string
  /** What to do, one sentence. */
  readonly help: string
}
