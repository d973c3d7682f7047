/**
 * Which leader epoch began at which offset: how two replicas find where their logs part.
 *
 * File `leader-epoch-checkpoint`: text; line 1 the version (0), line 2 the number of entries, then `epoch startOffset` per line.
 * Written with each checkpoint; the batches beyond it are replayed. Rebuilt from the log when it is missing or damaged.
 */
export interface LeaderEpochEntry {
  readonly epoch: number
  readonly startOffset: number
}

const VERSION = 0

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
    const lines = [
      String(VERSION),
      String(this.#entries.length),
      ...this.#entries.map(({ epoch, startOffset }) => `${epoch} ${startOffset}`),
    ]
    return Buffer.from(`${lines.join('\n')}\n`)
  }

  /** Undefined when the text is not what `serialize` writes. */
  static parse(content: Buffer): LeaderEpochs | undefined {
    const [version, count, ...lines] = content.toString('latin1').split('\n')
    const entries = lines.slice(0, -1).map((line) => {
      const match = /^(\d+) (\d+)$/.exec(line)
      return { epoch: Number(match?.[1]), startOffset: Number(match?.[2]) }
    })
    const isSound =
      version === String(VERSION) &&
      count === String(entries.length) &&
      lines.at(-1) === '' &&
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

function isAfter(entry: LeaderEpochEntry, previous: LeaderEpochEntry | undefined): boolean {
  return previous === undefined || (entry.epoch > previous.epoch && entry.startOffset > previous.startOffset)
}
