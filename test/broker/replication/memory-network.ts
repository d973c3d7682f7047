/** Streams between the nodes of a test: messages cross as bytes, in order, after a while; links can be cut, each way by itself. */
import type { ReplicaChannel, ReplicaStream, ReplicaStreamEvents } from '../../../broker/replication/channel.ts'
import { ReplicaFetchRequest, ReplicaFetchResponse } from '../../../protocol/gen/tidemark/v1/replica.ts'
import type { VirtualTime } from '../../sim/virtual-time.ts'

/** Who answers on a node; undefined while it is down. */
export type Answerer = (request: ReplicaFetchRequest, done: (response: ReplicaFetchResponse) => void) => { cancel(): void }

export class MemoryNetwork {
  readonly #time: VirtualTime
  readonly #chance: () => number
  readonly #answerers = new Map<number, Answerer>()
  readonly #streams = new Set<MemoryStream>()
  /** `from>to`. */
  readonly #cut = new Set<string>()

  constructor(time: VirtualTime, chance: () => number) {
    this.#time = time
    this.#chance = chance
  }

  serve(nodeId: number, answerer: Answerer): void {
    this.#answerers.set(nodeId, answerer)
  }

  /** The node is gone with all its streams; the other ends notice. */
  drop(nodeId: number): void {
    this.#answerers.delete(nodeId)
    for (const stream of [...this.#streams]) if (stream.from === nodeId || stream.to === nodeId) stream.breakOff()
  }

  cut(from: number, to: number): void {
    this.#cut.add(`${from}>${to}`)
  }

  heal(): void {
    this.#cut.clear()
  }

  channelOf(from: number): ReplicaChannel {
    return {
      open: (to, events) => {
        const stream = new MemoryStream(this, from, to, events)
        this.#streams.add(stream)
        if (!this.#answerers.has(to)) this.#time.after(1, () => stream.breakOff())
        return stream
      },
    }
  }

  // For streams.

  /** Runs `arrive` when what is sent now arrives, not before what was sent earlier; `lose` instead over a link that is cut. */
  carry(from: number, to: number, earliestMs: number, arrive: () => void, lose: () => void): number {
    const atMs = Math.max(earliestMs, this.#time.nowMs + this.#chance() * 8)
    this.#time.after(atMs - this.#time.nowMs, () => {
      if (this.#cut.has(`${from}>${to}`)) lose()
      else arrive()
    })
    return atMs
  }

  answererOf(nodeId: number): Answerer | undefined {
    return this.#answerers.get(nodeId)
  }

  forget(stream: MemoryStream): void {
    this.#streams.delete(stream)
  }
}

class MemoryStream implements ReplicaStream {
  readonly from: number
  readonly to: number
  readonly #network: MemoryNetwork
  readonly #events: ReplicaStreamEvents
  readonly #inHand = new Set<{ cancel(): void }>()
  #requestAtMs = 0
  #answerAtMs = 0
  #isOver = false
  /** A message was lost: nothing comes after it, and neither end is told. */
  #isStuck = false
  readonly #lose = (): void => {
    this.#isStuck = true
  }

  constructor(network: MemoryNetwork, from: number, to: number, events: ReplicaStreamEvents) {
    this.#network = network
    this.from = from
    this.to = to
    this.#events = events
  }

  send(request: ReplicaFetchRequest): void {
    const bytes = ReplicaFetchRequest.encode(request).finish()
    const arrive = (): void => {
      const answerer = this.#network.answererOf(this.to)
      if (this.#isOver || this.#isStuck || answerer === undefined) return
      this.#inHand.add(answerer(ReplicaFetchRequest.decode(bytes), (response) => this.#answer(response)))
    }
    this.#requestAtMs = this.#network.carry(this.from, this.to, this.#requestAtMs, arrive, this.#lose)
  }

  close(): void {
    this.#isOver = true
    for (const fetch of this.#inHand) fetch.cancel()
    this.#inHand.clear()
    this.#network.forget(this)
  }

  breakOff(): void {
    if (this.#isOver) return
    this.close()
    this.#events.broken(new Error('the other end is gone'))
  }

  #answer(response: ReplicaFetchResponse): void {
    const bytes = Buffer.from(ReplicaFetchResponse.encode(response).finish())
    const arrive = (): void => {
      if (!this.#isOver && !this.#isStuck) this.#events.answered(ReplicaFetchResponse.decode(bytes))
    }
    this.#answerAtMs = this.#network.carry(this.to, this.from, this.#answerAtMs, arrive, this.#lose)
  }
}
