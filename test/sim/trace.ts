/** Everything that happened, as one number: two runs of a seed must have the same. With `lines` also as text, for a person. */
import type { VirtualTime } from './virtual-time.ts'

export class Trace {
  readonly #time: VirtualTime
  readonly #print: ((line: string) => void) | undefined
  #hash = 0x811c9dc5
  /** The newest of what a person may want to know. */
  readonly #recent: string[] = []

  constructor(time: VirtualTime, print?: (line: string) => void) {
    this.#time = time
    this.#print = print
  }

  get hash(): number {
    return this.#hash
  }

  get recent(): readonly string[] {
    return this.#recent
  }

  /** Goes into the hash alone: there are many of these. */
  mix(text: string): void {
    let hash = this.#hash
    for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
    this.#hash = Math.imul(hash ^ Math.floor(this.#time.elapsedMs * 1000), 0x01000193) >>> 0
  }

  /** Something a person may want to know. */
  say(who: string, what: string): void {
    this.mix(`${who} ${what}`)
    const line = `${this.#time.elapsedMs.toFixed(1).padStart(9)} ${who.padEnd(4)} ${what}`
    this.#recent.push(line)
    if (this.#recent.length > RECENT_MAX) this.#recent.shift()
    this.#print?.(line)
  }
}

const RECENT_MAX = 60

/** In words, whatever was thrown. */
export function reasonOf(failure: unknown): string {
  return failure instanceof Error ? failure.message : JSON.stringify(failure)
}
