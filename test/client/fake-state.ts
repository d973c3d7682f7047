/** What the nodes of a fake broker share: topics, logs in memory, and what a test does to them. */
import { ProducerState } from '../../log/producer-state.ts'
import { readLastOffset } from '../../protocol/batch-header.ts'
import { type RecordView, readRecords } from '../../protocol/batch-reader.ts'
import { TidemarkError } from '../../protocol/errors.ts'

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

export abstract class FakeState {
  readonly topics = new Map<string, FakeTopic>()
  /** Names of the unary calls that arrived, in order. */
  readonly calls: string[] = []
  refuseCall: ((name: string, node: number) => TidemarkError | undefined) | undefined
  /** Nodes that take connections and requests and answer nothing, as a process that is stuck. */
  readonly hung = new Set<number>()
  nextProducerId = 100
  metadataVersion = 1
  #topicCount = 0

  /** By node id. */
  abstract get addresses(): string[]

  createTopic(
    name: string,
    partitions = 1,
    options: { readonly maxMessageBytes?: number; readonly appendTimeMs?: number } = {},
  ): FakeTopic {
    const topic: FakeTopic = {
      name,
      topicId: Buffer.alloc(16, ++this.#topicCount),
      maxMessageBytes: options.maxMessageBytes ?? 1024 * 1024,
      appendTimeMs: options.appendTimeMs,
      partitions: [],
    }
    this.topics.set(name, topic)
    this.growTopic(name, partitions)
    return topic
  }

  growTopic(name: string, count: number): void {
    const topic = this.topic(name)
    for (let partition = topic.partitions.length; partition < count; partition++) {
      const leader = partition % Math.max(1, this.addresses.length)
      topic.partitions.push({
        topic: name,
        partition,
        leader,
        leaderEpoch: 1,
        batches: [],
        logStart: 0,
        end: 0,
        producers: new ProducerState(),
      })
    }
    this.metadataVersion++
  }

  topic(name: string): FakeTopic {
    const topic = this.topics.get(name)
    if (topic === undefined) throw new Error(`the test has no topic ${name}`)
    return topic
  }

  partition(name: string, partition = 0): FakePartition {
    const found = this.topic(name).partitions[partition]
    if (found === undefined) throw new Error(`the test has no partition ${name}-${partition}`)
    return found
  }

  moveLeader(name: string, partition: number, node: number): void {
    const found = this.partition(name, partition)
    found.leader = node
    found.leaderEpoch++
    this.metadataVersion++
  }

  /** As a node that lost what was not durable, or a retention that deleted it. */
  forgetProducers(name: string, partition = 0): void {
    this.partition(name, partition).producers = new ProducerState()
  }

  /** Deletes everything below `offset`. */
  deleteRecords(name: string, partition: number, offset: number): void {
    const found = this.partition(name, partition)
    found.logStart = offset
    found.end = Math.max(found.end, offset)
    found.batches = found.batches.filter((batch) => readLastOffset(batch) >= offset)
  }

  /** The records of a partition, in order. */
  async records(name: string, partition = 0): Promise<RecordView[]> {
    return (await Promise.all(this.partition(name, partition).batches.map((batch) => readRecords(batch)))).flat()
  }

  async values(name: string, partition = 0): Promise<string[]> {
    return (await this.records(name, partition)).map((record) => String(record.value))
  }

  notLeader(partition: FakePartition): TidemarkError {
    if (partition.leader < 0) return new TidemarkError('LEADER_NOT_AVAILABLE')
    const [host = '', port = ''] = (this.addresses[partition.leader] ?? '').split(':')
    const leader = { nodeId: partition.leader, leaderEpoch: partition.leaderEpoch, host, port: Number(port) }
    return new TidemarkError('NOT_LEADER', undefined, { leader: port === '' ? undefined : leader })
  }
}
