/** The appends on their way to one follower: how many, how large. A window that the follower's answers free again. */
export class Inflights {
  readonly #maxCount: number
  readonly #maxBytes: number
  /** In the order they were sent; `index` is the last entry of each. */
  #sent: { readonly index: number; readonly bytes: number }[] = []
  #bytes = 0

  constructor(maxCount: number, maxBytes: number) {
    this.#maxCount = maxCount
    this.#maxBytes = maxBytes
  }

  get count(): number {
    return this.#sent.length
  }

  /** One append may be larger than the window, so that it can be sent at all. */
  get isFull(): boolean {
    return this.#sent.length >= this.#maxCount || this.#bytes >= this.#maxBytes
  }

  add(index: number, bytes: number): void {
    this.#sent.push({ index, bytes })
    this.#bytes += bytes
  }

  /** Everything up to and with `index` has arrived. */
  freeUpTo(index: number): void {
    let count = 0
    while (count < this.#sent.length && (this.#sent[count]?.index ?? 0) <= index) this.#bytes -= this.#sent[count++]?.bytes ?? 0
    this.#sent.splice(0, count)
  }

  freeFirst(): void {
    const [first] = this.#sent
    if (first !== undefined) this.freeUpTo(first.index)
  }

  reset(): void {
    this.#sent = []
    this.#bytes = 0
  }
}
