import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Assignment, Subscriber } from '../../../broker/groups/assignment.ts'
import { assign, mostNamed } from '../../../broker/groups/assignor.ts'
import { type PartitionKey, partitionKey, partitionOf, topicIdOf } from '../../../broker/groups/partition-keys.ts'
import { idOf } from '../../controller/fixtures.ts'

const T = [idOf(1), idOf(2), idOf(3), idOf(4)] as const

function member(memberId: string, topics: readonly string[] = [T[0]], target: Iterable<PartitionKey> = []): Subscriber {
  return { memberId, name: memberId, topicIds: new Set(topics), target: new Set(target) }
}

function keysOf(topicId: string, from: number, to: number): PartitionKey[] {
  return Array.from({ length: to - from }, (_, index) => partitionKey(topicId, from + index))
}

function sizes(assignment: Assignment): number[] {
  return [...assignment.values()].map(({ size }) => size)
}

/** Partitions that somebody had and does not have any more. */
function movedCount(before: readonly Subscriber[], after: Assignment): number {
  return before.flatMap(({ memberId, target }) => [...target].filter((key) => !after.get(memberId)?.has(key))).length
}

/** Random members over random topics, with what they were meant to have before: some of it theirs alone, some not. */
const groups = fc
  .record({
    counts: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 4 }),
    members: fc.array(fc.record({ topics: fc.uniqueArray(fc.nat(3), { maxLength: 4 }), seed: fc.nat() }), { minLength: 1, maxLength: 8 }),
    owners: fc.array(fc.nat(9), { minLength: 48, maxLength: 48 }),
  })
  .map(({ counts, members, owners }) => {
    const partitionCounts = new Map(counts.map((count, index) => [T[index] as string, count]))
    const all = [...partitionCounts].flatMap(([topicId, count]) => keysOf(topicId, 0, count))
    const subscribers = members.map(({ topics }, index) =>
      member(
        `m${index}`,
        topics.map((topic) => T[topic] as string),
        all.filter((_, place) => owners[place] === index),
      ),
    )
    return { partitionCounts, subscribers }
  })

function checkComplete(subscribers: readonly Subscriber[], partitionCounts: ReadonlyMap<string, number>, assignment: Assignment): void {
  const seen = new Map<PartitionKey, string>()
  for (const [memberId, keys] of assignment) {
    const { topicIds } = subscribers.find((subscriber) => subscriber.memberId === memberId) as Subscriber
    for (const key of keys) {
      expect(seen.has(key), `${key} belongs to one member`).toBe(false)
      expect(topicIds.has(topicIdOf(key)), `${memberId} subscribes to the topic of ${key}`).toBe(true)
      expect(partitionOf(key)).toBeLessThan(partitionCounts.get(topicIdOf(key)) ?? 0)
      seen.set(key, memberId)
    }
  }
  for (const [topicId, count] of partitionCounts) {
    const isWanted = subscribers.some(({ topicIds }) => topicIds.has(topicId))
    for (const key of keysOf(topicId, 0, count)) expect(seen.has(key), `${key} is assigned`).toBe(isWanted)
  }
}

/** The smallest sum of squared loads: over all ways to give each partition to a subscriber. */
function leastSquares(subscribers: readonly Subscriber[], partitionCounts: ReadonlyMap<string, number>): number {
  const wanted = [...partitionCounts].flatMap(([topicId, count]) => {
    const interested = subscribers.flatMap(({ topicIds }, index) => (topicIds.has(topicId) ? [index] : []))
    return interested.length === 0 ? [] : Array.from({ length: count }, () => interested)
  })
  let states = new Map<string, number[]>([[subscribers.map(() => 0).join(), subscribers.map(() => 0)]])
  for (const interested of wanted) {
    const next = new Map<string, number[]>()
    for (const loads of states.values()) {
      for (const index of interested) {
        const changed = loads.with(index, (loads[index] as number) + 1)
        next.set(changed.join(), changed)
      }
    }
    states = next
  }
  return Math.min(...[...states.values()].map((loads) => loads.reduce((sum, load) => sum + load ** 2, 0)))
}

describe('each assignor', () => {
  it.each(['uniform', 'range'] as const)('%s gives every partition somebody reads to exactly one of its readers', (assignor) => {
    fc.assert(
      fc.property(groups, ({ partitionCounts, subscribers }) => {
        checkComplete(subscribers, partitionCounts, assign(assignor, subscribers, partitionCounts))
      }),
      { numRuns: 2000 },
    )
  })

  it.each(['uniform', 'range'] as const)('%s answers the same whatever the order of the members', (assignor) => {
    fc.assert(
      fc.property(groups, ({ partitionCounts, subscribers }) => {
        const there = assign(assignor, subscribers, partitionCounts)
        const back = assign(assignor, [...subscribers].reverse(), partitionCounts)
        for (const [memberId, keys] of there) expect([...(back.get(memberId) ?? [])].sort()).toEqual([...keys].sort())
      }),
      { numRuns: 500 },
    )
  })

  it('the one most members name counts, and uniform when they are as many', () => {
    expect(mostNamed(['range', 'uniform', 'range'])).toBe('range')
    expect(mostNamed(['range', 'uniform'])).toBe('uniform')
    expect(mostNamed([])).toBe('uniform')
  })
})

describe('uniform', () => {
  it('moves nothing when nothing has changed', () => {
    fc.assert(
      fc.property(groups, ({ partitionCounts, subscribers }) => {
        const first = assign('uniform', subscribers, partitionCounts)
        const again = subscribers.map((subscriber) => ({
          ...subscriber,
          target: first.get(subscriber.memberId) ?? new Set<PartitionKey>(),
        }))
        expect(movedCount(again, assign('uniform', again, partitionCounts))).toBe(0)
      }),
      { numRuns: 1000 },
    )
  })

  it('is as balanced as the subscriptions allow', () => {
    const small = groups.filter(
      ({ partitionCounts, subscribers }) => subscribers.length <= 4 && [...partitionCounts.values()].reduce((a, b) => a + b) <= 12,
    )
    fc.assert(
      fc.property(small, ({ partitionCounts, subscribers }) => {
        const loads = sizes(assign('uniform', subscribers, partitionCounts))
        expect(loads.reduce((sum, load) => sum + load ** 2, 0)).toBe(leastSquares(subscribers, partitionCounts))
      }),
      { numRuns: 300 },
    )
  })

  it('differs by one at most among members with the same topics, and moves no more than that takes', () => {
    const alike = groups.map(({ partitionCounts, subscribers }) => {
      const topicIds = new Set(partitionCounts.keys())
      return { partitionCounts, subscribers: subscribers.map((subscriber) => ({ ...subscriber, topicIds })) }
    })
    fc.assert(
      fc.property(alike, ({ partitionCounts, subscribers }) => {
        const total = [...partitionCounts.values()].reduce((a, b) => a + b)
        const after = assign('uniform', subscribers, partitionCounts)
        const least = Math.floor(total / subscribers.length)
        for (const size of sizes(after)) expect(size === least || size === Math.ceil(total / subscribers.length)).toBe(true)
        // Those who have most keep one more, as many of them as there are shares with one more.
        const had = subscribers.map(({ target }) => target.size).sort((a, b) => b - a)
        const needed = had.reduce((sum, size, place) => sum + Math.max(0, size - least - (place < total % subscribers.length ? 1 : 0)), 0)
        expect(movedCount(subscribers, after)).toBe(needed)
      }),
      { numRuns: 2000 },
    )
  })

  it('gives the surplus members nothing', () => {
    const subscribers = Array.from({ length: 15 }, (_, index) => member(`m${String(index).padStart(2, '0')}`))
    const loads = sizes(assign('uniform', subscribers, new Map([[T[0], 12]])))
    expect(loads.filter((load) => load === 0)).toHaveLength(3)
  })

  it('relieves a member by way of another that reads what the last one cannot', () => {
    const partitionCounts = new Map([
      [T[0], 2],
      [T[1], 2],
    ])
    const subscribers = [
      member('a', [T[0]], keysOf(T[0], 0, 2)),
      member('b', [T[0], T[1]], [partitionKey(T[1], 0)]),
      member('c', [T[1]], []),
      member('d', [T[1]], [partitionKey(T[1], 1)]),
    ]
    expect(sizes(assign('uniform', subscribers, partitionCounts))).toEqual([1, 1, 1, 1])
  })
})

describe('range', () => {
  it('gives the same numbers of several topics to the same member', () => {
    const partitionCounts = new Map([
      [T[0], 7],
      [T[1], 7],
    ])
    const assignment = assign('range', [member('a', [T[0], T[1]]), member('b', [T[0], T[1]]), member('c', [T[0], T[1]])], partitionCounts)
    expect(
      [...assignment.values()].map((keys) => [...keys].map((key) => `${T.indexOf(topicIdOf(key) as never)}/${partitionOf(key)}`)),
    ).toEqual([
      ['0/0', '0/1', '0/2', '1/0', '1/1', '1/2'],
      ['0/3', '0/4', '1/3', '1/4'],
      ['0/5', '0/6', '1/5', '1/6'],
    ])
  })

  it('goes by the name that outlives a restart', () => {
    const named = (memberId: string, name: string): Subscriber => ({ ...member(memberId), name })
    const before = assign('range', [named('x', 'first'), named('y', 'second')], new Map([[T[0], 4]]))
    const after = assign('range', [named('z', 'first'), named('y', 'second')], new Map([[T[0], 4]]))
    expect(after.get('z')).toEqual(before.get('x'))
    expect(after.get('y')).toEqual(before.get('y'))
  })
})
