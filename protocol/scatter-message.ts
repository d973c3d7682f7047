/**
 * A message made of pieces that are copied only once, into the frame.
 *
 * grpc-js asks a serialiser for one `Buffer`, then copies it behind the five bytes of its frame
 * header: all it uses of the buffer is `length`, `byteLength` and `copy(target, position)`. An object with just
 * these lets a message that carries megabytes of record batches skip the copy that would join the
 * pieces first. test/protocol/scatter-message.test.ts goes through a real client and server, so an
 * upgrade of grpc-js that uses more of it is noticed.
 */
export class ScatterMessage {
  readonly length: number
  readonly pieces: readonly Uint8Array[]

  constructor(pieces: readonly Uint8Array[]) {
    let length = 0
    for (const piece of pieces) length += piece.length
    this.length = length
    this.pieces = pieces
  }

  get byteLength(): number {
    return this.length
  }

  copy(target: Buffer, position = 0): number {
    let at = position
    for (const piece of this.pieces) {
      target.set(piece, at)
      at += piece.length
    }
    return this.length
  }
}

/** In the type a serialiser has to return. */
export function scatter(pieces: readonly Uint8Array[]): Buffer {
  return new ScatterMessage(pieces) as unknown as Buffer
}
