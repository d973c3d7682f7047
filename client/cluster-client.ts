/**
 * What the parts of a client share: calls to whichever node answers, and the metadata of the topics in use.
 */
import { formatAddress } from '../protocol/addresses.ts'
import { fromErrorDetail } from '../protocol/error-wire.ts'
import { type ErrorCode, TidemarkError } from '../protocol/errors.ts'
import type { NodeDescription, TopicDescription } from '../protocol/gen/tidemark/v1/cluster.ts'
import type { PartitionerName } from '../protocol/topic-config.ts'
import { backoffMs, pause, type RetryRuntime, untilAborted, withRetries } from './retry.ts'
import type { Connection, Transport, UnaryCalls } from './transport.ts'

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

export interface CallControl {
  readonly signal?: AbortSignal | undefined
  /** Default: the client's request timeout. */
  readonly timeoutMs?: number
  /** How long one attempt may take before the next node is asked. */
  readonly attemptTimeoutMs?: number
}

/** How long one attempt may take before another node is asked. */
const ATTEMPT_TIMEOUT_MS = 10_000

/** Failures of a node, not of the request: another one may do better. */
const NODE_FAILURES: ReadonlySet<ErrorCode> = new Set(['UNAVAILABLE', 'REQUEST_TIMED_OUT', 'SHUTTING_DOWN', 'NOT_CONTROLLER'])

export class ClusterClient {
  readonly runtime: RetryRuntime
  readonly transport: Transport
  readonly requestTimeoutMs: number
  #addresses: readonly string[]
  #preferred = 0
  readonly #topics = new Map<string, TopicInfo>()
  /** Topics whose leaders are in doubt. What else is known of them holds. */
  readonly #stale = new Set<string>()
  readonly #refreshes = new Map<string, Promise<TopicInfo>>()
  readonly #closed = new AbortController()

  constructor(parts: {
    readonly runtime: RetryRuntime
    readonly transport: Transport
    readonly bootstrap: readonly string[]
    readonly requestTimeoutMs: number
  }) {
    this.runtime = parts.runtime
    this.transport = parts.transport
    this.requestTimeoutMs = parts.requestTimeoutMs
    this.#addresses = parts.bootstrap
  }

  get bootstrap(): readonly string[] {
    return this.#addresses
  }

  /** Aborted when the client closes. */
  get closed(): AbortSignal {
    return this.#closed.signal
  }

  /** The connection to a node. */
  connection(address: string): Connection {
    return this.transport.connection(address)
  }

  /** Calls any node, one after the other, until one answers or time is up. */
  call<Name extends keyof UnaryCalls>(name: Name, request: UnaryCalls[Name][0], control: CallControl = {}): Promise<UnaryCalls[Name][1]> {
    return this.callAt(
      () => this.#addresses[this.#preferred % this.#addresses.length] as string,
      name,
      request,
      control,
      () => {
        this.#preferred = (this.#preferred + 1) % this.#addresses.length
      },
    )
  }

  /** Calls the node that `address` names at each attempt; `failed` is told of attempts that found no node. */
  async callAt<Name extends keyof UnaryCalls>(
    address: () => string,
    name: Name,
    request: UnaryCalls[Name][0],
    control: CallControl = {},
    failed: () => void = () => {},
  ): Promise<UnaryCalls[Name][1]> {
    this.#checkOpen()
    const { clock } = this.runtime
    const deadlineMs = clock.monotonic() + (control.timeoutMs ?? this.requestTimeoutMs)
    const longestMs = control.attemptTimeoutMs ?? ATTEMPT_TIMEOUT_MS
    const signal = control.signal === undefined ? this.closed : AbortSignal.any([control.signal, this.closed])
    try {
      return await withRetries(this.runtime, deadlineMs, signal, async () => {
        const timeoutMs = Math.max(1, Math.min(longestMs, deadlineMs - clock.monotonic()))
        try {
          return await untilAborted(this.connection(address()).call(name, request, { timeoutMs, signal }), signal)
        } catch (error) {
          if (TidemarkError.is(error) && NODE_FAILURES.has(error.code)) failed()
          throw error
        }
      })
    } catch (error) {
      this.#checkOpen()
      throw error
    }
  }

  /** What is known of a topic, asked for when it is not. Throws `UNKNOWN_TOPIC`. */
  topic(name: string, control: CallControl = {}): Promise<TopicInfo> | TopicInfo {
    return this.knownTopic(name) ?? untilAborted(this.refresh(name), control.signal)
  }

  /** What is known of a topic now; undefined also while its leaders are in doubt. */
  knownTopic(name: string): TopicInfo | undefined {
    return this.#stale.has(name) ? undefined : this.#topics.get(name)
  }

  /** What was last heard of a topic, its leaders perhaps outdated: enough to choose a partition. */
  lastKnownTopic(name: string): TopicInfo | undefined {
    return this.#topics.get(name)
  }

  /** Asks again; questions for the same topic at the same time are one. */
  refresh(name: string): Promise<TopicInfo> {
    let refresh = this.#refreshes.get(name)
    if (refresh === undefined) {
      refresh = this.#describe(name).finally(() => this.#refreshes.delete(name))
      this.#refreshes.set(name, refresh)
    }
    return refresh
  }

  /** Asks again before the next request to a leader of the topic. */
  forget(name: string): void {
    this.#stale.add(name)
  }

  /** Takes from an error what it tells of the partition's leader; without a hint newer than what is known, the leaders are in doubt. */
  learnLeader(topic: string, partition: number, error: TidemarkError): void {
    const info = this.knownTopic(topic)
    const hint = error.leader
    const known = info?.partitions[partition]
    if (info === undefined || known === undefined || hint === undefined || hint.host === '' || hint.leaderEpoch <= known.leaderEpoch) {
      this.forget(topic)
      return
    }
    const leader = { address: formatAddress(hint.host, hint.port), leaderEpoch: hint.leaderEpoch }
    this.#topics.set(topic, { ...info, partitions: info.partitions.with(partition, leader) })
  }

  /** Waits a little, as before the `attempt`-th retry. Rejects when the client closes. */
  backoff(attempt: number, retryAfterMs?: number): Promise<void> {
    return pause(backoffMs(attempt, this.runtime.random, retryAfterMs), this.runtime.timers, this.#closed.signal)
  }

  close(): void {
    this.#closed.abort(new TidemarkError('CLOSED'))
    this.transport.close()
  }

  async #describe(name: string): Promise<TopicInfo> {
    const response = await this.call('describeTopics', { topics: [name], all: false, afterVersion: 0, maxWaitMs: 0 })
    const [description] = response.topics
    if (description === undefined) throw new TidemarkError('UNKNOWN_TOPIC', `no topic named ${JSON.stringify(name)}`)
    if (description.error !== undefined) {
      this.#topics.delete(name)
      this.#stale.delete(name)
      throw fromErrorDetail(description.error, 'failed')
    }
    const info = infoOf(description, response.nodes)
    this.#topics.set(name, info)
    this.#stale.delete(name)
    return info
  }

  #checkOpen(): void {
    if (this.#closed.signal.aborted) throw new TidemarkError('CLOSED', 'the client is closed')
  }
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
