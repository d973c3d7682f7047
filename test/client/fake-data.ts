/** What the fake broker holds. */
import type { ProducerState } from '../../log/producer-state.ts'
import type { TidemarkError } from '../../protocol/errors.ts'

export interface FakePartition {
  readonly topic: string
  readonly partition: number
  leader: number
  leaderEpoch: number
  batches: Buffer[]
  logStart: number
  end: number
  producers: ProducerState
}

export interface FakeTopic {
  readonly name: string
  readonly topicId: Buffer
  readonly maxMessageBytes: number
  readonly appendTimeMs: number | undefined
  readonly partitions: FakePartition[]
}

/** The part of the fake broker that its unary calls work on. */
export interface FakeData {
  readonly addresses: readonly string[]
  readonly topics: ReadonlyMap<string, FakeTopic>
  readonly metadataVersion: number
  nextProducerId: number
  readonly calls: string[]
  readonly refuseCall: ((name: string) => TidemarkError | undefined) | undefined
  partition(name: string, partition?: number): FakePartition
  notLeader(partition: FakePartition): TidemarkError
  deleteRecords(name: string, partition: number, beforeOffset: number): void
}
