/** Every state of three Raft cores within bounds: no rule is broken in any of them, and mistakes that are planted are found. */
import { describe, expect, it } from 'vitest'
import { runChild } from './child.ts'
import { RAFT_MISTAKES } from './raft-mistakes.ts'
import { RAFT_SEARCHES, type RaftSearch } from './raft-searches.ts'

/** No test depends on speed: this is for a machine that does much else. */
const PATIENCE_MS = 3_600_000

/** What all searches together have to reach. */
const STATES_MIN = 1_000_000

describe('every state of three Raft cores', () => {
  it(
    'within the bounds keeps the rules of Raft',
    async () => {
      let states = 0
      for (const [name, { about }] of Object.entries<RaftSearch>(RAFT_SEARCHES)) {
        const { outcome, path } = await runChild('raft-search.ts', [name])
        console.log(
          `${name}: ${Number(outcome.states)} distinct states, ${Number(outcome.transitions)} events, ${Number(outcome.depth)} deep (${about})`,
        )
        expect(outcome.rule, `${name}\n${path}`).toBeUndefined()
        expect(outcome.isComplete, `${name}: every state within the bounds was looked at`).toBe(true)
        states += Number(outcome.states)
      }
      console.log(`three Raft cores: ${states} distinct states`)
      expect(states).toBeGreaterThanOrEqual(STATES_MIN)
    },
    PATIENCE_MS,
  )
})

describe('the search', () => {
  it.each(RAFT_MISTAKES)(
    'finds that $name, and the shortest way there',
    async ({ name, search, rule, events }) => {
      const { outcome, path } = await runChild('raft-search.ts', [search, name])
      expect(outcome.rule).toContain(rule)
      expect(path.match(/^\d+\. node \d/gm), path).toHaveLength(events)
    },
    PATIENCE_MS,
  )

  it(
    'misses nothing by taking clusters for the same that differ by the names of their nodes',
    async () => {
      const { outcome } = await runChild('raft-names.ts')
      expect(outcome.symmetric).toBe(outcome.families)
      expect(outcome.all).toBeGreaterThan(5 * Number(outcome.symmetric))
    },
    PATIENCE_MS,
  )
})
