/**
 * The log of a replica, in memory: records with their leader epochs, of which the first few are on the disk. Written is what is appended; a crash may
 * lose all that is not flushed. Has what `Partition` and the rules of replication ask of a `PartitionLog`, with the real leader epochs.
 */
import type { LeaderEpochs } from '../../../log/leader-epochs.ts'

export interface StoredRecord {
  readonly epoch: number
  readonly text: string
}

export interface LogListener {
  advanced(): void
}

export class MemoryLog {
  readonly topic: string
  readonly topicId: string
  readonly partition = 0
  readonly logStartOffset = 0
  readonly leaderEpochs: LeaderEpochs
  readonly config: unknown
  /** Nothing is compacted. */
  readonly compactor = { replicated: (): void => {} }
  // Open, so that it can be copied.
  records: readonly StoredRecord[]
  flushedOffset: number
  listener: LogListener | undefined

  /** Opened on these records, all of them on the disk. */
  constructor(parts: {
    readonly topic: string
    readonly topicId: string
    readonly config: unknown
    readonly records: readonly StoredRecord[]
    readonly leaderEpochs: LeaderEpochs
  }) {
    this.topic = parts.topic
    this.topicId = parts.topicId
    this.config = parts.config
    this.leaderEpochs = parts.leaderEpochs
    this.records = [...parts.records]
    this.flushedOffset = parts.records.length
    for (const [offset, { epoch }] of parts.records.entries()) this.leaderEpochs.assign(epoch, offset)
  }

  get logEndOffset(): number {
    return this.records.length
  }

  get writtenOffset(): number {
    return this.records.length
  }

  setListener(listener: LogListener): void {
    this.listener = listener
  }

  epochEnd(epoch: number): { readonly epoch: number; readonly endOffset: number } {
    return this.leaderEpochs.endOf(epoch, this.logStartOffset, this.logEndOffset)
  }

  append(batch: Buffer, { leaderEpoch }: { readonly leaderEpoch: number }): { readonly duplicate: false; readonly lastOffset: number } {
    this.add({ epoch: leaderEpoch, text: batch.toString() })
    return { duplicate: false, lastOffset: this.logEndOffset - 1 }
  }

  appendAsFollower(record: StoredRecord): void {
    if (record.epoch < this.leaderEpochs.latest)
      throw new Error(`a record of epoch ${record.epoch} behind one of ${this.leaderEpochs.latest}`)
    this.add(record)
    this.listener?.advanced()
  }

  /** The leader has written what it appended. */
  written(): void {
    this.listener?.advanced()
  }

  flush(): void {
    this.flushedOffset = this.logEndOffset
    this.listener?.advanced()
  }

  truncate(offset: number): void {
    this.records = this.records.slice(0, offset)
    this.flushedOffset = Math.min(this.flushedOffset, offset)
    this.leaderEpochs.truncateFromEnd(offset)
  }

  add(record: StoredRecord): void {
    this.leaderEpochs.assign(record.epoch, this.logEndOffset)
    this.records = [...this.records, record]
  }
}

/** Contents of records, in the order they are produced. */
export const CHARS = 'abcdefgh'

const RECORD_BYTES = 2

export function encodeRecords(records: readonly StoredRecord[]): Buffer {
  return Buffer.concat(records.map(({ epoch, text }) => Buffer.from([epoch, text.charCodeAt(0)])))
}

export function decodeRecords(bytes: Buffer): StoredRecord[] {
  return Array.from({ length: bytes.length / RECORD_BYTES }, (_, at) => ({
    epoch: bytes[at * RECORD_BYTES] as number,
    text: String.fromCharCode(bytes[at * RECORD_BYTES + 1] as number),
  }))
}
