/** Addresses as users write them. */
import { TidemarkError } from '../protocol/errors.ts'

export const PORT_DEFAULT = 9092

/** `host`, `host:port`, `[::1]:port`, with or without `tidemark://`; a list may be separated by commas. Throws `USAGE`. */
export function parseBootstrap(bootstrap: string | readonly string[]): string[] {
  const texts = (typeof bootstrap === 'string' ? bootstrap.split(',') : [...bootstrap])
    .map((text) => text.trim())
    .filter((text) => text !== '')
  if (texts.length === 0) throw new TidemarkError('USAGE', 'no address to connect to')
  return texts.map(parseAddress)
}

function parseAddress(text: string): string {
  const match = /^(?:tidemark:\/\/)?(\[[0-9a-fA-F:.]+\]|[^\s:/[\]]+)(?::(\d{1,5}))?\/?$/.exec(text)
  const port = Number(match?.[2] ?? PORT_DEFAULT)
  if (match === null || port === 0 || port > 65_535)
    throw new TidemarkError('USAGE', `${JSON.stringify(text)} is not an address such as 127.0.0.1:9092`)
  return `${match[1]}:${port}`
}
