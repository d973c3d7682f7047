import { expect, it } from 'vitest'
import { sumOfFigures, textOfFigures } from '../../scripts/figures.ts'

it('figures of the parts of a run are added up suite by suite', () => {
  const parts = [
    new Map([
      ['simulation', { seeds: 6, failed: 0, events: 1000 }],
      ['chaos', { faults: 20 }],
    ]),
    new Map([['simulation', { seeds: 6, failed: 1, events: 1234 }]]),
  ]
  const sums = sumOfFigures(parts)
  expect([...sums.keys()]).toEqual(['simulation', 'chaos'])
  expect(textOfFigures(sums.get('simulation') ?? {})).toBe('12 seeds, 1 failed, 2,234 events')
  expect(textOfFigures(sums.get('chaos') ?? {})).toBe('20 faults')
})
