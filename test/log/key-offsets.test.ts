import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hashKey } from '../../log/key-hash.ts'
import { KeyOffsets } from '../../log/key-offsets.ts'

const random = { float: () => 0.5, bytes: (count: number) => Buffer.from(Array.from({ length: count }, (_, index) => index * 37)) }

function hashOf(bytes: Uint8Array, start = 0, end = bytes.length): string {
  const secret = new Int32Array(Uint8Array.from({ length: 16 }, (_, index) => index).buffer)
  const out = new Int32Array(4)
  hashKey(bytes, start, end, secret, out, 0)
  return Buffer.from(out.buffer).toString('hex')
}

describe('the hash of a key', () => {
  // From the reference implementation: the key is 00 to 0f, the input 00, 01, 02 … of that length.
  it.each([
    [0, 'a3817f04ba25a8e66df67214c7550293'],
    [1, 'da87c1d86b99af44347659119b22fc45'],
    [2, '8177228da4a45dc7fca38bdef60affe4'],
    [15, '5493e99933b0a8117e08ec0f97cfc3d9'],
    [63, '5150d1772f50834a503e069a973fbd7c'],
  ])('is SipHash-2-4 with 128 bits: %d bytes', (length, expected) => {
    expect(
      hashOf(
        Uint8Array.from({ length }, (_, index) => index),
        0,
        length,
      ),
    ).toBe(expected)
  })

  it('depends on its bytes and not on where they lie', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 40 }),
        fc.uint8Array({ maxLength: 9 }),
        fc.uint8Array({ maxLength: 9 }),
        (key, before, after) => {
          const around = Buffer.concat([before, key, after])
          expect(hashOf(around, before.length, before.length + key.length)).toBe(hashOf(key))
        },
      ),
    )
  })
})

describe('the newest offsets of keys', () => {
  const key = (n: number): Buffer => Buffer.from(`key ${n}`)

  it('are those of a map, up to as many keys as there is room for', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(60), { maxLength: 200 }), fc.integer({ min: 0, max: 70 }), (keys, room) => {
        const noted = new KeyOffsets(1000, room * 24, random)
        const model = new Map<number, number>()
        const keysMax = Math.max(1, Math.floor(Math.max(2, room) * 0.8))
        for (const [offset, n] of keys.entries()) {
          const isNoted = noted.note(key(n), 0, key(n).length, offset)
          expect(isNoted).toBe(model.has(n) || model.size < keysMax)
          if (isNoted) model.set(n, offset)
        }
        expect(noted.keyCount).toBe(model.size)
        for (let n = 0; n <= 60; n++) expect(noted.newestOf(key(n), 0, key(n).length)).toBe(model.get(n) ?? -1)
      }),
    )
  })

  it('take no more memory than allowed, and no more than needed', () => {
    expect(new KeyOffsets(1_000_000, 64 * 1024, random).memoryBytes).toBeLessThanOrEqual(64 * 1024)
    expect(new KeyOffsets(100, 64 * 1024 * 1024, random).memoryBytes).toBe(125 * 24)
  })

  it('keep large offsets exact', () => {
    const noted = new KeyOffsets(10, 1000, random)
    noted.note(key(1), 0, 5, Number.MAX_SAFE_INTEGER)
    expect(noted.newestOf(key(1), 0, 5)).toBe(Number.MAX_SAFE_INTEGER)
  })
})
