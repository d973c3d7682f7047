import { describe, expect, it } from 'vitest'
import { murmur2, murmur3, partitionForKey } from '../../protocol/partitioner.ts'

describe('the partition of a key', () => {
  it.each([
    ['', 0],
    ['hello', 0x248bfa47],
    ['hello, world', 0x149bbb7f],
    ['The quick brown fox jumps over the lazy dog', 0x2e4ff723],
  ])('murmur3 of %j is the published value', (text, hash) => {
    expect(murmur3(Buffer.from(text)) >>> 0).toBe(hash)
  })

  it.each([
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ])("murmur2 of %j is that of Kafka's clients", (text, hash) => {
    expect(murmur2(Buffer.from(text)) | 0).toBe(hash)
  })

  it('sees the bytes of the key, also those that are no text', () => {
    expect(murmur3(Buffer.from([0xff, 0xfe, 0x80, 0x00]))).not.toBe(murmur3(Buffer.from([0x7f, 0x7e, 0x00, 0x00])))
  })

  it('never changes: records of a key must stay together for ever', () => {
    const golden = Array.from({ length: 12 }, (_, n) => [
      partitionForKey('murmur3', Buffer.from(`key-${n}`), 12),
      partitionForKey('murmur2', Buffer.from(`key-${n}`), 12),
    ])
    expect(golden).toMatchInlineSnapshot(`
      [
        [
          11,
          1,
        ],
        [
          4,
          0,
        ],
        [
          4,
          2,
        ],
        [
          2,
          11,
        ],
        [
          10,
          9,
        ],
        [
          10,
          8,
        ],
        [
          10,
          8,
        ],
        [
          8,
          7,
        ],
        [
          4,
          7,
        ],
        [
          8,
          9,
        ],
        [
          4,
          2,
        ],
        [
          4,
          1,
        ],
      ]
    `)
  })

  it('spreads keys evenly', () => {
    for (const partitioner of ['murmur3', 'murmur2'] as const) {
      const counts = Array.from({ length: 10 }, () => 0)
      for (let n = 0; n < 10_000; n++) counts[partitionForKey(partitioner, Buffer.from(`user-${n}`), 10)]!++
      expect(Math.min(...counts)).toBeGreaterThan(850)
    }
  })
})
