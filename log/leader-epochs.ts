/**
 * Which leader epoch began at which offset: how two replicas find where their logs part.
 *
 * File `leader-epoch-checkpoint`: text; line 1 the version (1), line 2 the number of entries, then `epoch startOffset` per line, and in the last line
 * `crc` and a CRC-32C of all before it: a bit that flips in a number would have a replica cut off what was acknowledged. Version 0, which is
 * Kafka's, has no such line. Written with each checkpoint; the batches beyond it are replayed. Rebuilt from the log when it is missing or damaged.
 */
import { crc32c } from '../protocol/crc32c.ts'

export interface LeaderEpochEntry {
  readonly epoch: number
  readonly startOffset: number
}

const VERSION = 1
const VERSION_WITHOUT_CRC = 0

export class LeaderEpochs {
  /** Epochs and start offsets both strictly increase. */
  #entries: LeaderEpochEntry[]
  #latest: number

  constructor(entries: readonly LeaderEpochEntry[] = []) {
    this.#entries = [...entries]
    this.#latest = entries.at(-1)?.epoch ?? -1
  }

  get entries(): readonly LeaderEpochEntry[] {
    return this.#entries
  }

  /** -1 without entries. */
  get latest(): number {
    return this.#latest
  }

  /** A batch of `epoch` was appended at `offset`. */
  assign(epoch: number, offset: number): void {
    if (epoch <= this.#latest) return
    this.#setEntries([...this.#entries.filter((entry) => entry.startOffset < offset), { epoch, startOffset: offset }])
  }

  /** The log now ends at `offset`. */
  truncateFromEnd(offset: number): void {
    this.#setEntries(this.#entries.filter((entry) => entry.startOffset < offset))
  }

  /** The log now starts at `offset`. */
  truncateFromStart(offset: number): void {
    const floor = this.#entries.findLast((entry) => entry.startOffset <= offset)
    const later = this.#entries.filter((entry) => entry.startOffset > offset)
    this.#setEntries(floor === undefined ? later : [{ epoch: floor.epoch, startOffset: Math.max(floor.startOffset, offset) }, ...later])
  }

  /** The largest epoch that is not above `epoch`, and where it ends, in a log from `logStart` to `logEnd`; epoch -1 when there is none. */
  endOf(epoch: number, logStart: number, logEnd: number): { readonly epoch: number; readonly endOffset: number } {
    const at = this.#entries.findLastIndex((entry) => entry.epoch <= epoch)
    const found = this.#entries[at]
    if (found === undefined) return { epoch: -1, endOffset: logStart }
    return { epoch: found.epoch, endOffset: this.#entries[at + 1]?.startOffset ?? logEnd }
  }

  /** Of the record at `offset`, and where it ends; epoch -1 when it is not known. */
  at(offset: number): { readonly epoch: number; readonly endOffset: number } {
    const at = this.#entries.findLastIndex(({ startOffset }) => startOffset <= offset)
    return { epoch: this.#entries[at]?.epoch ?? -1, endOffset: this.#entries[at + 1]?.startOffset ?? Number.POSITIVE_INFINITY }
  }

  serialize(): Buffer {
    const text = linesOf(VERSION, this.#entries)
    return Buffer.from(`${text}${checksumLineOf(text)}`)
  }

  /** Undefined when the text is not what `serialize` writes, or wrote before it had a checksum. */
  static parse(content: Buffer): LeaderEpochs | undefined {
    const text = content.toString('latin1')
    const entries = text.split('\n').flatMap((line) => {
      const match = /^(\d+) (\d+)$/.exec(line)
      return match === null ? [] : [{ epoch: Number(match[1]), startOffset: Number(match[2]) }]
    })
    const sealed = linesOf(VERSION, entries)
    const isWhole = text === `${sealed}${checksumLineOf(sealed)}` || text === linesOf(VERSION_WITHOUT_CRC, entries)
    const isSound =
      isWhole &&
      entries.every(
        (entry, at) => Number.isSafeInteger(entry.epoch) && Number.isSafeInteger(entry.startOffset) && isAfter(entry, entries[at - 1]),
      )
    return isSound ? new LeaderEpochs(entries) : undefined
  }

  #setEntries(entries: LeaderEpochEntry[]): void {
    this.#entries = entries
    this.#latest = entries.at(-1)?.epoch ?? -1
  }
}

function linesOf(version: number, entries: readonly LeaderEpochEntry[]): string {
  return [version, entries.length, ...entries.map(({ epoch, startOffset }) => `${epoch} ${startOffset}`), ''].join('\n')
}

function checksumLineOf(text: string): string {
  return `crc ${crc32c(Buffer.from(text))}\n`
}

function isAfter(entry: LeaderEpochEntry, previous: LeaderEpochEntry | undefined): boolean {
  return previous === undefined || (entry.epoch > previous.epoch && entry.startOffset > previous.startOffset)
}
