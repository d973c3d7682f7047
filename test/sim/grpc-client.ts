/** How processes of the simulation dial: what `@grpc/grpc-js` is to a client, as far as ours use it. */
import * as grpc from '@grpc/grpc-js'
import type { Dial, GrpcClient } from '../../protocol/grpc-dial.ts'
import { type CallEvents, ClientCall, type Status, unavailable } from './grpc-calls.ts'
import type { SimGrpcServer } from './grpc-server.ts'
import { Connection, type SimNetwork } from './network.ts'
import type { SimProcess } from './process.ts'

/** SYN is sent again so often over a link that is cut. */
const CONNECT_RETRY_MS = 1000
/** After a connection was refused, calls fail at once for so long. */
const BACKOFF_MS = 50

/** How `process` dials. */
export function simDial(network: SimNetwork, process: SimProcess): Dial {
  return (address, options) => new SimGrpcClient(network, process, address, options) as unknown as GrpcClient
}

class SimGrpcClient {
  readonly #network: SimNetwork
  readonly #process: SimProcess
  readonly #address: string
  readonly #keepaliveMs: number
  readonly #calls = new Set<ClientCall>()
  #waiting: (() => void)[] = []
  #connection: Connection | undefined
  #isConnecting = false
  #refusedUntilMs = 0
  #isClosed = false

  constructor(network: SimNetwork, process: SimProcess, address: string, options: grpc.ChannelOptions) {
    this.#network = network
    this.#process = process
    this.#address = address
    this.#keepaliveMs = (options['grpc.keepalive_time_ms'] ?? 1e9) + (options['grpc.keepalive_timeout_ms'] ?? 20_000)
  }

  makeUnaryRequest(
    path: string,
    serialize: (request: unknown) => Buffer,
    deserialize: (bytes: Buffer) => unknown,
    request: unknown,
    ...rest: readonly unknown[]
  ): ClientCall {
    const callback = rest.at(-1) as (error: grpc.ServiceError | null, response?: unknown) => void
    const metadata = rest.find((one) => one instanceof grpc.Metadata) ?? new grpc.Metadata()
    const { deadline } = (rest.at(-2) ?? {}) as { deadline?: number }
    let response: unknown
    const call = this.#open(path, serialize, metadata, {
      received: (bytes) => {
        response = deserialize(bytes)
      },
      over: (status) => {
        callback(status.code === grpc.status.OK ? null : errorOf(status), response)
        call.emit('status', status)
      },
    })
    if (deadline !== undefined) call.limit(deadline - this.#process.clock.now())
    call.write(request)
    call.end()
    return call
  }

  makeBidiStreamRequest(path: string, serialize: (request: unknown) => Buffer, deserialize: (bytes: Buffer) => unknown): ClientCall {
    const call = this.#open(path, serialize, new grpc.Metadata(), {
      received: (bytes) => void call.emit('data', deserialize(bytes)),
      over: (status) => {
        if (status.code === grpc.status.OK) call.emit('end')
        else call.emit('error', errorOf(status))
        call.emit('close')
      },
    })
    return call
  }

  makeClientStreamRequest(
    path: string,
    serialize: (request: unknown) => Buffer,
    deserialize: (bytes: Buffer) => unknown,
    callback: (error: grpc.ServiceError | null, response?: unknown) => void,
  ): ClientCall {
    let response: unknown
    return this.#open(path, serialize, new grpc.Metadata(), {
      received: (bytes) => {
        response = deserialize(bytes)
      },
      over: (status) => callback(status.code === grpc.status.OK ? null : errorOf(status), response),
    })
  }

  /** Calls under way go on, as with grpc-js. */
  close(): void {
    this.#isClosed = true
    if (this.#calls.size === 0) this.#connection?.close()
  }

  #open(path: string, serialize: (request: unknown) => Buffer, metadata: grpc.Metadata, told: CallEvents): ClientCall {
    const call: ClientCall = new ClientCall(this.#process, serialize, {
      received: told.received,
      over: (status) => {
        this.#calls.delete(call)
        call.emit('over')
        told.over(status)
        if (this.#isClosed && this.#calls.size === 0) this.#connection?.close()
      },
    })
    this.#calls.add(call)
    this.#whenConnected(call, () => this.#start(path, metadata, call))
    return call
  }

  #start(path: string, metadata: grpc.Metadata, call: ClientCall): void {
    const connection = this.#connection
    if (connection === undefined || call.isOver) return
    const server = connection.listener as SimGrpcServer
    const ours = this.#process.host
    const theirs = server.process.host
    const ask = (go: () => void): void => this.#network.pass({ from: ours, to: theirs, path, isAnswer: false }, go)
    const answer = (go: () => void): void => this.#network.pass({ from: theirs, to: ours, path, isAnswer: true }, go)
    const begin = (): void => {
      const begun = server.begin(path, {
        connection,
        metadata,
        authority: this.#address,
        toClient: (bytes, arrive) => answer(() => connection.send('toClient', bytes, () => arrive(call))),
      })
      if (begun === undefined) {
        const status = {
          code: grpc.status.UNAVAILABLE,
          details: 'No connection established. The server is going away',
          metadata: new grpc.Metadata(),
        }
        connection.send('toClient', 0, () => call.over(status))
        return
      }
      call.reached(begun)
      server.handle(path, begun)
    }
    ask(() => connection.send('toServer', 0, begin))
    call.connected(connection, ask)
  }

  #whenConnected(call: ClientCall, connected: () => void): void {
    if (this.#connection?.isOpen === true) {
      connected()
      return
    }
    const { time } = this.#network
    if (time.nowMs < this.#refusedUntilMs) {
      this.#process.timers.nextTurn(() => call.over(refused(this.#address)))
      return
    }
    this.#waiting.push(connected)
    if (!this.#isConnecting) this.#connect()
  }

  #connect(): void {
    this.#isConnecting = true
    const [host = ''] = this.#address.split(':')
    const { timers } = this.#process
    timers.after(2 * this.#network.delay(), () => {
      if (this.#network.isCut(this.#process.host, host) || this.#network.isCut(host, this.#process.host)) {
        timers.after(CONNECT_RETRY_MS, () => this.#connect())
        return
      }
      this.#isConnecting = false
      const listener = this.#network.listenerAt(this.#address)
      if (listener === undefined) {
        this.#refusedUntilMs = this.#network.time.nowMs + BACKOFF_MS
        this.#waiting = []
        for (const call of [...this.#calls]) call.over(refused(this.#address))
        return
      }
      const connection: Connection = new Connection(this.#network, this.#process, listener, this.#keepaliveMs, {
        lost: (reason) => {
          if (this.#connection === connection) this.#connection = undefined
          for (const call of [...this.#calls]) call.over(unavailable(`Connection dropped: ${reason}`))
        },
      })
      this.#connection = connection
      for (const connected of this.#waiting.splice(0)) connected()
    })
  }
}

function refused(address: string): Status {
  return unavailable(`No connection established. Last error: connect ECONNREFUSED ${address}`)
}

function errorOf({ code, details, metadata }: Status): grpc.ServiceError {
  return Object.assign(new Error(`${code} ${grpc.status[code]}: ${details}`), { code, details, metadata })
}
