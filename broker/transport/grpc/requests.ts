/**
 * Requests that cannot be decoded. grpc-js answers them with a bare INTERNAL, as if the node had failed; here they get the code and
 * the detail that every refused request gets. `decodable` makes the decoders of a service hand the failure on instead of throwing it,
 * `refuseUndecodable` sees it before any handler does.
 */
import type * as grpc from '@grpc/grpc-js'
import { TidemarkError } from '../../../protocol/errors.ts'
import { checkRequestBounds, PLAIN_REQUEST_BYTES_MAX } from '../../../protocol/request-bounds.ts'
import { statusOf } from './status.ts'
import { grpcJs } from './grpc-js.ts'

/** Carry batches, entries and snapshots, and are as large as the server takes. The decoder of the first two counts for itself. */
const CARRY_DATA: ReadonlySet<string> = new Set(['/tidemark.v1.Log/Produce', '/tidemark.v1.Log/ProduceStream', '/tidemark.v1.Quorum/Send'])

class Undecodable {
  readonly error: TidemarkError

  constructor(error: TidemarkError) {
    this.error = error
  }
}

export function decodable(definition: grpc.ServiceDefinition): grpc.ServiceDefinition {
  return Object.fromEntries(
    Object.entries(definition).map(([name, method]) => [name, { ...method, requestDeserialize: decoderOf(method) }]),
  )
}

function decoderOf(method: grpc.MethodDefinition<unknown, unknown>): grpc.deserialize<unknown> {
  return (bytes) => {
    try {
      return decodeRequest(method, bytes)
    } catch (error) {
      return new Undecodable(TidemarkError.from(error))
    }
  }
}

/** Throws a `TidemarkError`. */
export function decodeRequest<Request>(
  { path, requestDeserialize }: Pick<grpc.MethodDefinition<Request, unknown>, 'path' | 'requestDeserialize'>,
  bytes: Buffer,
): Request {
  try {
    checkRequestBounds(bytes, CARRY_DATA.has(path) ? Number.POSITIVE_INFINITY : PLAIN_REQUEST_BYTES_MAX)
    return requestDeserialize(bytes)
  } catch (error) {
    throw refusalOf(error, path)
  }
}

function refusalOf(error: unknown, path: string): TidemarkError {
  if (TidemarkError.is(error)) return error
  const reason = error instanceof Error ? error.message : String(error)
  return new TidemarkError('INVALID_REQUEST', `a request of ${path} cannot be decoded: ${reason}`, { cause: error })
}

export const refuseUndecodable: grpc.ServerInterceptor = (_method, call) =>
  new grpcJs.ServerInterceptingCall(call, {
    start: (next) =>
      next({
        onReceiveMessage: (message, pass) => {
          if (message instanceof Undecodable) call.sendStatus(statusOf(message.error))
          else pass(message)
        },
      }),
  })
