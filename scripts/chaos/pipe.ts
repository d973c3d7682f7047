/** A connection that runs through us, and what holds for each of its directions. */
import { once } from 'node:events'
import type net from 'node:net'

/** One direction between two processes, over all their connections. */
export class Link {
  delayMs = 0
  bytesPerSecond = Number.POSITIVE_INFINITY
  #healed: PromiseWithResolvers<void> | undefined

  cut(): void {
    this.#healed ??= Promise.withResolvers()
  }

  heal(): void {
    this.delayMs = 0
    this.bytesPerSecond = Number.POSITIVE_INFINITY
    this.#healed?.resolve()
    this.#healed = undefined
  }

  /** Resolves when so many bytes have got through. */
  async passes(bytes: number): Promise<void> {
    const waitMs = this.delayMs + (bytes * 1000) / this.bytesPerSecond
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs))
    while (this.#healed !== undefined) await this.#healed.promise
  }
}

function closed(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.destroyed) resolve()
    else socket.on('close', () => resolve())
  })
}

export class Pipe {
  readonly #sockets: readonly [net.Socket, net.Socket]
  /** Bytes that still pass, both ways together, before it is reset. */
  #bytesLeft = Number.POSITIVE_INFINITY
  #isHalfOpen = false
  /** Resolves when both ends are closed. */
  readonly ended: Promise<unknown>

  constructor(near: net.Socket, far: net.Socket, there: Link, back: Link) {
    this.#sockets = [near, far]
    // Not `once`, which rejects when an error comes first.
    this.ended = Promise.all([near, far].map((socket) => closed(socket)))
    this.#carry(near, far, there)
    this.#carry(far, near, back)
  }

  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  /** The node's end is gone, and whoever dialled is not told. */
  leaveHalfOpen(): void {
    this.#isHalfOpen = true
    this.#sockets[1].resetAndDestroy()
  }

  cutAfter(bytes: number): void {
    this.#bytesLeft = bytes
  }

  /** Everything `from` sends goes to `to`, in order, its end too. */
  #carry(from: net.Socket, to: net.Socket, link: Link): void {
    let way = Promise.resolve()
    const next = (step: () => Promise<void> | void): void => {
      way = way.then(step).catch(() => {})
    }
    from.on('data', (chunk: Buffer) => {
      from.pause()
      next(async () => {
        await link.passes(chunk.length)
        await this.#write(to, chunk)
        if (!this.#isHalfOpen || to === this.#sockets[0]) from.resume()
      })
    })
    const close = (): void =>
      next(async () => {
        await link.passes(0)
        if (this.#isHalfOpen && to === this.#sockets[0]) return
        to.destroySoon()
        from.destroySoon()
      })
    from.on('end', close)
    from.on('close', close)
    from.resume()
  }

  async #write(to: net.Socket, chunk: Buffer): Promise<void> {
    if (to.destroyed) return
    const passing = chunk.subarray(0, Math.min(chunk.length, this.#bytesLeft))
    this.#bytesLeft -= passing.length
    const hasRoom = to.write(passing)
    if (passing.length < chunk.length) {
      await new Promise((resolve) => to.write('', resolve))
      this.reset()
    } else if (!hasRoom) await Promise.race([once(to, 'drain'), once(to, 'close')])
  }
}
