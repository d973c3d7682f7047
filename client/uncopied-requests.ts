/**
 * Requests with record batches go to the socket as the buffers they lie in.
 *
 * grpc-js copies every message behind its frame header, into a buffer of its own, which is most of the garbage of a producer. Once a stream
 * has brought an answer (before, grpc-js may begin it again on another connection) and nothing that was given to grpc-js is on its way, this writes to the HTTP/2 stream underneath; all else,
 * from connecting to the end of the call, stays with grpc-js. Should a new version hide the stream, requests are copied
 * again; test/integration/uncopied.test.ts says so.
 */
import type { Writable } from 'node:stream'
import type * as grpc from '@grpc/grpc-js'
import { frameOf, writeFrame } from '../protocol/grpc-frame.ts'
import { ScatterMessage } from '../protocol/scatter-message.ts'

/** From the call an application sees, through those of a resolved name, of the only attempt and of a chosen connection, to that of HTTP/2. */
interface CallInside {
  readonly call?: { readonly call?: { readonly child?: { readonly underlyingCalls?: readonly AttemptInside[] } } }
}

interface AttemptInside {
  readonly call?: { readonly child?: { readonly http2Stream?: Writable } }
}

/** Writes messages to the call, in order. A message must not change until it is answered. */
export function uncopiedWriter<Message>(
  call: grpc.ClientDuplexStream<Message, unknown>,
  serialize: (message: Message) => Buffer,
): (message: Message) => void {
  let unwrittenCount = 0
  let isAnswered = false
  let stream: Writable | undefined
  call.once('data', () => {
    isAnswered = true
  })
  return (message) => {
    if (isAnswered && unwrittenCount === 0) stream ??= http2StreamOf(call)
    const serialized: unknown = stream === undefined ? undefined : serialize(message)
    if (stream !== undefined && serialized instanceof ScatterMessage) {
      // How the call ends grpc-js hears of itself.
      if (!stream.destroyed) writeFrame(stream, frameOf(serialized), () => {})
      return
    }
    unwrittenCount++
    call.write(message, () => {
      unwrittenCount--
    })
  }
}

function http2StreamOf(call: unknown): Writable | undefined {
  const attempts = (call as CallInside).call?.call?.child?.underlyingCalls
  return attempts?.length === 1 ? attempts[0]?.call?.child?.http2Stream : undefined
}
