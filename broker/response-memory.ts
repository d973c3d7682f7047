/**
 * Memory of fetch answers that are read but not yet taken by the socket.
 *
 * A slow consumer costs what its own share allows and no more: a fetch that would read while its
 * connection, or the node as a whole, holds too many unsent bytes waits until some are sent.
 * Fetches wait in the order they came. The bound may be passed by one answer.
 */
export class ResponseMemory {
  readonly maxBytes: number
  readonly #parent: ResponseMemory | undefined
  #usedBytes = 0
  #waiting: (() => void)[] = []
  #isDraining = false

  /** With a parent, room is needed in both. */
  constructor(maxBytes: number, parent?: ResponseMemory) {
    this.maxBytes = maxBytes
    this.#parent = parent
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  get waitingCount(): number {
    return this.#waiting.length
  }

  /** Calls `proceed` now when there is room, else once there is. Whoever proceeds may read one answer. */
  whenRoom(proceed: () => void): void {
    const full = this.#firstFull()
    if (full === undefined) proceed()
    else full.#waiting.push(() => this.whenRoom(proceed))
  }

  take(bytes: number): void {
    this.#usedBytes += bytes
    this.#parent?.take(bytes)
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes
    this.#parent?.release(bytes)
    this.#drain()
  }

  #firstFull(): ResponseMemory | undefined {
    if (this.#usedBytes >= this.maxBytes) return this
    return this.#parent === undefined ? undefined : this.#parent.#firstFull()
  }

  #drain(): void {
    // Those who proceed may release in turn; one loop serves them all.
    if (this.#isDraining) return
    this.#isDraining = true
    try {
      while (this.#waiting.length > 0 && this.#usedBytes < this.maxBytes) {
        const next = this.#waiting.shift()
        next?.()
      }
    } finally {
      this.#isDraining = false
    }
  }
}
