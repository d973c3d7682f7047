import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { placeReplicas } from '../../controller/placement.ts'

function nodesOf(racks: readonly string[]) {
  return racks.map((rack, index) => ({ nodeId: index + 1, rack }))
}

/** Most minus fewest. */
function spread(nodeIds: readonly number[], nodeCount: number): number {
  const counts = Array.from({ length: nodeCount }, (_, index) => nodeIds.filter((nodeId) => nodeId === index + 1).length)
  return Math.max(...counts) - Math.min(...counts)
}

describe('placeReplicas', () => {
  it('spreads leaders and replicas evenly within one, each partition on different nodes, wherever it starts', () => {
    const cases = fc
      .integer({ min: 1, max: 12 })
      .chain((nodeCount) =>
        fc.tuple(fc.constant(nodeCount), fc.integer({ min: 1, max: nodeCount }), fc.integer({ min: 0, max: 60 }), fc.nat(1000)),
      )
    fc.assert(
      fc.property(cases, ([nodeCount, replicas, partitionCount, start]) => {
        const placed = placeReplicas(nodesOf(Array(nodeCount).fill('')), partitionCount, replicas, start)
        expect(placed).toHaveLength(partitionCount)
        for (const nodeIds of placed) expect(new Set(nodeIds).size).toBe(replicas)
        expect(
          spread(
            placed.map(([leader]) => leader as number),
            nodeCount,
          ),
        ).toBeLessThanOrEqual(1)
        expect(spread(placed.flat(), nodeCount)).toBeLessThanOrEqual(1)
      }),
    )
  })

  it('puts the replicas of a partition on as many racks as there are, and still spreads leaders within one', () => {
    const racks = fc.array(fc.constantFrom('a', 'b', 'c', ''), { minLength: 1, maxLength: 10 })
    const cases = racks.chain((names) =>
      fc.tuple(fc.constant(names), fc.integer({ min: 1, max: names.length }), fc.integer({ min: 1, max: 40 }), fc.nat(100)),
    )
    fc.assert(
      fc.property(cases, ([names, replicas, partitionCount, start]) => {
        const placed = placeReplicas(nodesOf(names), partitionCount, replicas, start)
        for (const nodeIds of placed) {
          expect(new Set(nodeIds).size).toBe(replicas)
          expect(new Set(nodeIds.map((nodeId) => names[nodeId - 1])).size).toBe(Math.min(replicas, new Set(names).size))
        }
        expect(
          spread(
            placed.map(([leader]) => leader as number),
            names.length,
          ),
        ).toBeLessThanOrEqual(1)
      }),
    )
  })

  it('keeps replicas even within two over racks of one size', () => {
    const cases = fc
      .tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 }))
      .chain(([rackCount, rackSize]) =>
        fc.tuple(
          fc.constant(rackCount),
          fc.constant(rackSize),
          fc.integer({ min: 1, max: rackCount * rackSize }),
          fc.integer({ min: 1, max: 60 }),
        ),
      )
    fc.assert(
      fc.property(cases, ([rackCount, rackSize, replicas, partitionCount]) => {
        const nodes = nodesOf(Array.from({ length: rackCount * rackSize }, (_, index) => `rack${index % rackCount}`))
        expect(spread(placeReplicas(nodes, partitionCount, replicas, 0).flat(), nodes.length)).toBeLessThanOrEqual(2)
      }),
    )
  })

  it('does not depend on the order in which the nodes are given', () => {
    const nodes = nodesOf(['a', 'b', 'a', 'c', 'b'])
    expect(placeReplicas([...nodes].reverse(), 7, 3, 2)).toEqual(placeReplicas(nodes, 7, 3, 2))
  })

  it('starts on another node for another start', () => {
    const nodes = nodesOf(['', '', ''])
    expect([0, 1, 2, 3].map((start) => placeReplicas(nodes, 1, 1, start)[0]?.[0])).toEqual([1, 2, 3, 1])
  })

  it('takes more replicas than nodes for a mistake of its caller', () => {
    expect(() => placeReplicas(nodesOf(['']), 1, 2, 0)).toThrow('there are as many nodes as replicas')
    expect(() => placeReplicas([], 1, 1, 0)).toThrow('there are as many nodes as replicas')
  })
})
