/**
 * Answers with record batches go to the socket as the buffers they lie in.
 *
 * grpc-js copies every message behind its frame header, into a buffer of its own: for a fetch that is as much memory and time as reading
 * the batches was. For messages made of pieces (`ScatterMessage`) this reaches into its call and hands the pieces to the HTTP/2
 * stream one after the other. On the wire it is the same. Should a new version hide what is used here, answers are copied
 * again; test/integration/uncopied.test.ts says so.
 */
import type { Writable } from 'node:stream'
import type * as grpc from '@grpc/grpc-js'
import { frameOf, writeFrame } from '../../../protocol/grpc-frame.ts'
import { logService } from '../../../protocol/log-codec.ts'
import { ScatterMessage } from '../../../protocol/scatter-message.ts'

const CARRY_BATCHES: ReadonlySet<string> = new Set([logService.fetch.path, logService.fetchStream.path])

type Written = (error?: Error | null) => void

interface CallInside {
  readonly stream?: Writable
  readonly handler?: { readonly serialize: (message: unknown) => Buffer }
  serializeMessage?: (message: unknown) => Buffer
}

/** Stands for the frame of a message between `serializeMessage` and `write`. */
class Frame {
  readonly pieces: readonly Buffer[]
  readonly length: number

  constructor(message: ScatterMessage) {
    this.pieces = frameOf(message)
    this.length = this.pieces.reduce((sum, { length }) => sum + length, 0)
  }
}

/** Must come first: only the first interceptor gets the call of grpc-js itself. */
export const sendUncopied: grpc.ServerInterceptor = ({ path }, call) => {
  if (CARRY_BATCHES.has(path)) reachInto(call as unknown as CallInside)
  return call as grpc.ServerInterceptingCall
}

function reachInto(inside: CallInside): void {
  const { stream, handler } = inside
  if (stream === undefined || handler === undefined || inside.serializeMessage === undefined) return
  const copied = inside.serializeMessage.bind(inside)
  inside.serializeMessage = (message) => {
    const serialized: unknown = handler.serialize(message)
    return serialized instanceof ScatterMessage ? (new Frame(serialized) as unknown as Buffer) : copied(message)
  }
  const write = stream.write.bind(stream) as (chunk: Buffer, written?: Written) => boolean
  const plain = { cork: () => stream.cork(), uncork: () => stream.uncork(), write: write as Writable['write'] }
  stream.write = ((chunk: Buffer | Frame, written: Written = () => {}) =>
    chunk instanceof Frame ? writeFrame(plain, chunk.pieces, written) : write(chunk, written)) as Writable['write']
}
