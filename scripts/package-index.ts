/** The Debian package index of this machine as records: real data, tens of thousands of stanzas. */
import { execFileSync } from 'node:child_process'

export interface Stanza {
  /** The package's name. */
  readonly key: string
  readonly text: string
}

const OUTPUT_BYTES_MAX = 1024 ** 3

/** What `apt-cache dumpavail` prints, stanza by stanza; fetches the index first if it is not there yet. */
export function readPackageIndex(): Stanza[] {
  let stanzas = dump()
  if (stanzas.length < 1000) {
    execFileSync('apt-get', ['update', '-qq'], { stdio: ['ignore', 'ignore', 'inherit'] })
    stanzas = dump()
  }
  if (stanzas.length < 1000) throw new Error(`the package index has only ${stanzas.length} stanzas`)
  return stanzas
}

/** The section that a stanza says it belongs to. */
export function sectionOf(text: string): string {
  return /^Section: (.+)$/m.exec(text)?.[1] ?? 'none'
}

function dump(): Stanza[] {
  const text = execFileSync('apt-cache', ['dumpavail'], { maxBuffer: OUTPUT_BYTES_MAX }).toString('utf8')
  return text.split('\n\n').flatMap((stanza) => {
    const key = /^Package: (.+)$/m.exec(stanza)?.[1]
    return key === undefined ? [] : [{ key, text: stanza }]
  })
}
