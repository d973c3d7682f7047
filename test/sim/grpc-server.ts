/** A gRPC server of the simulation: what a node adds its services to. No flow control: nothing here is slow enough to need it. */
import type * as grpc from '@grpc/grpc-js'
import type { ServiceHost } from '../../broker/transport/grpc/services.ts'
import { type Definition, ServerCall } from './grpc-calls.ts'
import type { Connection, Listener } from './network.ts'
import type { SimProcess } from './process.ts'

type Handler = (call: unknown, callback: unknown) => void

interface Served {
  readonly definition: Definition
  readonly handler: Handler
}

/** The services of a process at an address. */
export class SimGrpcServer implements ServiceHost, Listener {
  readonly process: SimProcess
  readonly keepaliveMs: number
  readonly #served = new Map<string, Served>()
  readonly #calls = new Set<ServerCall>()
  readonly #gone: (peer: string) => void
  #connectionCount = 0
  isDraining = false
  #drained: (() => void) | undefined

  constructor(process: SimProcess, keepaliveMs: number, gone: (peer: string) => void) {
    this.process = process
    this.keepaliveMs = keepaliveMs
    this.#gone = gone
  }

  addService(service: grpc.ServiceDefinition, implementation: grpc.UntypedServiceImplementation): void {
    for (const [name, definition] of Object.entries(service))
      this.#served.set(definition.path, { definition: definition as Definition, handler: implementation[name] as unknown as Handler })
  }

  /** The number of a connection stands for the port it comes from. */
  accept(host: string): string {
    return `${host}:${++this.#connectionCount}`
  }

  begin(path: string, call: Omit<ConstructorParameters<typeof ServerCall>[0], 'server' | 'definition'>): ServerCall | undefined {
    const served = this.#served.get(path)
    if (served === undefined || this.isDraining) return undefined
    const server = new ServerCall({ ...call, server: this, definition: served.definition })
    this.#calls.add(server)
    return server
  }

  /** A unary call waits for its request, which comes right behind it. */
  handle(path: string, call: ServerCall): void {
    const handle = (): void => this.#served.get(path)?.handler(call, call.callback)
    if (call.isStreaming) handle()
    else
      call.once('data', (request: unknown) => {
        call.request = request
        handle()
      })
  }

  over(call: ServerCall): void {
    this.#calls.delete(call)
    if (this.#calls.size === 0) this.#drained?.()
  }

  closed(connection: Connection): void {
    for (const call of [...this.#calls]) if (call.connection === connection) call.abandon()
    this.#gone(connection.peer)
  }

  /** Resolves when no call is open, after `graceMs` at the latest. */
  async drain(graceMs: number): Promise<void> {
    this.isDraining = true
    if (this.#calls.size === 0) return
    await new Promise<void>((resolve) => {
      const timer = this.process.timers.after(graceMs, resolve)
      this.#drained = () => {
        timer.cancel()
        resolve()
      }
    })
    for (const call of [...this.#calls]) call.abandon()
  }
}
