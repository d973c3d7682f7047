/**
 * What is known of the topics in use: their partitions and who leads them. Asked for when it is needed, again when an error shows that
 * leaders moved, and never by clock. Questions asked in the same turn are one request.
 */
import { fromErrorDetail } from '../protocol/error-wire.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { DescribeTopicsResponse, NodeDescription, TopicDescription } from '../protocol/gen/tidemark/v1/cluster.ts'
import type { PartitionerName } from '../protocol/topic-config.ts'
import { createDeferred, type Deferred } from '../runtime/deferred.ts'
import { formatAddress } from '../protocol/addresses.ts'

export interface PartitionLeader {
  /** Where to dial; undefined while there is no leader. */
  readonly address: string | undefined
  readonly leaderEpoch: number
}

/** What a client needs to know of a topic. */
export interface TopicInfo {
  readonly name: string
  /** 16 bytes. */
  readonly topicId: Buffer
  readonly partitioner: PartitionerName
  readonly maxMessageBytes: number
  readonly partitions: readonly PartitionLeader[]
}

/** Where the leader is. Throws `UNKNOWN_PARTITION`, `LEADER_NOT_AVAILABLE`. */
export function leaderAddress({ name, partitions }: TopicInfo, partition: number): string {
  const leader = partitions[partition]
  if (leader === undefined)
    throw new TidemarkError('UNKNOWN_PARTITION', `topic ${name} has no partition ${partition}; it has ${partitions.length}`)
  if (leader.address === undefined) throw new TidemarkError('LEADER_NOT_AVAILABLE', `${name}-${partition} has no leader at the moment`)
  return leader.address
}

/** Topics in one request. */
const NAMES_MAX = 500

export class TopicMetadata {
  readonly #describe: (names: readonly string[]) => Promise<DescribeTopicsResponse>
  readonly #topics = new Map<string, TopicInfo>()
  /** Topics whose leaders are in doubt. What else is known of them holds. */
  readonly #stale = new Set<string>()
  /** Questions that are asked at the end of this turn. */
  #wanted = new Map<string, Deferred<TopicInfo>>()
  readonly #refreshes = new Map<string, Promise<TopicInfo>>()

  /** `describe` asks any node, and others until one answers. */
  constructor(describe: (names: readonly string[]) => Promise<DescribeTopicsResponse>) {
    this.#describe = describe
  }

  /** Undefined also while the leaders are in doubt. */
  known(name: string): TopicInfo | undefined {
    return this.#stale.has(name) ? undefined : this.#topics.get(name)
  }

  lastKnown(name: string): TopicInfo | undefined {
    return this.#topics.get(name)
  }

  /** Throws `UNKNOWN_TOPIC`, and `UNAVAILABLE` when no sound answer comes. Questions for the same topic at the same time are one. */
  refresh(name: string): Promise<TopicInfo> {
    const running = this.#refreshes.get(name)
    if (running !== undefined) return running
    const wanted = createDeferred<TopicInfo>()
    if (this.#wanted.size === 0) queueMicrotask(() => this.#ask())
    this.#wanted.set(name, wanted)
    const refresh = wanted.promise.finally(() => this.#refreshes.delete(name))
    this.#refreshes.set(name, refresh)
    return refresh
  }

  forget(name: string): void {
    this.#stale.add(name)
  }

  /** Takes from an error what it tells of the partition's leader; without a hint newer than what is known, the leaders are in doubt. */
  learnLeader(topic: string, partition: number, error: TidemarkError): void {
    const info = this.known(topic)
    const hint = error.leader
    const known = info?.partitions[partition]
    if (info === undefined || known === undefined || hint === undefined || hint.host === '' || hint.leaderEpoch <= known.leaderEpoch) {
      this.forget(topic)
      return
    }
    const leader = { address: formatAddress(hint.host, hint.port), leaderEpoch: hint.leaderEpoch }
    this.#topics.set(topic, { ...info, partitions: info.partitions.with(partition, leader) })
  }

  #ask(): void {
    const wanted = [...this.#wanted]
    this.#wanted = new Map()
    for (let at = 0; at < wanted.length; at += NAMES_MAX) {
      const part = wanted.slice(at, at + NAMES_MAX)
      this.#describe(part.map(([name]) => name)).then(
        (response) => {
          for (const [index, [name, { resolve, reject }]] of part.entries()) {
            try {
              resolve(this.#take(name, response.topics[index], response.nodes))
            } catch (error) {
              reject(error)
            }
          }
        },
        (error: unknown) => {
          for (const [, { reject }] of part) reject(error)
        },
      )
    }
  }

  #take(name: string, description: TopicDescription | undefined, nodes: readonly NodeDescription[]): TopicInfo {
    if (description === undefined) throw new TidemarkError('UNKNOWN_TOPIC', `no topic named ${JSON.stringify(name)}`)
    if (description.error !== undefined) {
      this.#topics.delete(name)
      this.#stale.delete(name)
      throw fromErrorDetail(description.error, 'failed')
    }
    // No sound node says so, and a record could go nowhere.
    if (description.partitions.length === 0) throw new TidemarkError('UNAVAILABLE', `a node knows no partition of topic ${name}`)
    const info = newest(this.#topics.get(name), infoOf(description, nodes))
    this.#topics.set(name, info)
    this.#stale.delete(name)
    return info
  }
}

/** A node that lags behind may still know an earlier leader than a hint has told of. */
function newest(known: TopicInfo | undefined, told: TopicInfo): TopicInfo {
  if (known === undefined || !known.topicId.equals(told.topicId)) return told
  const later = (leader: PartitionLeader, partition: number): PartitionLeader => {
    const own = known.partitions[partition]
    return own !== undefined && own.leaderEpoch > leader.leaderEpoch ? own : leader
  }
  return { ...told, partitions: told.partitions.map(later) }
}

function infoOf(description: TopicDescription, nodes: readonly NodeDescription[]): TopicInfo {
  const addresses = new Map(nodes.map((node) => [node.nodeId, formatAddress(node.host, node.port)]))
  return {
    name: description.name,
    topicId: description.topicId,
    partitioner: description.partitioner as PartitionerName,
    maxMessageBytes: description.maxMessageBytes,
    partitions: description.partitions.map(({ leader, leaderEpoch }) => ({ address: addresses.get(leader), leaderEpoch })),
  }
}
