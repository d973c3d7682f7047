/**
 * The network between the processes of a run, on one machine and without being root: every connection goes through here, and each direction between a process and
 * a node can be cut, slowed down, or lose its connections.
 *
 * A process reaches nodes through a gate of its own, an HTTP CONNECT proxy named in its variable `grpc_proxy`. So it is known who dials whom, while all dial
 * the addresses the nodes really have. What is cut is not lost but held, as TCP does: it arrives when the cut is healed, if the connection lives that long.
 */
import { once } from 'node:events'
import net from 'node:net'
import type { Hit, Network, Place } from './network.ts'
import { Link, Pipe } from './pipe.ts'

/** A request to connect is shorter than this. */
const REQUEST_BYTES_MAX = 8192

const ONLY_PACKETS = 'only with --network namespaces'

export class ProxyNetwork implements Network {
  readonly #nodeOfPort = new Map<number, string>()
  readonly #gates = new Map<string, net.Server>()
  readonly #links = new Map<string, Link>()
  readonly #pipes = new Set<Pipe>()
  readonly #sockets = new Set<net.Socket>()
  /** By who dialled and whom. */
  readonly connections = new Map<string, number>()
  readonly packets = undefined
  readonly skips = new Map(['loss', 'duplicate', 'corrupt', 'link-down'].map((kind) => [kind, ONLY_PACKETS]))

  listens(node: string, port: number): void {
    this.#nodeOfPort.set(port, node)
  }

  /** Opens the gate of a process. */
  async place(name: string): Promise<Place> {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      this.#connect(name, socket).catch(() => socket.destroy())
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    this.#gates.set(name, server)
    const { port } = server.address() as net.AddressInfo
    // Without `no_grpc_proxy` the machine's `no_proxy` would count, which may name the loopback.
    // And every connection that does not come about would be told on standard error.
    const environment = { grpc_proxy: `http://127.0.0.1:${port}`, no_grpc_proxy: 'none.invalid', GRPC_VERBOSITY: 'NONE' }
    return { host: '127.0.0.1', environment, through: [] }
  }

  /** From one to the other, in this direction only. */
  link(from: string, to: string): Link {
    const name = `${from} > ${to}`
    const link = this.#links.get(name) ?? new Link()
    this.#links.set(name, link)
    return link
  }

  cut(from: readonly string[], to: readonly string[]): void {
    for (const one of from) for (const other of to) if (one !== other) this.link(one, other).cut()
  }

  slow(delayMs: number, bytesPerSecond: number): void {
    for (const link of this.#links.values()) Object.assign(link, { delayMs, bytesPerSecond })
  }

  each(what: Hit, isPicked: () => boolean): number {
    const picked = [...this.#pipes].filter(isPicked)
    for (const pipe of picked) {
      if (what === 'reset') pipe.reset()
      else if (what === 'half-open') pipe.leaveHalfOpen()
      else pipe.cutAfter(what.cutAfterBytes)
    }
    return picked.length
  }

  heal(): void {
    for (const link of this.#links.values()) link.heal()
  }

  silent(names: readonly string[]): readonly string[] {
    const dialled = new Set([...this.connections.keys()].map((way) => way.split(' > ')[0]))
    return names.filter((name) => !dialled.has(name))
  }

  async close(): Promise<void> {
    this.heal()
    const closed = [...this.#gates.values()].map((server) => new Promise((resolve) => server.close(resolve)))
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all(closed)
  }

  async #connect(name: string, socket: net.Socket): Promise<void> {
    this.#own(socket)
    const port = await targetOf(socket)
    const node = this.#nodeOfPort.get(port)
    if (node === undefined) throw new Error(`${name} wants to go to port ${port}, where no node is`)
    const [there, back] = [this.link(name, node), this.link(node, name)]
    await there.passes(0)
    await back.passes(0)
    if (socket.destroyed) return
    const upstream = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    this.#own(upstream)
    await once(upstream, 'connect')
    const way = `${name} > ${node}`
    this.connections.set(way, (this.connections.get(way) ?? 0) + 1)
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
    const pipe = new Pipe(socket, upstream, there, back)
    this.#pipes.add(pipe)
    void pipe.ended.then(() => this.#pipes.delete(pipe))
  }

  #own(socket: net.Socket): void {
    this.#sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('close', () => this.#sockets.delete(socket))
  }
}

/** The port that a CONNECT request names. */
async function targetOf(socket: net.Socket): Promise<number> {
  let text = ''
  while (!text.includes('\r\n\r\n')) {
    const [chunk] = (await once(socket, 'data')) as [Buffer]
    text += chunk.toString('latin1')
    if (text.length > REQUEST_BYTES_MAX) throw new Error('no request to connect')
  }
  socket.pause()
  const [, port] = /^CONNECT [^ ]*:(\d+) HTTP\/1\.1\r\n/.exec(text) ?? []
  if (port === undefined) throw new Error(`not a request to connect: ${text.slice(0, 80)}`)
  return Number(port)
}
