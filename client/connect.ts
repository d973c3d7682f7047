/** The way in: builds a client out of the real parts. */
import { TidemarkError } from '../protocol/errors.ts'
import { parseDuration } from '../protocol/units.ts'
import { nodeClock, nodeRandom, nodeTimers } from '../runtime/node.ts'
import { parseBootstrap } from './addresses.ts'
import { Admin } from './admin.ts'
import { ClusterClient } from './cluster-client.ts'
import { Consumer } from './consumer/consumer.ts'
import { GroupConsumer } from './group/group-consumer.ts'
import type { GroupConsumerOptions } from './group/types.ts'
import { checkKnown, type KnownOptions } from './known-options.ts'
import { Producer } from './producer/producer.ts'
import type { TopicLike } from './topic.ts'
import { unreachableReason } from './unreachable.ts'
import type { ConnectOptions, ConsumerOptions, ProducerOptions } from './types.ts'

const KNOWN: KnownOptions<ConnectOptions> = { clientId: true, requestTimeout: true, connectTimeout: true, signal: true }

/** A connection to a cluster. */
export class Tidemark implements AsyncDisposable {
  readonly admin: Admin
  readonly #client: ClusterClient
  readonly #producers: Producer[] = []
  readonly #members = new Set<{ close(): Promise<void> }>()
  #shared: Producer | undefined

  constructor(client: ClusterClient) {
    this.#client = client
    this.admin = new Admin(client)
  }

  /** A producer. Without options always the same one; with options a new one. */
  producer(options?: ProducerOptions): Producer {
    if (options === undefined && this.#shared !== undefined) return this.#shared
    const producer = new Producer(this.#client, options)
    this.#producers.push(producer)
    if (options === undefined) this.#shared = producer
    return producer
  }

  /** A member of a group: the group's members divide the partitions among them, and the group remembers how far it has come. */
  consumer<K = Buffer, V = Buffer>(
    topics: TopicLike<K, V> | readonly TopicLike<K, V>[] | RegExp,
    options: GroupConsumerOptions,
  ): GroupConsumer<K, V>
  /** Reads topics from a position of your choice. */
  consumer<K = Buffer, V = Buffer>(topics: TopicLike<K, V> | readonly TopicLike<K, V>[], options: ConsumerOptions): Consumer<K, V>
  consumer<K, V>(
    topics: TopicLike<K, V> | readonly TopicLike<K, V>[] | RegExp,
    options: ConsumerOptions | GroupConsumerOptions,
  ): Consumer<K, V> | GroupConsumer<K, V> {
    if (options?.group !== undefined) {
      const member = new GroupConsumer<K, V>(this.#client, topics, options)
      this.#members.add(member)
      void member.ended.then(() => this.#members.delete(member))
      return member
    }
    if (topics instanceof RegExp) throw new TidemarkError('USAGE', 'topics by regular expression need a group')
    return new Consumer<K, V>(this.#client, topics, options)
  }

  /** Sends what producers still hold (up to 10 s), ends consumers, those in groups as their `close` does, closes connections. */
  async close(): Promise<void> {
    try {
      await Promise.all([...this.#members].map((member) => member.close()))
      await Promise.all(this.#producers.map((producer) => producer.close()))
    } finally {
      this.#client.close()
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/**
 * Connects to a cluster through one or more of its nodes: `127.0.0.1:9092`, `tidemark://host`, or a list. Rejects with `UNAVAILABLE`
 * when none of them answers in time.
 */
export async function connect(bootstrap: string | readonly string[], options: ConnectOptions = {}): Promise<Tidemark> {
  checkKnown(options, KNOWN, 'a connection')
  const addresses = parseBootstrap(bootstrap)
  const { createGrpcTransport } = await import('./grpc-transport.ts')
  const client = new ClusterClient({
    runtime: { clock: nodeClock, timers: nodeTimers, random: nodeRandom },
    transport: createGrpcTransport(nodeClock, options.clientId),
    bootstrap: addresses,
    requestTimeoutMs: parseDuration(options.requestTimeout ?? '30s', 'requestTimeout'),
    clientId: options.clientId,
  })
  const timeoutMs = parseDuration(options.connectTimeout ?? '10s', 'connectTimeout')
  try {
    // Every address gets its turn, also when the first ones swallow what they are sent.
    const attemptTimeoutMs = Math.max(1, Math.floor(timeoutMs / (addresses.length + 1)))
    await client.describeCluster({ timeoutMs, attemptTimeoutMs, signal: options.signal })
  } catch (caught) {
    client.close()
    const error = TidemarkError.from(caught)
    if (error.code !== 'UNAVAILABLE' && error.code !== 'REQUEST_TIMED_OUT') throw error
    const reason = unreachableReason(error.message) ?? `nothing came within ${timeoutMs} ms`
    throw new TidemarkError('UNAVAILABLE', `no node answered at ${addresses.join(', ')}: ${reason}`, { cause: error })
  }
  return new Tidemark(client)
}
