import fc from 'fast-check'
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

  it('is that of MurmurHash3 for any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        expect(murmur3(Buffer.from(bytes)) >>> 0).toBe(referenceMurmur3(bytes))
      }),
      { numRuns: 1000 },
    )
  })

  it('lies within the partitions, for a long key too', () => {
    const key = fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes))
    fc.assert(
      fc.property(key, fc.integer({ min: 1, max: 10_000 }), fc.constantFrom('murmur3' as const, 'murmur2' as const), (one, count, name) => {
        const partition = partitionForKey(name, one, count)
        expect(Number.isInteger(partition) && partition >= 0 && partition < count).toBe(true)
      }),
    )
    expect(partitionForKey('murmur3', Buffer.alloc(300_000, 'x'), 7)).toBe((referenceMurmur3(Buffer.alloc(300_000, 'x')) % 2 ** 31) % 7)
  })

  it('of none is a mistake of the caller', () => {
    expect(() => partitionForKey('murmur3', Buffer.from('a'), 0)).toThrow(/partition/)
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

/** From the description of the algorithm, in whole 64-bit steps. */
function referenceMurmur3(bytes: Uint8Array): number {
  const mask = 0xffffffffn
  const rotate = (value: bigint, bits: bigint): bigint => ((value << bits) | (value >> (32n - bits))) & mask
  const mixed = (word: bigint): bigint => (rotate((word * 0xcc9e2d51n) & mask, 15n) * 0x1b873593n) & mask
  let hash = 0n
  const tailAt = bytes.length - (bytes.length % 4)
  const wordAt = (at: number, count: number): bigint => {
    let word = 0n
    for (let index = 0; index < count; index++) word |= BigInt(bytes[at + index] as number) << BigInt(8 * index)
    return word
  }
  for (let at = 0; at < tailAt; at += 4) hash = (rotate(hash ^ mixed(wordAt(at, 4)), 13n) * 5n + 0xe6546b64n) & mask
  if (tailAt < bytes.length) hash ^= mixed(wordAt(tailAt, bytes.length - tailAt))
  hash ^= BigInt(bytes.length)
  hash = ((hash ^ (hash >> 16n)) * 0x85ebca6bn) & mask
  hash = ((hash ^ (hash >> 13n)) * 0xc2b2ae35n) & mask
  return Number(hash ^ (hash >> 16n))
}
