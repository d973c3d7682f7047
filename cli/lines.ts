/** Bytes to lines, without decoding them: what is not UTF-8 arrives as it was. Only \n ends a line; a \r before it goes too. */
import { TidemarkError } from '../protocol/errors.ts'

/** The largest record there can be; a longer line is surely not meant as one. */
const LINE_BYTES_MAX = 64 * 1024 * 1024

const NEWLINE = 0x0a
const RETURN = 0x0d

/** The lines of each chunk together, so that millions of short ones stay cheap. The last one may lack its \n. Throws `USAGE` for an endless one. */
export async function* splitLines(input: AsyncIterable<Buffer>, maxBytes = LINE_BYTES_MAX): AsyncGenerator<Buffer[], void, undefined> {
  let pieces: Buffer[] = []
  let pendingBytes = 0
  for await (const chunk of input) {
    const lines: Buffer[] = []
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      lines.push(withoutReturn(joined(pieces, chunk.subarray(start, end))))
      pieces = []
      pendingBytes = 0
      start = end + 1
    }
    if (start < chunk.length) pieces.push(chunk.subarray(start))
    pendingBytes += chunk.length - start
    if (pendingBytes > maxBytes) throw new TidemarkError('USAGE', `a line has more than ${maxBytes} bytes`)
    if (lines.length > 0) yield lines
  }
  if (pieces.length > 0) yield [withoutReturn(Buffer.concat(pieces))]
}

function joined(pieces: readonly Buffer[], last: Buffer): Buffer {
  return pieces.length === 0 ? last : Buffer.concat([...pieces, last])
}

function withoutReturn(line: Buffer): Buffer {
  return line.at(-1) === RETURN ? line.subarray(0, -1) : line
}
