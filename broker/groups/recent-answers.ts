/** Answers that cost something, remembered for a moment: whoever asks meanwhile gets the same one. */
import type { Clock } from '../../runtime/runtime.ts'

export class RecentAnswers<Answer> {
  readonly #clock: Clock
  readonly #freshMs: number
  /** The oldest first. */
  readonly #answers = new Map<string, { readonly atMs: number; readonly answer: Promise<Answer> }>()

  constructor(clock: Clock, freshMs: number) {
    this.#clock = clock
    this.#freshMs = freshMs
  }

  get(name: string, ask: () => Promise<Answer>): Promise<Answer> {
    const nowMs = this.#clock.monotonic()
    for (const [old, { atMs }] of this.#answers) {
      if (nowMs - atMs < this.#freshMs) break
      this.#answers.delete(old)
    }
    const present = this.#answers.get(name)
    if (present !== undefined) return present.answer
    const answer = ask()
    this.#answers.set(name, { atMs: nowMs, answer })
    return answer
  }
}
