/** Asks somebody about whatever is wanted: soon after something is, never twice at a time, again as long as anything is left. */
import type { Timer, Timers } from '../../runtime/runtime.ts'

export class OneAtATime {
  readonly #timers: Pick<Timers, 'after'>
  readonly #ask: () => Promise<number | undefined>
  #isAsking = false
  #later: Timer | undefined
  #isClosed = false

  /** `ask` must not reject; resolves with how many milliseconds later it is to be called again, undefined when nothing is left. */
  constructor(timers: Pick<Timers, 'after'>, ask: () => Promise<number | undefined>) {
    this.#timers = timers
    this.#ask = ask
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Something is wanted. While `ask` is under way it sees to that itself, afterwards. */
  soon(delayMs = 0): void {
    if (this.#isClosed || this.#isAsking || this.#later !== undefined) return
    this.#later = this.#timers.after(delayMs, () => {
      this.#later = undefined
      void this.#run()
    })
  }

  close(): void {
    this.#isClosed = true
    this.#later?.cancel()
  }

  async #run(): Promise<void> {
    if (this.#isClosed) return
    this.#isAsking = true
    const againMs = await this.#ask()
    this.#isAsking = false
    if (againMs !== undefined) this.soon(againMs)
  }
}
