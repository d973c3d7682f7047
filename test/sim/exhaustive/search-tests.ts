/** What is tested of a search: that no rule is broken in any state, and that mistakes are found. */
import { expect, it } from 'vitest'
import { noteFigures } from '../../../scripts/figures.ts'
import { runChild } from './child.ts'
import type { FoundMutant } from './found-mutant.ts'

/** No test depends on speed: this is for a machine that does much else. */
export const PATIENCE_MS = 3_600_000

export interface SearchTests {
  /** Of which the states are. */
  readonly what: string
  /** Under which its figures are noted. */
  readonly suite: string
  /** The command that searches. */
  readonly command: string
  readonly searches: Readonly<Record<string, { readonly about: string }>>
  /** That all searches together have to reach. */
  readonly statesMin: number
  readonly mutants: readonly FoundMutant<string>[]
}

export function testSearches({ what, suite, command, searches, statesMin, mutants }: SearchTests): void {
  it(
    `breaks no rule, and there are at least ${statesMin}`,
    async () => {
      let states = 0
      let events = 0
      for (const [name, { about }] of Object.entries(searches)) {
        const { outcome, path } = await runChild(command, [name])
        console.log(
          `${what}, ${name}: ${Number(outcome.states)} states, ${Number(outcome.transitions)} events, ${Number(outcome.depth)} deep (${about})`,
        )
        expect(outcome.rule, `${name}\n${path}`).toBeUndefined()
        expect(outcome.isComplete, `${name}: every state within the bounds was looked at`).toBe(true)
        states += Number(outcome.states)
        events += Number(outcome.transitions)
      }
      console.log(`${what}: ${states} distinct states`)
      noteFigures(suite, { states, events })
      expect(states).toBeGreaterThanOrEqual(statesMin)
    },
    PATIENCE_MS,
  )

  it.each(mutants)(
    'is searched well enough to find that $what ($id), by the shortest way',
    async ({ id, search, rule, events }) => {
      const { outcome, path } = await runChild(command, [search, id])
      expect(outcome.rule).toContain(rule)
      expect(path.match(/^\d+\. /gm), path).toHaveLength(events)
    },
    PATIENCE_MS,
  )
}
