/** The search itself, on models whose states can be counted by hand. */
import { describe, expect, it } from 'vitest'
import { type Model, search } from './breadth-first.ts'

const NO_LIMIT = 1_000_000

/** Points from (0, 0) on, one step right or up, up to `max`; `isWrong` breaks a rule. */
function grid(max: number, isWrong: (x: number, y: number) => boolean = () => false): Model {
  return {
    roots: [[0, 0]],
    canonical: (state) => state,
    expand([x = 0, y = 0], reach) {
      if (x < max) reach(0, [x + 1, y])
      if (y < max) reach(1, [x, y + 1])
    },
    violation: ([x = 0, y = 0]) => (isWrong(x, y) ? 'that is wrong' : undefined),
    describeEvent: (event) => (event === 0 ? 'right' : 'up'),
    describeState: (state) => state.join(),
  }
}

describe('a search', () => {
  it('looks at each state once, however it is reached', () => {
    expect(search(grid(299), NO_LIMIT)).toEqual({
      states: 300 * 300,
      transitions: 2 * 299 * 300,
      depth: 2 * 299,
      isComplete: true,
      violation: undefined,
    })
  })

  it('says that it is not complete when it had to stop', () => {
    const outcome = search(grid(299), 1000)
    expect(outcome.isComplete).toBe(false)
    expect(outcome.states).toBeGreaterThanOrEqual(1000)
    expect(outcome.states).toBeLessThan(1010)
  })

  it('finds a shortest way to what is wrong', () => {
    const { violation } = search(
      grid(299, (x, y) => x + 2 * y >= 5),
      NO_LIMIT,
    )
    expect(violation?.rule).toBe('that is wrong')
    expect(violation?.path.filter((line) => /^\d/.test(line) && line.includes('.'))).toEqual(['1. right', '2. up', '3. up'])
  })

  it('finds an event that is wrong, wherever it leads', () => {
    const model = grid(9)
    const { violation } = search(
      {
        ...model,
        expand(state, reach) {
          model.expand(state, (event, next) => reach(event, next, event === 1 && state[0] === 2 ? 'never up from there' : undefined))
        },
      },
      NO_LIMIT,
    )
    expect(violation).toEqual({ rule: 'never up from there', path: ['0,0', '1. right', '1,0', '2. right', '2,0', '3. up', '2,1'] })
  })

  it('takes states for one that need not be told apart, and shows a way without changing names', () => {
    const mirrored: Model = { ...grid(99, (x, y) => x === 0 && y === 2), canonical: ([x = 0, y = 0]) => (x > y ? [y, x] : [x, y]) }
    const { states, violation } = search(mirrored, NO_LIMIT)
    expect(search({ ...mirrored, violation: () => undefined }, NO_LIMIT).states).toBe((100 * 101) / 2)
    expect(states).toBeLessThan(10)
    expect(violation?.path).toEqual(['0,0', '1. right', '1,0', '2. right', '2,0'])
  })
})
