/** Values that get a number each, the same for those with the same text. */
export class Interned<Value> {
  readonly #numbers = new Map<string, number>()
  readonly #values: Value[] = []

  get count(): number {
    return this.#values.length
  }

  /** `make` is called when the text is new. */
  add(text: string, make: () => Value): number {
    const known = this.#numbers.get(text)
    if (known !== undefined) return known
    this.#numbers.set(text, this.#values.length)
    return this.#values.push(make()) - 1
  }

  get(number: number): Value {
    return this.#values[number] as Value
  }
}
