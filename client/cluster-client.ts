/**
 * What the parts of a client share: calls to whichever node answers, and the metadata of the topics in use.
 */
import { fromErrorDetail } from '../protocol/error-wire.ts'
import { type ErrorCode, TidemarkError } from '../protocol/errors.ts'
import type { DescribeTopicsResponse } from '../protocol/gen/tidemark/v1/cluster.ts'
import { formatAddress } from '../protocol/addresses.ts'
import { KnownNodes } from './known-nodes.ts'
import { backoffMs, pause, type RetryRuntime, untilAborted, withRetries } from './retry.ts'
import { type TopicInfo, TopicMetadata } from './topic-metadata.ts'
import type { Connection, Transport, UnaryCalls } from './transport.ts'

export type { PartitionLeader, TopicInfo } from './topic-metadata.ts'

export interface CallControl {
  readonly signal?: AbortSignal | undefined
  /** Default: the client's request timeout. */
  readonly timeoutMs?: number
  /** How long one attempt may take before the next node is asked. */
  readonly attemptTimeoutMs?: number
  /** Told of each attempt before it is made. */
  readonly onAttempt?: () => void
}

/** How long one attempt may take before another node is asked. */
const ATTEMPT_TIMEOUT_MS = 10_000
/** Every node answers these at once, from what it knows, or within a second when it has to ask the controller. */
const METADATA_ATTEMPT_TIMEOUT_MS = 1500

/** Failures of a node, not of the request: another one may do better. */
const NODE_FAILURES: ReadonlySet<ErrorCode> = new Set([
  'UNAVAILABLE',
  'REQUEST_TIMED_OUT',
  'SHUTTING_DOWN',
  'NOT_CONTROLLER',
  'UNKNOWN_TOPIC',
])

export class ClusterClient {
  readonly runtime: RetryRuntime
  readonly transport: Transport
  readonly requestTimeoutMs: number
  /** Names the application; empty: it has not said. */
  readonly clientId: string
  readonly #nodes: KnownNodes
  readonly #metadata: TopicMetadata
  /** The newest version of the metadata that a node has answered with. */
  #metadataVersion = 0
  readonly #closed = new AbortController()

  constructor(parts: {
    readonly runtime: RetryRuntime
    readonly transport: Transport
    readonly bootstrap: readonly string[]
    readonly requestTimeoutMs: number
    readonly clientId?: string | undefined
  }) {
    this.runtime = parts.runtime
    this.transport = parts.transport
    this.requestTimeoutMs = parts.requestTimeoutMs
    this.clientId = parts.clientId ?? ''
    this.#nodes = new KnownNodes(parts.bootstrap)
    this.#metadata = new TopicMetadata((names) => this.#describe(names))
  }

  /** Aborted when the client closes. */
  get closed(): AbortSignal {
    return this.#closed.signal
  }

  /** The connection to a node. */
  connection(address: string): Connection {
    return this.transport.connection(address)
  }

  /**
   * Calls any node, one after the other, until one answers or time is up; one that is not the controller and names it is taken at its word.
   * `check` throws what makes an answer a failed attempt.
   */
  async call<Name extends keyof UnaryCalls>(
    name: Name,
    request: UnaryCalls[Name][0],
    control: CallControl = {},
    check: (response: UnaryCalls[Name][1]) => void = () => {},
  ): Promise<UnaryCalls[Name][1]> {
    this.#checkOpen()
    const { clock } = this.runtime
    const deadlineMs = clock.monotonic() + (control.timeoutMs ?? this.requestTimeoutMs)
    const longestMs = control.attemptTimeoutMs ?? ATTEMPT_TIMEOUT_MS
    const signal = control.signal === undefined ? this.closed : AbortSignal.any([control.signal, this.closed])
    let named: string | undefined
    try {
      return await withRetries(this.runtime, deadlineMs, signal, async () => {
        const address = named ?? this.#nodes.preferred
        named = undefined
        const timeoutMs = Math.max(1, Math.min(longestMs, deadlineMs - clock.monotonic()))
        control.onAttempt?.()
        try {
          const response = await untilAborted(this.connection(address).call(name, request, { timeoutMs, signal }), signal)
          check(response)
          return response
        } catch (caught) {
          const error = TidemarkError.from(caught)
          if (NODE_FAILURES.has(error.code)) this.#nodes.failed(address)
          if (error.code === 'NOT_CONTROLLER' && error.leader !== undefined && error.leader.host !== '')
            named = formatAddress(error.leader.host, error.leader.port)
          throw error
        }
      })
    } catch (error) {
      this.#checkOpen()
      throw error
    }
  }

  /** Asks which nodes there are. */
  async describeCluster(control: CallControl = {}): Promise<UnaryCalls['describeCluster'][1]> {
    const response = await this.call('describeCluster', {}, control)
    this.#nodes.learnAll(response.nodes)
    this.#metadataVersion = Math.max(this.#metadataVersion, response.metadataVersion)
    return response
  }

  /** What is known of a topic, asked for when it is not. Throws `UNKNOWN_TOPIC`. */
  topic(name: string, control: CallControl = {}): Promise<TopicInfo> | TopicInfo {
    return this.knownTopic(name) ?? untilAborted(this.refresh(name), control.signal)
  }

  /** What is known of a topic now; undefined also while its leaders are in doubt. */
  knownTopic(name: string): TopicInfo | undefined {
    return this.#metadata.known(name)
  }

  /** What was last heard of a topic, its leaders perhaps outdated: enough to choose a partition. */
  lastKnownTopic(name: string): TopicInfo | undefined {
    return this.#metadata.lastKnown(name)
  }

  /** Asks again; questions for the same topic at the same time are one. */
  refresh(name: string): Promise<TopicInfo> {
    return this.#metadata.refresh(name)
  }

  /** Asks again before the next request to a leader of the topic. */
  forget(name: string): void {
    this.#metadata.forget(name)
  }

  /** Takes from an error what it tells of the partition's leader; without a hint newer than what is known, the leaders are in doubt. */
  learnLeader(topic: string, partition: number, error: TidemarkError): void {
    this.#metadata.learnLeader(topic, partition, error)
  }

  /** Waits a little, as before the `attempt`-th retry. Rejects when the client closes. */
  backoff(attempt: number, retryAfterMs?: number): Promise<void> {
    return pause(backoffMs(attempt, this.runtime.random, retryAfterMs), this.runtime.timers, this.#closed.signal)
  }

  close(): void {
    this.#closed.abort(new TidemarkError('CLOSED'))
    this.transport.close()
  }

  async #describe(names: readonly string[]): Promise<DescribeTopicsResponse> {
    const request = { topics: [...names], all: false, afterVersion: 0, maxWaitMs: 0 }
    const response = await this.call('describeTopics', request, { attemptTimeoutMs: METADATA_ATTEMPT_TIMEOUT_MS }, (answer) =>
      this.#checkAge(answer),
    )
    this.#nodes.learn(response.nodes)
    this.#metadataVersion = Math.max(this.#metadataVersion, response.metadataVersion)
    return response
  }

  /** That a topic does not exist is not taken from a node that knows less than another did. */
  #checkAge({ metadataVersion, topics }: DescribeTopicsResponse): void {
    if (metadataVersion >= this.#metadataVersion) return
    const missing = topics.find(({ name, error }) => error?.code === 'UNKNOWN_TOPIC' && this.#metadata.lastKnown(name) !== undefined)
    if (missing?.error === undefined) return
    throw fromErrorDetail({ ...missing.error, retriable: true }, 'failed')
  }

  #checkOpen(): void {
    if (this.#closed.signal.aborted) throw new TidemarkError('CLOSED', 'the client is closed')
  }
}
