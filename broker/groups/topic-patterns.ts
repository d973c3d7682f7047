/**
 * Topics by regular expression, in the syntax of RE2: matching takes time in proportion to the text and the size of the expression, never more. An
 * expression that is large all the same is refused. What matched is remembered.
 *
 * The engine is loaded when the first expression is used.
 */
import { TidemarkError } from '../../protocol/errors.ts'
import { invariant } from '../../runtime/invariant.ts'

/** In characters. */
export const PATTERN_LENGTH_MAX = 256

/** Instructions of the compiled expression: a name of 249 characters is then matched within a millisecond. */
const PROGRAM_SIZE_MAX = 1000

/** Expressions kept compiled. */
const PATTERNS_MAX = 1000

/** Answers remembered of one expression. */
const ANSWERS_MAX = 100_000

type Engine = typeof import('re2js').RE2JS

interface Matcher {
  readonly isMatch: (name: string) => boolean
  readonly answers: Map<string, boolean>
}

export class TopicPatterns {
  #engine: Engine | undefined
  /** The one used longest ago first. */
  readonly #matchers = new Map<string, Matcher>()

  /** To be awaited before the first expression is used. */
  async load(): Promise<void> {
    this.#engine ??= (await import('re2js')).RE2JS
  }

  /** Throws `INVALID_REGULAR_EXPRESSION`. */
  check(pattern: string): void {
    this.#matcher(pattern)
  }

  matches(pattern: string, name: string): boolean {
    const { isMatch, answers } = this.#matcher(pattern)
    const known = answers.get(name)
    if (known !== undefined) return known
    if (answers.size >= ANSWERS_MAX) answers.clear()
    const answer = isMatch(name)
    answers.set(name, answer)
    return answer
  }

  #matcher(pattern: string): Matcher {
    const present = this.#matchers.get(pattern)
    const matcher = present ?? this.#compile(pattern)
    this.#matchers.delete(pattern)
    this.#matchers.set(pattern, matcher)
    const [oldest] = this.#matchers.keys()
    if (this.#matchers.size > PATTERNS_MAX && oldest !== undefined) this.#matchers.delete(oldest)
    return matcher
  }

  #compile(pattern: string): Matcher {
    invariant(this.#engine !== undefined, 'the engine is loaded before the first expression is used')
    if (pattern.length > PATTERN_LENGTH_MAX)
      throw invalid(pattern, `has ${pattern.length} characters, at most ${PATTERN_LENGTH_MAX} are allowed`)
    try {
      const compiled = this.#engine.compile(pattern)
      if (compiled.programSize() > PROGRAM_SIZE_MAX) throw invalid(pattern, 'is too large: use fewer repetitions')
      return { isMatch: (name) => compiled.matches(name), answers: new Map() }
    } catch (error) {
      if (TidemarkError.is(error)) throw error
      throw invalid(pattern, error instanceof Error ? error.message : String(error))
    }
  }
}

function invalid(pattern: string, problem: string): TidemarkError {
  return new TidemarkError('INVALID_REGULAR_EXPRESSION', `${JSON.stringify(pattern.slice(0, PATTERN_LENGTH_MAX))}: ${problem}`)
}
