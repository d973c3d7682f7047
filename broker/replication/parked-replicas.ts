/** Fetches of followers that wait for records: woken when the log has written something, or when there is nothing to wait for any more. */
export class ParkedReplicas {
  readonly #wakes = new Set<() => void>()
  /** What they have been told of. */
  #offeredOffset = -1

  add(wake: () => void): void {
    this.#wakes.add(wake)
  }

  delete(wake: () => void): void {
    this.#wakes.delete(wake)
  }

  /** The log is written up to `offset` now. */
  written(offset: number): void {
    if (offset === this.#offeredOffset) return
    this.#offeredOffset = offset
    this.wakeAll()
  }

  wakeAll(): void {
    for (const wake of [...this.#wakes]) wake()
  }
}
