import { describe, expect, it } from 'vitest'
import { parseOffsetRange } from '../../cli/consume-offset.ts'

const NOW_MS = 1_800_000_000_000
const DAY = Date.parse('2026-11-20')
const range = (text: string) => parseOffsetRange(text, NOW_MS)
const time = (timestampMs: number) => ({ kind: 'time', timestampMs })
const at = (offset: bigint) => ({ kind: 'absolute', offset })

describe('an offset range', () => {
  it.each([
    ['start', { kind: 'start' }, undefined],
    ['end', { kind: 'end' }, undefined],
    ['5', at(5n), undefined],
    ['0', at(0n), undefined],
    ['9007199254740993', at(9007199254740993n), undefined],
    ['+5', { kind: 'afterStart', count: 5 }, undefined],
    ['-5', { kind: 'beforeEnd', count: 5 }, undefined],
    ['5:10', at(5n), at(10n)],
    [':10', { kind: 'start' }, at(10n)],
    [':end', { kind: 'start' }, { kind: 'end' }],
    ['5:', at(5n), { kind: 'end' }],
    ['-5:end', { kind: 'beforeEnd', count: 5 }, { kind: 'end' }],
    ['start:+3', { kind: 'start' }, { kind: 'afterStart', count: 3 }],
    ['@1700000000000', time(1_700_000_000_000), undefined],
    ['@1700000000', time(1_700_000_000_000), undefined],
    ['@2026-11-20', time(DAY), undefined],
    ['@2026-11-20T10:00:00Z', time(DAY + 36_000_000), undefined],
    ['@2026-11-20T10:00:00.500+02:00', time(DAY + 28_800_500), undefined],
    ['@2026-11-20T10:00Z:2026-11-20T11:00Z', time(DAY + 36_000_000), time(DAY + 39_600_000)],
    ['@2026-11-20:2026-11-21', time(DAY), time(DAY + 86_400_000)],
    ['@1700000000:1700000060', time(1_700_000_000_000), time(1_700_000_060_000)],
    ['@-1h', time(NOW_MS - 3_600_000), undefined],
    ['@-1h:end', time(NOW_MS - 3_600_000), { kind: 'end' }],
    ['@-2h:-90m', time(NOW_MS - 7_200_000), time(NOW_MS - 5_400_000)],
    ['@:-1h', { kind: 'start' }, time(NOW_MS - 3_600_000)],
  ])('%s', (text, from, to) => {
    expect(range(text)).toEqual({ from, to })
  })

  it.each([
    'beginning',
    '5..10',
    '1.5',
    '--5',
    '5:10:15',
    '+',
    '@yesterday',
    '@-soon',
    '@2026-13-40',
    ' 5',
    '5:2',
    '+5:+2',
    '-2:-5',
    '@-1h:-2h',
  ])('%j is refused, naming it', (text) => {
    expect(() => range(text)).toThrow(expect.objectContaining({ code: 'USAGE', message: expect.stringContaining(text.replace(/^@-/, '')) }))
  })
})
