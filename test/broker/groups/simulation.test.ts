import { describe, expect, it } from 'vitest'
import type { Mistakes } from './sim-coordinator.ts'
import { keyOf } from './sim-coordinator.ts'
import { SimWorld } from './sim-world.ts'

const FAULT_MS = 60_000
const SEEDS = 40

/** Why the seed fails, if it does. */
async function problemOf(seed: number, mistakes: Mistakes = {}): Promise<string | undefined> {
  const world = new SimWorld(seed, mistakes)
  try {
    await world.play(FAULT_MS)
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

describe('a group whatever happens', () => {
  it.each(Array.from({ length: SEEDS }, (_, index) => index + 1))('keeps its promises (seed %i)', async (seed) => {
    const world = new SimWorld(seed)
    await world.play(FAULT_MS)
    expect(world.acknowledgedCount).toBeGreaterThan(0)
    expect(world.takeoverCount).toBeGreaterThan(0)
  })
})

describe('a run', () => {
  it('depends on nothing but its seed', async () => {
    const runs = [new SimWorld(7), new SimWorld(7)]
    for (const world of runs) await world.play(FAULT_MS)
    const [one, other] = runs.map(({ eventCount, acknowledgedCount, takeoverCount }) => ({ eventCount, acknowledgedCount, takeoverCount }))
    expect(other).toEqual(one)
  })
})

/** Each is a mistake a coordinator could make, and has to be found. */
const MISTAKES: Readonly<Record<string, Mistakes>> = {
  'M28: commits are not fenced': {
    commit: (commit, state) => {
      const key = keyOf(commit)
      const holder = [...state.members.values()].find(({ held }) => held.has(key))
      const assignedEpoch = holder?.held.get(key)?.assigned ?? 0
      return {
        ...commit,
        memberId: holder?.memberId ?? commit.memberId,
        partitions: commit.partitions.map((one) => ({ ...one, assignedEpoch })),
      }
    },
  },
  'partitions are given away before they are let go of': {
    beat: (beat, state) => ({ ...beat, memberEpoch: state.members.get(beat.memberId)?.epoch ?? beat.memberEpoch, owned: new Set() }),
  },
  'late heartbeats count as letting go': {
    beat: (beat, state) => ({ ...beat, memberEpoch: state.members.get(beat.memberId)?.epoch ?? beat.memberEpoch }),
  },
  'late commits take an offset back': { commit: (commit) => ({ ...commit, mayGoBack: true }) },
  'answers do not wait for their commit': { isHasty: true },
  'a new coordinator takes members for silent too early': { forgetsGrace: true },
}

describe('the simulation', () => {
  it.each(Object.entries(MISTAKES))('finds that %s', async (_, mistakes) => {
    for (let seed = 1; seed <= 200; seed++) if ((await problemOf(seed, mistakes)) !== undefined) return
    expect.fail('200 seeds, and nothing was noticed')
  })
})
