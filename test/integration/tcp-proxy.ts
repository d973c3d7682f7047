/** A TCP proxy that cuts connections: the network between a client and a node. */
import { once } from 'node:events'
import net from 'node:net'

export class TcpProxy {
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()
  #targetPort: number
  /** Bytes that still pass towards the node before the connection is cut. */
  #cutAfterBytes = Number.POSITIVE_INFINITY
  #isSwallowing = false

  readonly #heard: (chunk: Buffer) => void

  private constructor(targetPort: number, heard: (chunk: Buffer) => void) {
    this.#targetPort = targetPort
    this.#heard = heard
    this.#server = net.createServer((socket) => this.#relay(socket))
  }

  /** `heard` is told of everything that passes, either way. */
  static async start(targetPort: number, heard: (chunk: Buffer) => void = () => {}): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort, heard)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port
  }

  set targetPort(port: number) {
    this.#targetPort = port
  }

  /** Answers of the node do not get through, until the connections are cut. */
  swallowAnswers(): void {
    this.#isSwallowing = true
  }

  /** Cuts every connection now. */
  cut(): void {
    this.#isSwallowing = false
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Cuts every connection once so many more bytes went towards the node. */
  cutAfter(bytes: number): void {
    this.#cutAfterBytes = bytes
  }

  async close(): Promise<void> {
    this.cut()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #relay(client: net.Socket): void {
    const node = net.connect(this.#targetPort, '127.0.0.1')
    for (const socket of [client, node]) {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#sockets.delete(socket)
        client.destroy()
        node.destroy()
      })
    }
    client.on('data', (chunk: Buffer) => {
      this.#heard(chunk)
      if (chunk.length >= this.#cutAfterBytes) {
        node.write(chunk.subarray(0, this.#cutAfterBytes), () => this.cut())
        this.#cutAfterBytes = Number.POSITIVE_INFINITY
        return
      }
      this.#cutAfterBytes -= chunk.length
      node.write(chunk)
    })
    node.on('data', (chunk: Buffer) => {
      this.#heard(chunk)
      if (!this.#isSwallowing) client.write(chunk)
    })
  }
}
