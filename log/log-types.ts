/** What a log tells those who use it. */
import type { TidemarkError } from '../protocol/errors.ts'
import type { TopicConfig } from '../protocol/topic-config.ts'

export interface Appended {
  readonly baseOffset: number
  readonly lastOffset: number
  /** The batch was there already; the offsets are those of the first copy. */
  readonly duplicate: boolean
  /** 0 unless the topic's timestamps are append times. */
  readonly appendTimeMs: number
}

/** Told of a log's progress, synchronously. */
export interface LogListener {
  /** The written, flushed or log start offset moved. */
  advanced(): void
  /** The appends at and above `fromOffset` were taken back: they never reached the disk. */
  undone(fromOffset: number, error: TidemarkError): void
}

export interface LogDescription {
  readonly logStartOffset: number
  readonly logEndOffset: number
  readonly flushedOffset: number
  readonly sizeBytes: number
  readonly segmentCount: number
}

/** Which log to open. */
export interface LogOptions {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  readonly config: TopicConfig
  /** Of a log that does not exist yet: its first offset. Default 0. */
  readonly beginAt?: number
}

export interface LogIdentity {
  readonly topic: string
  readonly partition: number
  readonly topicId: string
  readonly directory: string
}
