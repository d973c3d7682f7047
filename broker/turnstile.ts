/** Lets so many in at the same time; the others wait in line. */
export class Turnstile {
  readonly #countMax: number
  #count = 0
  readonly #line: (() => void)[] = []

  constructor(countMax: number) {
    this.#countMax = countMax
  }

  async enter(): Promise<void> {
    if (this.#count >= this.#countMax) await new Promise<void>((resolve) => this.#line.push(resolve))
    this.#count++
  }

  leave(): void {
    this.#count--
    this.#line.shift()?.()
  }
}
