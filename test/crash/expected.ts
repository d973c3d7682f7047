/** What has to hold of a log that is opened after a crash. */
import type { TopicConfig } from '../../protocol/topic-config.ts'

export interface WrittenRecord {
  readonly offset: number
  readonly key: string | null
  readonly value: string | null
  readonly timestampMs: number
  readonly epoch: number
}

/** A batch of an idempotent producer. */
export interface SentBatch {
  readonly producerId: number
  readonly baseSequence: number
  readonly baseOffset: number
  readonly records: readonly WrittenRecord[]
}

/** At one moment. The arrays are never changed once they are here. */
export interface Expected {
  readonly config: TopicConfig
  readonly nowMs: number
  /** Everything that was appended, oldest first. */
  readonly records: readonly WrittenRecord[]
  readonly sent: readonly SentBatch[]
  /** Offsets below were acknowledged as durable. */
  readonly durable: number
  /** The log starts no earlier, and no later. */
  readonly startMin: number
  readonly startMax: number
  /** It was stopped, or is just being stopped or started: whoever opens it may be told that it was left in order. */
  readonly mayBeClean: boolean
}
