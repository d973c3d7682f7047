/** Errors of a whole call as gRPC statuses, with the machine-readable detail in a binary trailer. */
import type * as grpc from '@grpc/grpc-js'
import { encodeErrorDetail, ERROR_TRAILER } from '../../../protocol/error-wire.ts'
import { ERRORS, TidemarkError } from '../../../protocol/errors.ts'
import { FORWARDED_HEADER, VERSION_TRAILER } from '../../../protocol/forwarding.ts'
import { grpcJs } from './grpc-js.ts'

/** What a failed call is answered with. */
export function statusOf(error: unknown): grpc.StatusObject {
  const known = TidemarkError.from(error)
  const metadata = new grpcJs.Metadata()
  metadata.set(ERROR_TRAILER, encodeErrorDetail(known))
  return { code: ERRORS[known.code].grpc, details: `${known.code}: ${known.message}`, metadata }
}

type UnaryHandler<Request, Response> = (request: Request, context: CallContext) => Promise<Response>

/** What an operation may want to know of the call it serves. */
export interface CallContext {
  /** The other end of the connection. */
  readonly peer: string
  /** Aborted when the caller gave up or vanished. */
  readonly signal: AbortSignal
  /** The address the caller dialled. */
  readonly authority: string
  /** Another node passes it on: it is answered here or not at all. */
  readonly isForwarded: boolean
}

/** A unary handler in the form grpc-js wants, from an async function: rejections become statuses. */
export function unary<Request, Response>(
  handle: UnaryHandler<Request, Response>,
  /** Of the metadata with what the call changed: told to a node that passed it on. */
  version?: () => number,
): grpc.handleUnaryCall<Request, Response> {
  return (call, callback) => {
    const abort = new AbortController()
    call.on('cancelled', () => abort.abort())
    const isForwarded = call.metadata.get(FORWARDED_HEADER).length > 0
    handle(call.request, { peer: call.getPeer(), signal: abort.signal, authority: call.getHost(), isForwarded }).then(
      (response) => callback(null, response, isForwarded && version !== undefined ? versionTrailer(version()) : undefined),
      (error: unknown) => callback(statusOf(error)),
    )
  }
}

function versionTrailer(version: number): grpc.Metadata {
  const metadata = new grpcJs.Metadata()
  metadata.set(VERSION_TRAILER, String(version))
  return metadata
}
