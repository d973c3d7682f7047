/**
 * Two bytes of a request may stand for an object of a hundred: what a request says of its size does not bound what decoding
 * it takes. So its fields are counted before they are decoded.
 */
import { BinaryReader } from '@bufbuild/protobuf/wire'
import { TidemarkError } from './errors.ts'

/** Of one message: partitions, topics, nodes. */
export const FIELDS_MAX = 100_000

/** Of a request that carries no data, only names and numbers. */
export const PLAIN_REQUEST_BYTES_MAX = 8 * 1024 * 1024

/** Throws `LIMIT_EXCEEDED`; what protobuf throws of bytes that are no message. */
export function checkRequestBounds(bytes: Uint8Array, bytesMax: number): void {
  if (bytes.length > bytesMax)
    throw new TidemarkError('LIMIT_EXCEEDED', `a request of ${bytes.length} bytes, at most ${bytesMax} are allowed`)
  const reader = new BinaryReader(bytes)
  for (let count = 1; reader.pos < reader.len; count++) {
    if (count > FIELDS_MAX) throw new TidemarkError('LIMIT_EXCEEDED', `a request of more than ${FIELDS_MAX} fields`)
    const [field, wire] = reader.tag()
    reader.skip(wire, field)
  }
}
