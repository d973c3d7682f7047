/**
 * Decompression of one LZ4 block, every length checked before it is believed.
 *
 * A block is a row of sequences: a token (two lengths of four bits), literals, a two-byte distance, and what to repeat from
 * there. A length of 15 goes on in further bytes. The last sequence has literals only.
 */
import { corruptStream, tooLarge } from './compression.ts'
import { repeatCopy } from './repeat-copy.ts'

const REPEAT_BYTES_MIN = 4
const LENGTH_GOES_ON = 15
const INITIAL_BYTES = 1024

/** What has been decompressed so far; grows up to a bound. */
export class Lz4Output {
  #bytes: Buffer
  #length = 0
  readonly #maxBytes: number

  constructor(expectedBytes: number, maxBytes: number) {
    this.#bytes = Buffer.allocUnsafe(Math.min(maxBytes, Math.max(INITIAL_BYTES, expectedBytes)))
    this.#maxBytes = maxBytes
  }

  get length(): number {
    return this.#length
  }

  append(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#bytes.set(bytes, this.#length)
    this.#length += bytes.length
  }

  /** `distance` is within what has been put out. */
  repeat(distance: number, length: number): void {
    this.#reserve(length)
    repeatCopy(this.#bytes, this.#length, distance, length)
    this.#length += length
  }

  finish(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes
    if (needed <= this.#bytes.length) return
    if (needed > this.#maxBytes) throw tooLarge('lz4', this.#maxBytes)
    const grown = Buffer.allocUnsafe(Math.min(this.#maxBytes, Math.max(needed, this.#bytes.length * 2)))
    this.#bytes.copy(grown, 0, 0, this.#length)
    this.#bytes = grown
  }
}

/** Appends the plain bytes of `block`. Blocks that are not independent may repeat what earlier ones put out. */
export function decompressLz4Block(
  block: Buffer,
  output: Lz4Output,
  limits: { readonly isIndependent: boolean; readonly maxBytes: number },
): void {
  const blockStart = output.length
  const historyStart = limits.isIndependent ? blockStart : 0
  let at = 0
  while (at < block.length) {
    const token = block[at++] as number
    let literalBytes = token >>> 4
    if (literalBytes === LENGTH_GOES_ON) {
      let byte: number
      do {
        byte = byteAt(block, at++)
        literalBytes += byte
      } while (byte === 255)
    }
    if (literalBytes > block.length - at)
      throw corruptStream('lz4', `a literal claims ${literalBytes} bytes, ${block.length - at} are left`)
    if (literalBytes > 0) output.append(block.subarray(at, at + literalBytes))
    at += literalBytes
    if (at === block.length) break
    if (block.length - at < 2) throw corruptStream('lz4', 'a distance is cut off')
    const distance = (block[at] as number) | ((block[at + 1] as number) << 8)
    at += 2
    let repeatBytes = (token & 15) + REPEAT_BYTES_MIN
    if ((token & 15) === LENGTH_GOES_ON) {
      let byte: number
      do {
        byte = byteAt(block, at++)
        repeatBytes += byte
      } while (byte === 255)
    }
    if (distance === 0 || distance > output.length - historyStart)
      throw corruptStream('lz4', `a copy from ${distance} back, ${output.length - historyStart} written`)
    output.repeat(distance, repeatBytes)
    if (output.length - blockStart > limits.maxBytes) throw corruptStream('lz4', `a block is larger than ${limits.maxBytes} bytes`)
  }
  if (output.length - blockStart > limits.maxBytes) throw corruptStream('lz4', `a block is larger than ${limits.maxBytes} bytes`)
}

function byteAt(block: Buffer, at: number): number {
  const byte = block[at]
  if (byte === undefined) throw corruptStream('lz4', 'a length is cut off')
  return byte
}
