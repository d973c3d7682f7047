/**
 * One TCP port for every protocol.
 *
 * The first bytes of a connection say what it speaks: `PRI ` opens HTTP/2 (gRPC), the
 * name of a method HTTP/1 (health, metrics). Anything else is closed, with a line of plain text in
 * case a person is watching. A connection that says nothing is closed after the
 * handshake deadline. The number of connections is bounded.
 */
import net from 'node:net'
import { TidemarkError } from '../../protocol/errors.ts'
import type { Log, Timers } from '../../runtime/runtime.ts'

export interface PortOptions {
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  readonly connectionsMax: number
  readonly handshakeTimeoutMs: number
}

/** What to do with a connection once its protocol is known. The bytes read so far have been put back. */
export interface PortHandlers {
  http2(socket: net.Socket): void
  http1(socket: net.Socket): void
  /** Told when a connection is gone, for what is kept by peer. */
  closed(peer: string): void
}

/** Enough to tell the protocols apart. */
const SNIFF_BYTES = 4

const HTTP1_STARTS = new Set(['GET ', 'HEAD', 'POST', 'PUT ', 'DELE', 'OPTI', 'PATC', 'TRAC', 'CONN'])

export class Port {
  readonly #server: net.Server
  readonly #options: PortOptions
  readonly #handlers: PortHandlers
  readonly #timers: Timers
  readonly #log: Log
  readonly #sockets = new Set<net.Socket>()
  #refusedCount = 0
  #unknownCount = 0

  constructor(options: PortOptions, handlers: PortHandlers, timers: Timers, log: Log) {
    this.#options = options
    this.#handlers = handlers
    this.#timers = timers
    this.#log = log
    this.#server = net.createServer({ noDelay: true }, (socket) => this.#accept(socket))
  }

  get connectionCount(): number {
    return this.#sockets.size
  }

  /** Connections refused because there were too many. */
  get refusedCount(): number {
    return this.#refusedCount
  }

  /** Connections closed because their first bytes were of no protocol we speak. */
  get unknownCount(): number {
    return this.#unknownCount
  }

  /** Starts to listen; resolves with the port. Rejects with `ADDRESS_IN_USE` and the like. */
  listen(): Promise<number> {
    const { host, port } = this.#options
    return new Promise((resolve, reject) => {
      const failed = (error: NodeJS.ErrnoException): void => reject(listenError(error, host, port))
      this.#server.once('error', failed)
      this.#server.listen({ host, port, backlog: 1024 }, () => {
        this.#server.removeListener('error', failed)
        // EMFILE and the like: the connection is lost, the ones that stand live on.
        this.#server.on('error', (error) => this.#log.warn('connection.accept-failed', { error }))
        resolve((this.#server.address() as net.AddressInfo).port)
      })
    })
  }

  /** Takes no new connections; those that stand live on. */
  stopListening(): void {
    this.#server.close()
  }

  /** Ends every connection. */
  destroy(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  #accept(socket: net.Socket): void {
    socket.on('error', (error) => this.#log.debug('connection.failed', { peer: peerOf(socket), error }))
    if (this.#sockets.size >= this.#options.connectionsMax) {
      this.#refusedCount++
      this.#log.warn('connection.refused', { peer: peerOf(socket), connectionsMax: this.#options.connectionsMax })
      socket.destroy()
      return
    }
    this.#sockets.add(socket)
    const peer = peerOf(socket)
    socket.on('close', () => {
      this.#sockets.delete(socket)
      this.#handlers.closed(peer)
    })
    this.#sniff(socket, peer)
  }

  #sniff(socket: net.Socket, peer: string): void {
    const deadline = this.#timers.after(this.#options.handshakeTimeoutMs, () => {
      this.#log.info('connection.silent', { peer })
      socket.destroy()
    })
    const readable = (): void => {
      const start: Buffer | null = socket.read(SNIFF_BYTES)
      if (start === null) return
      socket.removeListener('readable', readable)
      deadline.cancel()
      socket.unshift(start)
      this.#route(socket, peer, start.toString('latin1'))
    }
    socket.on('readable', readable)
    socket.once('close', () => deadline.cancel())
  }

  #route(socket: net.Socket, peer: string, start: string): void {
    if (start === 'PRI ') {
      this.#handlers.http2(socket)
    } else if (HTTP1_STARTS.has(start)) {
      this.#handlers.http1(socket)
    } else {
      this.#unknownCount++
      this.#log.info('connection.unknown-protocol', { peer, firstBytes: Buffer.from(start, 'latin1').toString('hex') })
      socket.end('tidemark: this port speaks gRPC (HTTP/2) and HTTP/1.1\n')
      socket.destroySoon()
    }
  }
}

/** How grpc-js names the other end of a call: the key by which a connection's budget is found. */
export function peerOf(socket: net.Socket): string {
  const { remoteAddress, remotePort } = socket
  if (remoteAddress === undefined) return 'unknown'
  return `${remoteAddress}:${remotePort}`
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): TidemarkError {
  if (error.code === 'EADDRINUSE')
    return new TidemarkError('ADDRESS_IN_USE', `${host}:${port} is in use by another program`, { cause: error })
  return new TidemarkError('INVALID_CONFIG', `cannot listen on ${host}:${port}: ${error.message}`, { cause: error })
}
