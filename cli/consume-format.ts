/** `-f '%t %p %o %k %v\n'`: how `consume` prints a message. The letters are those of kcat and rpk. */
import type { Message } from '../client/index.ts'
import { TidemarkError } from '../protocol/errors.ts'

type Part = (message: Message<Buffer, Buffer>) => string

const LETTERS: Readonly<Record<string, Part>> = {
  t: (message) => message.topic,
  p: (message) => String(message.partition),
  o: (message) => String(message.offset),
  k: (message) => text(message.key),
  K: (message) => String(message.key?.length ?? -1),
  v: (message) => text(message.value),
  s: (message) => text(message.value),
  S: (message) => String(message.value?.length ?? -1),
  V: (message) => String(message.value?.length ?? -1),
  h: (message) => [...message.headers].map(([name, value]) => `${name}=${text(value)}`).join(','),
  T: (message) => String(message.timestamp),
  '%': () => '%',
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', '0': '\0', '\\': '\\' }

/** Throws `USAGE` for a letter that means nothing. */
export function parseConsumeFormat(format: string): (message: Message<Buffer, Buffer>) => string {
  const parts: Part[] = []
  for (const [piece] of format.matchAll(/%.|\\.|[^%\\]+|[%\\]$/gs)) {
    if (piece.startsWith('%')) {
      const letter = LETTERS[piece.slice(1)]
      if (letter === undefined)
        throw new TidemarkError(
          'USAGE',
          `${JSON.stringify(piece)} in the format means nothing; there is ${Object.keys(LETTERS)
            .map((one) => `%${one}`)
            .join(' ')}`,
        )
      parts.push(letter)
    } else {
      const literal = piece.startsWith('\\') ? (ESCAPES[piece.slice(1)] ?? piece) : piece
      parts.push(() => literal)
    }
  }
  return (message) => parts.map((part) => part(message)).join('')
}

function text(bytes: Buffer | null): string {
  return bytes === null ? '' : bytes.toString()
}
