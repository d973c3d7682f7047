import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SharedMap } from '../../controller/metadata/shared-map.ts'

const key = fc.oneof(fc.constantFrom('a', 'b', 'c'), fc.string())
const change = fc.record({ removed: fc.array(key, { maxLength: 3 }), set: fc.array(fc.tuple(key, fc.nat()), { maxLength: 5 }) })

describe('SharedMap', () => {
  it('is a map, change by change, and every map before stays as it was', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 10 }), fc.array(key), (changes, probes) => {
        let map = SharedMap.empty<number>()
        const model = new Map<string, number>()
        const earlier: { map: SharedMap<number>; entries: Map<string, number> }[] = []
        for (const { removed, set } of changes) {
          earlier.push({ map, entries: new Map(model) })
          map = map.with(removed, set)
          for (const name of removed) model.delete(name)
          for (const [name, value] of set) model.set(name, value)
        }
        for (const { map: before, entries } of [...earlier, { map, entries: model }]) {
          expect(new Map(before)).toEqual(entries)
          expect(before.size).toBe(entries.size)
        }
        for (const name of [...probes, ...model.keys()]) expect([map.has(name), map.get(name)]).toEqual([model.has(name), model.get(name)])
        const visited = new Map<string, number>()
        map.forEach((value, name) => visited.set(name, value))
        expect(visited).toEqual(model)
        expect(new Set(map.keys())).toEqual(new Set(model.keys()))
        expect([...map.values()]).toEqual([...map.keys()].map((name) => model.get(name)))
      }),
    )
  })

  it('is itself when nothing changes', () => {
    const map = SharedMap.empty<number>().with([], [['a', 1]])
    expect(map.with([], [])).toBe(map)
  })
})
