/**
 * Which leader epoch began at which offset: how two replicas find where their logs part.
 *
 * File `leader-epoch-checkpoint`: text; line 1 the version (0), line 2 the number of entries, then `epoch startOffset` per line.
 * Rebuilt from the batches past the recovery point, never trusted beyond the log end.
 */
import { TidemarkError } from '../protocol/errors.ts'

export interface LeaderEpochEntry {
  readonly epoch: number
  readonly startOffset: number
}

const VERSION = 0

export class LeaderEpochs {
  /** Epochs and start offsets both strictly increase. */
  #entries: LeaderEpochEntry[]

  constructor(entries: readonly LeaderEpochEntry[] = []) {
    this.#entries = [...entries]
  }

  get entries(): readonly LeaderEpochEntry[] {
    return this.#entries
  }

  get latest(): number | undefined {
    return this.#entries.at(-1)?.epoch
  }

  /** A batch of `epoch` was appended at `offset`. */
  assign(epoch: number, offset: number): void {
    if (this.latest !== undefined && epoch <= this.latest) return
    this.#entries = this.#entries.filter((entry) => entry.startOffset < offset)
    this.#entries.push({ epoch, startOffset: offset })
  }

  /** The log now ends at `offset`. */
  truncateFromEnd(offset: number): void {
    this.#entries = this.#entries.filter((entry) => entry.startOffset < offset)
  }

  /** The log now starts at `offset`. */
  truncateFromStart(offset: number): void {
    const floor = this.#entries.findLast((entry) => entry.startOffset <= offset)
    const later = this.#entries.filter((entry) => entry.startOffset > offset)
    this.#entries = floor === undefined ? later : [{ epoch: floor.epoch, startOffset: Math.max(floor.startOffset, offset) }, ...later]
  }

  serialize(): Buffer {
    const lines = [String(VERSION), String(this.#entries.length), ...this.#entries.map(({ epoch, startOffset }) => `${epoch} ${startOffset}`)]
    return Buffer.from(`${lines.join('\n')}\n`)
  }

  /** Throws `CORRUPT_LOG` when the text is not what `serialize` writes. */
  static parse(content: Buffer): LeaderEpochs {
    const [version, count, ...lines] = content.toString('latin1').split('\n')
    const entries = lines.slice(0, -1).map((line) => {
      const match = /^(\d+) (\d+)$/.exec(line)
      return { epoch: Number(match?.[1]), startOffset: Number(match?.[2]) }
    })
    const isSound =
      version === String(VERSION) &&
      count === String(entries.length) &&
      entries.every((entry, at) => Number.isSafeInteger(entry.epoch) && Number.isSafeInteger(entry.startOffset) && isAfter(entry, entries[at - 1]))
    if (!isSound) throw new TidemarkError('CORRUPT_LOG', 'leader-epoch-checkpoint is damaged')
    return new LeaderEpochs(entries)
  }
}

function isAfter(entry: LeaderEpochEntry, previous: LeaderEpochEntry | undefined): boolean {
  return previous === undefined || (entry.epoch > previous.epoch && entry.startOffset > previous.startOffset)
}
