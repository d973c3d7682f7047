/** A message made of pieces in its gRPC frame, without copying what is large. */
import type { Writable } from 'node:stream'
import type { ScatterMessage } from './scatter-message.ts'

/** A byte that says "not compressed" and the length of the message. */
const HEADER_BYTES = 5

/** A buffer of its own costs each piece about as much as copying so many bytes. */
const JOINED_BELOW_BYTES = 4096

/** The frame as buffers, one after the other. Large pieces are in it as they are, and must not change until they are sent; small ones are joined. */
export function frameOf(message: ScatterMessage): Buffer[] {
  const frame: Buffer[] = []
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt32BE(message.length, 1)
  let small: Uint8Array[] = [header]
  for (const piece of message.pieces) {
    if (piece.length < JOINED_BELOW_BYTES) {
      small.push(piece)
      continue
    }
    if (small.length > 0) frame.push(Buffer.concat(small))
    small = []
    frame.push(Buffer.from(piece.buffer, piece.byteOffset, piece.length))
  }
  if (small.length > 0) frame.push(Buffer.concat(small))
  return frame
}

/** Writes it with one call of the system, as far as that goes. `written` is called with the last buffer. */
export function writeFrame(
  stream: Pick<Writable, 'cork' | 'uncork' | 'write'>,
  frame: readonly Buffer[],
  written: (error?: Error | null) => void,
): boolean {
  let isBelowMark = true
  stream.cork()
  for (const [index, buffer] of frame.entries())
    isBelowMark = index < frame.length - 1 ? stream.write(buffer) : stream.write(buffer, written)
  stream.uncork()
  return isBelowMark
}
