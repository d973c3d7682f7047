/** Errors as they cross the wire, both beside a partition and as the trailer of a failed call. */
import { type ErrorCode, ERRORS, isErrorCode, type Outcome, TidemarkError } from './errors.ts'
import { ErrorDetail } from './gen/tidemark/v1/errors.ts'

/** The binary trailer that carries an `ErrorDetail` when a whole call fails. */
export const ERROR_TRAILER = 'tidemark-error-bin'

export function toErrorDetail(error: TidemarkError): ErrorDetail {
  return {
    code: error.code,
    message: error.message,
    retriable: error.retriable,
    retryAfterMs: error.retryAfterMs ?? 0,
    leader: error.leader === undefined ? undefined : { ...error.leader },
  }
}

/** A code that only a newer node knows becomes `INTERNAL`, with its name in the message and its retriability kept. */
export function fromErrorDetail(detail: ErrorDetail, outcome?: Outcome): TidemarkError {
  const { code } = detail
  const [known, message]: [ErrorCode, string] = isErrorCode(code) ? [code, detail.message] : ['INTERNAL', `${code}: ${detail.message}`]
  return new TidemarkError(known, message, {
    retriable: detail.retriable,
    retryAfterMs: detail.retryAfterMs || undefined,
    leader: detail.leader,
    outcome,
  })
}

export function encodeErrorDetail(error: TidemarkError): Buffer {
  return Buffer.from(ErrorDetail.encode(toErrorDetail(error)).finish())
}

/** Undefined when the bytes are not an `ErrorDetail`. */
export function decodeErrorDetail(bytes: Buffer): TidemarkError | undefined {
  try {
    const detail = ErrorDetail.decode(bytes)
    return detail.code === '' ? undefined : fromErrorDetail(detail)
  } catch {
    // Not ours: the status itself will have to say what happened.
    return undefined
  }
}

/** The code for a bare gRPC status, when no detail came with it. */
const CODE_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  1: 'CANCELLED',
  3: 'INVALID_REQUEST',
  4: 'REQUEST_TIMED_OUT',
  8: 'LIMIT_EXCEEDED',
  12: 'UNSUPPORTED',
  13: 'INTERNAL',
  14: 'UNAVAILABLE',
}

export function errorOfStatus(status: number, details: string, cause?: unknown): TidemarkError {
  const code = CODE_OF_STATUS[status] ?? 'INTERNAL'
  return new TidemarkError(code, details === '' ? ERRORS[code].text : details, { cause })
}
