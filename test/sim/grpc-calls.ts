/** One call of the simulated gRPC, at its two ends. Messages cross as bytes, through the codecs of the contract. */
import { EventEmitter } from 'node:events'
import * as grpc from '@grpc/grpc-js'
import type { Connection } from './network.ts'
import type { SimProcess } from './process.ts'

export type Definition = grpc.MethodDefinition<unknown, unknown>

export interface Status {
  readonly code: number
  readonly details: string
  readonly metadata: grpc.Metadata
}

/** What a call comes to. */
export interface CallEvents {
  received(bytes: Buffer): void
  over(status: Status): void
}

const OK: Status = { code: grpc.status.OK, details: 'OK', metadata: new grpc.Metadata() }

/** Whose call it is. */
interface CallHost {
  readonly process: SimProcess
  over(call: ServerCall): void
}

/** One call at the server: the face of all four kinds of calls of grpc-js. */
export class ServerCall extends EventEmitter {
  readonly connection: Connection
  readonly metadata: grpc.Metadata
  request: unknown
  cancelled = false
  destroyed = false
  readonly #server: CallHost
  readonly #definition: Definition
  readonly #authority: string
  readonly #toClient: (bytes: number, arrive: (client: ClientCall) => void) => void
  #isPaused = false
  #isOver = false
  readonly #unread: (() => void)[] = []
  readonly #unwritten = new Set<() => void>()

  constructor(parts: {
    readonly server: CallHost
    readonly definition: Definition
    readonly connection: Connection
    readonly metadata: grpc.Metadata
    readonly authority: string
    readonly toClient: (bytes: number, arrive: (client: ClientCall) => void) => void
  }) {
    super()
    this.#server = parts.server
    this.#definition = parts.definition
    this.connection = parts.connection
    this.metadata = parts.metadata
    this.#authority = parts.authority
    this.#toClient = parts.toClient
    this.on('error', (error: Partial<grpc.ServiceError>) => this.#finish(statusOf(error)))
  }

  readonly callback = (error: Partial<grpc.ServiceError> | null, response?: unknown, trailers?: grpc.Metadata): void => {
    if (error !== null) {
      this.#finish(statusOf(error))
      return
    }
    const bytes = framed(this.#definition.responseSerialize(response))
    if (!this.#isOver) this.#toClient(bytes.length, (client) => client.received(bytes))
    this.#finish({ ...OK, metadata: trailers ?? OK.metadata })
  }

  /** The request comes in any number of messages. */
  get isStreaming(): boolean {
    return this.#definition.requestStream
  }

  getPeer(): string {
    return this.connection.peer
  }

  getHost(): string {
    return this.#authority
  }

  pause(): this {
    this.#isPaused = true
    return this
  }

  resume(): this {
    this.#isPaused = false
    while (!this.#isPaused) {
      const next = this.#unread.shift()
      if (next === undefined) break
      next()
    }
    return this
  }

  write(message: unknown, written?: () => void): boolean {
    if (this.#isOver) {
      written?.()
      return false
    }
    const bytes = framed(this.#definition.responseSerialize(message))
    const done = (): void => {
      if (this.#unwritten.delete(done)) written?.()
    }
    this.#unwritten.add(done)
    this.#toClient(bytes.length, (client) => {
      this.#server.process.run(done)
      client.received(bytes)
    })
    return true
  }

  end(): this {
    this.#finish(OK)
    return this
  }

  // From the other end.

  received(bytes: Buffer): void {
    this.#read(() => this.emit('data', this.#definition.requestDeserialize(bytes)))
  }

  ended(): void {
    this.#read(() => this.emit('end'))
  }

  /** The client gave up or is gone. */
  abandon(): void {
    if (this.#isOver) return
    this.cancelled = true
    this.emit('cancelled', 'cancelled')
    this.#close()
  }

  #read(take: () => void): void {
    if (this.#isOver) return
    if (this.#isPaused || this.#unread.length > 0) this.#unread.push(take)
    else take()
  }

  #finish(status: Status): void {
    if (this.#isOver) return
    this.#toClient(0, (client) => client.over(status))
    this.#close()
  }

  #close(): void {
    this.#isOver = true
    this.destroyed = true
    this.#server.over(this)
    for (const done of [...this.#unwritten]) done()
    this.emit('close')
  }
}

/** One call at the client. */
export class ClientCall extends EventEmitter {
  readonly #process: SimProcess
  readonly #told: CallEvents
  #isOver = false
  /** What is to be sent before there is a connection. */
  #early: ((server: ServerCall) => void)[] | undefined = []
  #server: ServerCall | undefined
  #connection: Connection | undefined
  #pass: (go: () => void) => void = (go) => go()
  readonly writableLength = 0
  readonly #serialize: (message: unknown) => Buffer

  constructor(process: SimProcess, serialize: (message: unknown) => Buffer, told: CallEvents) {
    super()
    this.#process = process
    this.#serialize = serialize
    this.#told = told
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** The connection is there. Everything that is asked goes through `pass`. */
  connected(connection: Connection, pass: (go: () => void) => void): void {
    this.#connection = connection
    this.#pass = pass
    connection.openCalls++
    this.#flush()
  }

  /** The call has reached the server. */
  reached(server: ServerCall): void {
    this.#server = server
  }

  write(message: unknown): boolean {
    if (this.#isOver) return false
    const bytes = framed(this.#serialize(message))
    this.#send(bytes.length, (server) => server.received(bytes))
    return true
  }

  end(): this {
    this.#send(0, (server) => server.ended())
    return this
  }

  cancel(): void {
    if (this.#isOver) return
    this.#connection?.send('toServer', 0, () => this.#server?.abandon())
    this.#process.timers.nextTurn(() =>
      this.over({ code: grpc.status.CANCELLED, details: 'Cancelled on client', metadata: new grpc.Metadata() }),
    )
  }

  received(bytes: Buffer): void {
    if (!this.#isOver) this.#told.received(bytes)
  }

  over(status: Status): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#early = undefined
    if (this.#connection !== undefined) this.#connection.openCalls--
    this.#told.over(status)
  }

  /** Ends in time, or with DEADLINE_EXCEEDED. */
  limit(remainingMs: number): void {
    const timer = this.#process.timers.after(remainingMs, () => {
      if (this.#isOver) return
      this.#connection?.send('toServer', 0, () => this.#server?.abandon())
      this.over({ code: grpc.status.DEADLINE_EXCEEDED, details: 'Deadline exceeded', metadata: new grpc.Metadata() })
    })
    this.once('over', () => timer.cancel())
  }

  #send(bytes: number, arrive: (server: ServerCall) => void): void {
    if (this.#isOver) return
    const connection = this.#connection
    if (connection === undefined) this.#early?.push(arrive)
    else this.#pass(() => connection.send('toServer', bytes, () => this.#server && arrive(this.#server)))
  }

  #flush(): void {
    for (const arrive of this.#early?.splice(0) ?? []) this.#send(0, arrive)
  }
}

/** As grpc-js does: the one copy behind the head of its frame, of all that it wants of a message. */
function framed(message: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(message.length)
  message.copy(frame, 0)
  return frame
}

function statusOf({ code, details, message, metadata }: Partial<grpc.ServiceError>): Status {
  return { code: code ?? grpc.status.UNKNOWN, details: details ?? message ?? '', metadata: metadata ?? new grpc.Metadata() }
}

export function unavailable(details: string): Status {
  return { code: grpc.status.UNAVAILABLE, details, metadata: new grpc.Metadata() }
}
