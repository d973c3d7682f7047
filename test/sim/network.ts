/**
 * The network between the processes of a simulation.
 *
 * Fault model. A connection carries what is sent each way in order and, while it lives, loses nothing, as TCP does. A link may be cut,
 * each way by itself: what is sent then waits, and arrives some time after the link is whole again. The ends of a
 * connection over which nothing comes notice by keepalive, each for itself, and give it up; what was under way is lost, and whoever sent it
 * does not know whether it arrived. A process that is killed resets its connections, as far as the links let that through. One that is paused accepts and
 * answers nothing. Any connection may be reset at any time.
 */
import { between, type Chance } from '../../scripts/random.ts'
import type { SimProcess } from './process.ts'
import type { VirtualTime } from './virtual-time.ts'

/** How long one way takes, mostly and at most. */
const DELAY_MS = { usual: 0.6, most: 8, rare: 0.03 }

/** Until what was held up by a link is sent again after it is whole. */
const RESEND_MS = 150

/** How often a connection looks whether the other end is there, while something is open on it. */
const WATCH_EVERY_MS = 500

export type Direction = 'toServer' | 'toClient'

/** What listens on an address. */
export interface Listener {
  readonly process: SimProcess
  readonly keepaliveMs: number
  /** A connection comes from `host`; the answer names it. */
  accept(host: string): string
  /** It is gone. */
  closed(connection: Connection): void
}

/** A message of a call on its way. */
export interface CallMessage {
  readonly from: string
  readonly to: string
  /** As `/tidemark.v1.Controller/AlterPartitions`. */
  readonly path: string
  readonly isAnswer: boolean
}

/** Messages that a scenario holds up. */
export interface Hold {
  /** So many so far. */
  readonly count: number
  /** They go on their way, in their order; no more are held up. */
  release(): void
}

export interface ConnectionEvents {
  /** The end that is told has lost the connection. */
  lost(reason: string): void
}

export class SimNetwork {
  readonly time: VirtualTime
  readonly #chance: Chance
  readonly #listeners = new Map<string, Listener>()
  readonly #connections = new Set<Connection>()
  /** `from>to`. */
  readonly #cut = new Set<string>()
  readonly #holds = new Set<{ readonly picks: (message: CallMessage) => boolean; readonly held: (() => void)[] }>()
  /** Told of every frame that arrives, for the trace. */
  onFrame: (from: string, to: string, bytes: number) => void = () => {}
  /** Makes everything so many times slower. */
  slowness = 1

  constructor(time: VirtualTime, chance: Chance) {
    this.time = time
    this.#chance = chance
  }

  listen(address: string, listener: Listener): void {
    this.#listeners.set(address, listener)
  }

  stopListening(address: string, listener: Listener): void {
    if (this.#listeners.get(address) === listener) this.#listeners.delete(address)
  }

  listenerAt(address: string): Listener | undefined {
    const listener = this.#listeners.get(address)
    return listener?.process.isAlive === true ? listener : undefined
  }

  isCut(from: string, to: string): boolean {
    return this.#cut.has(`${from}>${to}`)
  }

  cut(from: string, to: string): void {
    this.#cut.add(`${from}>${to}`)
  }

  heal(): void {
    this.#cut.clear()
    for (const connection of [...this.#connections]) connection.healed()
  }

  /** Resets some connections of those that are open. */
  resetSome(share: number): void {
    for (const connection of [...this.#connections]) if (this.#chance() < share) connection.reset()
  }

  /** From now on messages that `picks` names do not leave, as though who sends them were slow. What others send on the same connection passes them. */
  hold(picks: (message: CallMessage) => boolean): Hold {
    const hold = { picks, held: [] as (() => void)[] }
    this.#holds.add(hold)
    return {
      get count() {
        return hold.held.length
      },
      release: () => {
        this.#holds.delete(hold)
        for (const go of hold.held.splice(0)) go()
      },
    }
  }

  /** Nothing is held up any more. */
  releaseAll(): void {
    for (const hold of this.#holds) {
      this.#holds.delete(hold)
      for (const go of hold.held.splice(0)) go()
    }
  }

  /** A message wants to leave: `go` is called now, or when it is released. */
  pass(message: CallMessage, go: () => void): void {
    for (const { picks, held } of this.#holds) {
      if (!picks(message)) continue
      held.push(go)
      return
    }
    go()
  }

  delay(): number {
    const usual = between(this.#chance, 0.2, DELAY_MS.usual)
    return this.slowness * (this.#chance() < DELAY_MS.rare ? between(this.#chance, usual, DELAY_MS.most) : usual)
  }

  add(connection: Connection): void {
    this.#connections.add(connection)
  }

  remove(connection: Connection): void {
    this.#connections.delete(connection)
  }
}

interface Frame {
  readonly bytes: number
  readonly arrive: () => void
}

export class Connection {
  readonly #network: SimNetwork
  readonly client: SimProcess
  readonly listener: Listener
  /** How the server knows it. */
  readonly peer: string
  readonly #keepaliveMs: number
  readonly #events: ConnectionEvents
  readonly #earliestMs: Record<Direction, number> = { toServer: 0, toClient: 0 }
  readonly #held: Record<Direction, Frame[]> = { toServer: [], toClient: [] }
  readonly #stalledSinceMs: Record<Direction, number | undefined> = { toServer: undefined, toClient: undefined }
  #isClientEndOpen = true
  #isServerEndOpen = true
  #isWatched = false
  /** Calls that are open: nobody looks after a connection on which nothing is. */
  openCalls = 0

  constructor(network: SimNetwork, client: SimProcess, listener: Listener, keepaliveMs: number, events: ConnectionEvents) {
    this.#network = network
    this.client = client
    this.listener = listener
    this.peer = listener.accept(client.host)
    this.#keepaliveMs = keepaliveMs
    this.#events = events
    network.add(this)
    // The kernel of who dies tells the other.
    client.onDeath(() => this.#clientGone())
    listener.process.onDeath(() => this.#serverGone())
  }

  get isOpen(): boolean {
    return this.#isClientEndOpen
  }

  /** `arrive` happens at the other end when what is sent gets there. */
  send(direction: Direction, bytes: number, arrive: () => void): void {
    if (!this.#isEndOpen(direction === 'toServer' ? 'toClient' : 'toServer')) return
    if (this.openCalls > 0) this.#watch()
    const { time } = this.#network
    const atMs = Math.max(this.#earliestMs[direction], time.nowMs + this.#network.delay())
    this.#earliestMs[direction] = atMs
    time.after(atMs - time.nowMs, () => this.#arrived(direction, { bytes, arrive }))
  }

  /** The links are whole again: what was held up is on its way. */
  healed(): void {
    for (const direction of ['toServer', 'toClient'] as const) {
      const held = this.#held[direction].splice(0)
      this.#stalledSinceMs[direction] = undefined
      if (held.length === 0) continue
      const { time } = this.#network
      this.#earliestMs[direction] = Math.max(this.#earliestMs[direction], time.nowMs + RESEND_MS)
      for (const frame of held) this.send(direction, frame.bytes, frame.arrive)
    }
  }

  reset(): void {
    this.#loseClientEnd('ECONNRESET')
    this.#loseServerEnd()
  }

  /** The client has no use for it any more. */
  close(): void {
    this.#isClientEndOpen = false
    this.send('toServer', 0, () => {})
    this.#loseServerEndLater()
  }

  #arrived(direction: Direction, frame: Frame): void {
    const [from, to] = this.#ends(direction)
    if (this.#held[direction].length > 0 || this.#network.isCut(from.host, to.host)) {
      this.#held[direction].push(frame)
      this.#stalledSinceMs[direction] ??= this.#network.time.nowMs
      return
    }
    this.#network.onFrame(from.host, to.host, frame.bytes)
    if (this.#isEndOpen(direction))
      to.run(() => {
        if (this.#isEndOpen(direction)) frame.arrive()
      })
    // Nobody knows of this connection there: it is reset.
    else if (direction === 'toServer') this.#loseClientEndLater()
    else this.#loseServerEndLater()
  }

  /** The end that what goes in this direction comes to. */
  #isEndOpen(direction: Direction): boolean {
    return direction === 'toServer' ? this.#isServerEndOpen : this.#isClientEndOpen
  }

  #ends(direction: Direction): readonly [SimProcess, SimProcess] {
    const server = this.listener.process
    return direction === 'toServer' ? [this.client, server] : [server, this.client]
  }

  /** As long as calls are open each end pings the other; a ping that is not answered for the keepalive time ends the connection at that end. */
  #watch(): void {
    if (this.#isWatched) return
    this.#isWatched = true
    let silentMs = 0
    const look = (): void => {
      this.#isWatched = false
      if (!this.#isClientEndOpen && !this.#isServerEndOpen) return
      const [client, server] = this.#ends('toServer')
      // A ping to who does not know the connection is answered with a reset.
      if (!this.#isServerEndOpen) this.#loseClientEndLater()
      else if (!this.#isClientEndOpen) this.#loseServerEndLater()
      const isCut = this.#network.isCut(client.host, server.host) || this.#network.isCut(server.host, client.host)
      silentMs = isCut || client.isPaused || server.isPaused ? silentMs + WATCH_EVERY_MS : 0
      if (silentMs > this.#keepaliveMs) client.run(() => this.#loseClientEnd('keepalive timeout'))
      if (silentMs > this.listener.keepaliveMs) server.run(() => this.#loseServerEnd())
      if (this.openCalls > 0) schedule()
    }
    const schedule = (): void => {
      this.#isWatched = true
      this.#network.time.after(WATCH_EVERY_MS, look)
    }
    schedule()
  }

  #clientGone(): void {
    this.#isClientEndOpen = false
    this.#loseServerEndLater()
  }

  #serverGone(): void {
    this.#isServerEndOpen = false
    this.#loseClientEndLater()
  }

  /** The news gets through when the link lets it. */
  #loseClientEndLater(): void {
    this.#tell(this.listener.process.host, this.client, () => this.#loseClientEnd('ECONNRESET'))
  }

  #loseServerEndLater(): void {
    this.#tell(this.client.host, this.listener.process, () => this.#loseServerEnd())
  }

  #tell(from: string, to: SimProcess, lose: () => void): void {
    const { time } = this.#network
    time.after(this.#network.delay(), () => {
      // The one who waits finds out by keepalive.
      if (!this.#network.isCut(from, to.host)) to.run(lose)
    })
  }

  #loseClientEnd(reason: string): void {
    if (!this.#isClientEndOpen) return
    this.#isClientEndOpen = false
    this.#forgetIfOver()
    this.#events.lost(reason)
    if (this.#isServerEndOpen) this.#loseServerEndLater()
  }

  #loseServerEnd(): void {
    if (!this.#isServerEndOpen) return
    this.#isServerEndOpen = false
    this.#forgetIfOver()
    this.listener.closed(this)
    if (this.#isClientEndOpen) this.#loseClientEndLater()
  }

  #forgetIfOver(): void {
    if (!this.#isClientEndOpen && !this.#isServerEndOpen) this.#network.remove(this)
  }
}
