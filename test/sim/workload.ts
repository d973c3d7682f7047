/** Producers and readers of a simulated cluster; what they do goes into a history. */
import { askOffsets, LATEST } from '../../client/consumer/positions.ts'
import type { Producer } from '../../client/producer/producer.ts'
import type { ProducerOptions } from '../../client/types.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { SimClient, SimCluster } from './cluster.ts'
import type { History, Sent } from './history.ts'
import { between, type Chance, pick } from '../../scripts/random.ts'

const KEYS = ['a', 'b', 'c', 'd', 'e']

/** What a send may end with while nodes fail for longer than its deadline; anything else is a mistake of ours. */
const EXPECTED: ReadonlySet<string> = new Set(['DELIVERY_TIMED_OUT', 'REQUEST_TIMED_OUT', 'UNAVAILABLE'])

export class SimProducer {
  readonly name: string
  readonly #cluster: SimCluster
  readonly #client: SimClient
  readonly #producer: Producer
  readonly #history: History
  readonly #chance: Chance
  #count = 0
  #isStopped = false

  constructor(cluster: SimCluster, history: History, name: string, chance: Chance, options: ProducerOptions = {}) {
    this.name = name
    this.#cluster = cluster
    this.#history = history
    this.#chance = chance
    this.#client = cluster.openClient(name)
    this.#producer = this.#client.tm.producer({ deliveryTimeout: '60s', ...options })
  }

  /** Sends a few records after a while, again and again, until `stop`. */
  start(topics: readonly string[], pauseMs: number): void {
    const { timers } = this.#client.process
    const again = (): void => {
      if (this.#isStopped) return
      const topic = pick(this.#chance, topics)
      for (let left = 1 + Math.floor(this.#chance() * 3); left > 0; left--) void this.send(topic)
      timers.after(between(this.#chance, 0, 2 * pauseMs), again)
    }
    timers.after(0, again)
  }

  stop(): void {
    this.#isStopped = true
  }

  /** Never rejects: how it ended is in the history. */
  async send(topic: string, key: string = pick(this.#chance, KEYS)): Promise<Sent> {
    const sent = this.#history.sending(this.name, topic, key, `${this.name}.${this.#count++}`)
    try {
      const { partition, offset } = await this.#producer.send(topic, { key, value: sent.value })
      this.#cluster.trace.say(this.name, `${sent.value} is at ${topic}-${partition}@${offset}`)
      this.#cluster.oracles.attempt(() => this.#history.acknowledged(sent, partition, Number(offset)))
    } catch (error) {
      const known = TidemarkError.from(error)
      sent.outcome = known.outcome === 'failed' ? 'failed' : 'indeterminate'
      const what = `${sent.value} ended with ${known.code} (${sent.outcome}): ${known.message}`
      this.#cluster.trace.say(this.name, what)
      if (!EXPECTED.has(known.code)) this.#cluster.oracles.broke(what)
    }
    return sent
  }

  /** The process dies with all it has in hand. */
  kill(): void {
    this.#isStopped = true
    this.#client.process.kill()
    for (const sent of this.#history.sends) if (sent.producer === this.name && sent.outcome === 'open') sent.outcome = 'indeterminate'
  }
}

/** Follows topics from the start, or from where it is told. */
export class SimReader {
  readonly name: string
  readonly #cluster: SimCluster
  readonly #history: History
  readonly #client: SimClient
  /** Of each partition, the offset that must come next. */
  readonly #next = new Map<string, number>()
  #ended: Promise<void> | undefined

  constructor(cluster: SimCluster, history: History, name: string) {
    this.name = name
    this.#cluster = cluster
    this.#history = history
    this.#client = cluster.openClient(name)
  }

  /** Reads on until it is killed. */
  follow(topics: readonly string[]): void {
    void this.#read(topics, 'never')
  }

  /** Reads what is there now; resolves with it, by partition. */
  async readAll(topic: string): Promise<Map<number, { readonly offset: number; readonly value: string }[]>> {
    const found = new Map<number, { readonly offset: number; readonly value: string }[]>()
    this.#ended = this.#read([topic], 'now', (partition, offset, value) => {
      const records = found.get(partition) ?? []
      records.push({ offset, value })
      found.set(partition, records)
    })
    await this.#ended
    return found
  }

  kill(): void {
    this.#client.process.kill()
  }

  async #read(
    topics: readonly string[],
    end: 'never' | 'now',
    took?: (partition: number, offset: number, value: string) => void,
  ): Promise<void> {
    const { oracles, trace } = this.#cluster
    try {
      const consumer = this.#client.tm.consumer([...topics], { start: 'earliest', end, stallTimeout: false })
      for await (const { topic, partition, offset, value } of consumer) {
        const place = `${topic}-${partition}`
        const at = Number(offset)
        const text = String(value)
        const expected = this.#next.get(place) ?? 0
        if (at !== expected) oracles.broke(`${this.name} gets ${place}@${at} where ${expected} comes next`)
        this.#next.set(place, at + 1)
        oracles.attempt(() => this.#history.read(topic, partition, at, text))
        took?.(partition, at, text)
      }
    } catch (error) {
      const { code, message } = TidemarkError.from(error)
      trace.say(this.name, `ended with ${code}: ${message}`)
      oracles.broke(`${this.name} ended with ${code}: ${message}`)
    }
  }
}

/** Asks again and again where partitions end: what it was told once must hold from then on. */
export function watchEnds(cluster: SimCluster, topics: readonly string[], pauseMs: number): void {
  const { process, client } = cluster.openClient('watcher')
  const ends = new Map<string, number>()
  const look = async (): Promise<void> => {
    for (const topic of topics) {
      const { length } = (await client.topic(topic)).partitions
      const partitions = Array.from({ length }, (_, partition) => ({ topic, partition }))
      for (const [partition, end] of (await askOffsets(client, partitions, LATEST)).entries()) {
        const place = `${topic}-${partition}`
        const before = ends.get(place) ?? 0
        if (end === undefined || end < before) cluster.oracles.broke(`${place} ends at ${end}, and ended at ${before} before`)
        else ends.set(place, end)
      }
    }
  }
  const again = (): void => {
    // No leader for longer than a call waits is no mistake.
    look().then(later, later)
  }
  const later = (): void => void process.timers.after(pauseMs, again)
  later()
}
