/** How far the reading of one partition is. */

/** A batch as it came, not decoded yet. */
export interface FetchedBatch {
  readonly buffer: Buffer
  /** The first offset wanted of it. */
  readonly from: number
}

/** A partition in a request to a node. */
export interface Asked {
  readonly partition: PartitionFetch
  readonly address: string
}

export class PartitionFetch {
  readonly topic: string
  readonly partition: number
  /** Of the topic that is read; another one of its name is none of ours. Known with the first fetch. */
  topicId: Buffer | undefined
  /** The next offset to ask for. */
  fetchOffset: number
  /** The leader epoch of what was fetched last, which lies just before `fetchOffset`; -1: not known. */
  lastEpoch = -1
  /** What came last was damaged: the leader is to look whether its disk is at fault. */
  isSuspect = false
  /** The next offset the application gets. */
  position: number
  /** Reading stops before this offset. */
  endOffset = Number.POSITIVE_INFINITY
  highWatermark = 0
  readonly buffered: FetchedBatch[] = []
  bufferedBytes = 0
  /** The question that is under way; the answer to any other is dropped. */
  asked: Asked | undefined
  isPaused = false
  isWaiting = false
  /** Grows with every seek: what the application still holds of before is dropped. */
  generation = 0
  /** One past the last record the application got since it last chose a position; nothing but a seek goes back behind it. */
  deliveredOffset = 0
  failureCount = 0
  /** When the application last got something, or there was nothing to get; monotonic. */
  progressMs: number

  constructor(topic: string, partition: number, position: number, nowMs: number) {
    this.topic = topic
    this.partition = partition
    this.fetchOffset = position
    this.position = position
    this.progressMs = nowMs
  }

  get isAtEnd(): boolean {
    return this.position >= this.endOffset
  }

  /** The application got everything up to `lastOffset`. */
  took(lastOffset: number): void {
    this.position = Math.min(lastOffset + 1, this.endOffset)
    this.#skipToEnd()
    this.deliveredOffset = this.position
    this.isSuspect = false
  }

  /** The log goes on beyond the end. Where records were compacted away none may lie before it, and none will come. */
  passedEnd(): void {
    this.fetchOffset = this.endOffset
    this.#skipToEnd()
  }

  #skipToEnd(): void {
    if (this.fetchOffset >= this.endOffset && this.buffered.length === 0) this.position = this.endOffset
  }

  /** Drops what was read ahead and goes on from `offset`. */
  seek(offset: number, nowMs: number): number {
    const droppedBytes = this.bufferedBytes
    this.buffered.length = 0
    this.bufferedBytes = 0
    this.fetchOffset = offset
    this.lastEpoch = -1
    this.position = offset
    this.asked = undefined
    this.generation++
    this.failureCount = 0
    this.progressMs = nowMs
    return droppedBytes
  }
}
