/** Services of a node that is still starting: every call is refused with a retriable UNAVAILABLE until there is something behind it. */
import type * as grpc from '@grpc/grpc-js'
import { TidemarkError } from '../../../protocol/errors.ts'
import { statusOf } from './status.ts'

type Handler = (call: grpc.ServerDuplexStream<unknown, unknown>, callback?: grpc.sendUnaryData<unknown>) => void

/** The handlers of `definition`, each of which looks for its implementation when it is called. */
export function lateService(
  definition: grpc.ServiceDefinition,
  implementation: () => grpc.UntypedServiceImplementation | undefined,
): grpc.UntypedServiceImplementation {
  const handlers = Object.entries(definition).map(([name, { requestStream, responseStream }]) => {
    const handler: Handler = (call, callback) => {
      const found = implementation()?.[name] as Handler | undefined
      if (found !== undefined) found(call, callback)
      else if (requestStream || responseStream) call.emit('error', statusOf(starting()))
      else callback?.(statusOf(starting()))
    }
    return [name, handler] as const
  })
  return Object.fromEntries(handlers) as unknown as grpc.UntypedServiceImplementation
}

function starting(): TidemarkError {
  return new TidemarkError('UNAVAILABLE', 'the node is starting', { retryAfterMs: 20, outcome: 'failed' })
}
