import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { crc32c } from '../../protocol/crc32c.ts'
import { readVarint, varintSize, writeVarint } from '../../protocol/varint.ts'

describe('variable-length integers', () => {
  it.each([
    [0, '00'],
    [-1, '01'],
    [1, '02'],
    [63, '7e'],
    [-64, '7f'],
    [64, '8001'],
    [300, 'd804'],
    [-(2 ** 31), 'ffffffff0f'],
    [Number.MAX_SAFE_INTEGER, 'feffffffffffff1f'],
    [-Number.MAX_SAFE_INTEGER, 'fdffffffffffff1f'],
  ])('%d is %s', (value, hex) => {
    const buffer = Buffer.alloc(10)
    const end = writeVarint(buffer, value, 0)
    expect(buffer.toString('hex', 0, end)).toBe(hex)
    expect(varintSize(value)).toBe(end)
    expect(readVarint({ buffer, position: 0, end })).toBe(value)
  })

  it('of any safe size come back, in as many bytes as announced', () => {
    const near = fc
      .tuple(
        fc.constantFrom(2 ** 6, 2 ** 13, 2 ** 20, 2 ** 27, 2 ** 30, 2 ** 34, 2 ** 41, 2 ** 48),
        fc.integer({ min: -2, max: 2 }),
        fc.boolean(),
      )
      .map(([power, offset, isNegative]) => (isNegative ? -(power + offset) : power + offset))
    fc.assert(
      fc.property(fc.oneof(fc.maxSafeInteger(), near), (value) => {
        const buffer = Buffer.alloc(10)
        const end = writeVarint(buffer, value, 0)
        expect(end).toBe(varintSize(value))
        // `+ 0`: the shrinker likes -0, which is written as 0.
        expect(readVarint({ buffer, position: 0, end })).toBe(value + 0)
      }),
      { numRuns: 2000 },
    )
  })

  it.each(['ffffffffffffff1f', 'feffffffffffff3f', 'feffffffffffff9f00'])('%s is too large or too long', (hex) => {
    const buffer = Buffer.from(hex, 'hex')
    expect(() => readVarint({ buffer, position: 0, end: buffer.length })).toThrow(expect.objectContaining({ code: 'CORRUPT_BATCH' }))
  })
})

describe('CRC-32C', () => {
  it.each([
    ['32 zeros', Buffer.alloc(32), 0x8a9136aa],
    ['32 ones', Buffer.alloc(32, 0xff), 0x62a8ab43],
    ['0 to 31', Buffer.from(Array.from({ length: 32 }, (_, index) => index)), 0x46dd794e],
    ['31 to 0', Buffer.from(Array.from({ length: 32 }, (_, index) => 31 - index)), 0x113fdb5c],
    ['nothing', Buffer.alloc(0), 0],
  ])('of %s is the published value', (_what, bytes, checksum) => {
    expect(crc32c(bytes)).toBe(checksum)
  })

  it('is the same from any start to any end, also across several windows', () => {
    const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * index) >>> 7))
    for (const [start, end] of [
      [0, 300_000],
      [1, 299_999],
      [7, 114_695],
      [21, 114_710],
      [100_000, 100_015],
    ] as const) {
      let pieces = 0
      for (let at = start; at < end; at += 9_973) pieces = crc32c(bytes, at, Math.min(at + 9_973, end), pieces)
      expect(crc32c(bytes, start, end)).toBe(pieces)
      expect(crc32c(Buffer.from(bytes.subarray(start, end)))).toBe(pieces)
    }
  })
})
