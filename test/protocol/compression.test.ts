import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { type Codec, codecNumber, compressionOfNumber, loadCodec } from '../../protocol/compression.ts'
import { compressAside, decompressAside } from '../../protocol/compression-aside.ts'
import { TidemarkError } from '../../protocol/errors.ts'

const NAMES = ['gzip', 'snappy', 'lz4', 'zstd'] as const
const MIB = 1024 * 1024

const codecs = new Map<string, Codec>()
beforeAll(async () => {
  for (const name of NAMES) codecs.set(name, await loadCodec(name))
})

function codec(name: string): Codec {
  return codecs.get(name) as Codec
}

function decompress(name: string, hex: string, maxBytes = MIB): Buffer {
  return codec(name).decompress(Buffer.from(hex.replaceAll(' ', ''), 'hex'), maxBytes)
}

function codeOf(work: () => unknown): string {
  try {
    work()
    return 'none'
  } catch (error) {
    return TidemarkError.is(error) ? error.code : `no error of ours: ${String(error)}`
  }
}

/** A text with repeats near and far, and one that has none. */
const PLAIN = 'tidemark keeps records; tidemark keeps records; tidemark keeps them in order'
const SEQUENCES = '2b000000 ff09 746964656d61726b206b65657073207265636f7264733b20 1800 14d0 7468656d20696e206f72646572'

/** What 100,000 zeros are as two blocks of an lz4 frame, the second one repeating what the first one put out. */
const LINKED_ZEROS = `04224d18 4440 5e 0b010000 1f 00 0100 ${'ff'.repeat(256)} e7 50 0000000000 92000000 1f 00 0100 ${'ff'.repeat(135)} 0e 50 0000000000 00000000 d339cec9`

describe('streams made by other programs are read:', () => {
  it.each([
    ['lz4', 'lz4 1.9.4', `04224d18 6440 a7 ${SEQUENCES} 00000000 8d436080`],
    ['lz4', 'lz4 -BX, with block checksums', `04224d18 7440 bd ${SEQUENCES} 009db48a 00000000 8d436080`],
    ['lz4', 'lz4 --content-size', `04224d18 6c40 4c00000000000000 36 ${SEQUENCES} 00000000 8d436080`],
    ['lz4', 'lz4 --no-frame-crc', `04224d18 6040 82 ${SEQUENCES} 00000000`],
    [
      'zstd',
      'zstd 1.5.4',
      '28b52ffd244c6d01005402746964656d61726b206b65657073207265636f7264733b207468656d20696e206f726465720100d8728e01e79e8db6',
    ],
    [
      'gzip',
      'gzip',
      '1f8b08000000000000032bc94c49cd4d2cca56c84e4d2d2856284a4dce2f4a29b65628214ebc2423355721334f0128995a0400a52bf3c74c000000',
    ],
    [
      // By hand: 76 bytes; a literal of 24, a copy of 39 from 24 back, a literal of 13.
      'snappy',
      'a bare block',
      '4c 5c 746964656d61726b206b65657073207265636f7264733b20 9a 1800 30 7468656d20696e206f72646572',
    ],
    [
      'snappy',
      'a frame of two blocks',
      '82534e4150505900 00000001 00000001 0000001a 18 5c 746964656d61726b206b65657073207265636f7264733b20' +
        '00000036 34 cc 746964656d61726b206b65657073207265636f7264733b20746964656d61726b206b65657073207468656d20696e206f72646572',
    ],
  ])('%s: %s', (name, _what, hex) => {
    expect(decompress(name, hex).toString()).toBe(PLAIN)
  })

  it('lz4 -BD, with blocks that repeat earlier ones', () => {
    expect(decompress('lz4', LINKED_ZEROS).equals(Buffer.alloc(100_000))).toBe(true)
  })
})

describe('streams for other programs', () => {
  it('are lz4 frames of independent blocks with the content size, below the block size they name', () => {
    const frame = codec('lz4').compress(Buffer.from(PLAIN))
    expect(frame.subarray(0, 14).toString('hex')).toBe('04224d18' + '68' + '50' + '4c00000000000000')
    expect(frame.subarray(15).toString('hex')).toBe(`${SEQUENCES} 00000000`.replaceAll(' ', ''))
  })

  it('are snappy in the framing of Java', () => {
    expect(codec('snappy').compress(Buffer.from('abc')).toString('hex')).toBe(
      '82534e4150505900' + '0000000100000001' + '00000005' + '0308616263',
    )
  })

  it('have the numbers of the record format', () => {
    expect(NAMES.map(codecNumber)).toEqual([1, 2, 3, 4])
    expect(compressionOfNumber(4)).toBe('zstd')
    expect(codeOf(() => compressionOfNumber(5))).toBe('UNSUPPORTED_COMPRESSION')
  })
})

describe.each(NAMES)('%s', (name) => {
  it('gives back what it was given', () => {
    const words = fc.array(fc.constantFrom('tide', 'mark', 'a', 'zzzzzzzzzzzzzzzzzzzz', '\0\0\0\0\0'), { maxLength: 200 })
    const plain = fc.oneof(
      words.map((some) => Buffer.from(some.join(''))),
      fc.uint8Array({ maxLength: 500 }).map((bytes) => Buffer.from(bytes)),
    )
    fc.assert(
      fc.property(plain, (bytes) => {
        expect(codec(name).decompress(codec(name).compress(bytes), MIB).equals(bytes)).toBe(true)
      }),
    )
  })

  it('takes inputs around the sizes of its blocks', () => {
    const pattern = Buffer.from(Array.from({ length: 700_000 }, (_, index) => (index * index) >>> 11))
    for (const edge of [1, 32_768, 65_536, (1 << 18) - 16, 1 << 18, 600_000]) {
      for (const bytes of [edge - 1, edge, edge + 1]) {
        const plain = pattern.subarray(0, bytes)
        expect(codec(name).decompress(codec(name).compress(plain), MIB).equals(plain)).toBe(true)
      }
    }
  })

  it('makes as many bytes as allowed and not one more', () => {
    const packed = codec(name).compress(Buffer.alloc(100_000))
    expect(codec(name).decompress(packed, 100_000)).toHaveLength(100_000)
    expect(codeOf(() => codec(name).decompress(packed, 99_999))).toBe('LIMIT_EXCEEDED')
  })

  it('does the same for those who wait', async () => {
    const plain = Buffer.from(PLAIN.repeat(500))
    const packed = await compressAside(name, plain)
    expect(packed.length).toBeLessThan(plain.length / 10)
    expect(codec(name).decompress(packed, MIB).equals(plain)).toBe(true)
    expect((await decompressAside(name, packed, MIB)).equals(plain)).toBe(true)
    await expect(decompressAside(name, packed, plain.length - 1)).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
    await expect(decompressAside(name, packed.subarray(0, -9), MIB)).rejects.toMatchObject({ code: 'CORRUPT_BATCH' })
  })

  it('answers damage and truncation with a code of ours, and at once', () => {
    const sound = codec(name).compress(Buffer.from(PLAIN.repeat(20)))
    const change = fc.record({ at: fc.nat(sound.length - 1), byte: fc.nat(255) })
    const changes = fc.array(change, { maxLength: 4 })
    fc.assert(
      fc.property(changes, fc.nat(sound.length), fc.uint8Array({ maxLength: 8 }), (some, length, tail) => {
        const packed = Buffer.concat([sound.subarray(0, length), tail])
        for (const { at, byte } of some) if (at < packed.length) packed[at] = byte
        expect(['none', 'CORRUPT_BATCH', 'LIMIT_EXCEEDED', 'UNSUPPORTED_COMPRESSION']).toContain(
          codeOf(() => codec(name).decompress(packed, MIB)),
        )
      }),
      { numRuns: 1500 },
    )
  })
})

describe('a stream that lies is refused:', () => {
  it.each([
    ['a literal whose length is negative as 32 bits', '04 fc faffffff 000000'],
    ['a literal longer than the block', '08 0c 6161'],
    ['a literal beyond what was claimed', '01 04 6161'],
    ['a copy from before the start', '08 00 61 0e 0200'],
    ['a copy from nowhere', '08 00 61 0e 0000'],
    ['a copy with its offset cut off', '08 00 61 0e 01'],
    ['fewer bytes than claimed', '08 00 61'],
    ['more bytes than the block could hold', 'ffff03 00 61'],
    ['a length that goes on for ever', 'ffffffffff 00'],
    ['a frame header without its versions', '82534e4150505900 0000'],
    ['a block of negative length', '82534e4150505900 00000001 00000001 ffffffff'],
    ['a block longer than the frame', '82534e4150505900 00000001 00000001 00000009 00'],
  ])('snappy: %s', (_what, hex) => {
    expect(codeOf(() => decompress('snappy', hex))).toBe('CORRUPT_BATCH')
  })

  it.each([
    ['another magic number', '04224d19 6040 82 00000000'],
    ['an unknown version', '04224d18 2040 82 00000000'],
    ['an unknown block size', '04224d18 6030 82 00000000'],
    ['a wrong header checksum', '04224d18 6040 83 00000000'],
    ['a block longer than the frame', '04224d18 6040 82 09000000 00'],
    ['no end', '04224d18 6040 82 02000000 1061'],
    ['bytes behind the end', '04224d18 6040 82 00000000 00'],
    ['a copy from before the start', '04224d18 6040 82 06000000 1061 0200 1061 00000000'],
    ['a copy from nowhere', '04224d18 6040 82 06000000 1061 0000 1061 00000000'],
    ['a literal longer than its block', '04224d18 6040 82 02000000 2061 00000000'],
    ['a length that is cut off', '04224d18 6040 82 02000000 f0ff 00000000'],
  ])('lz4: %s', (_what, hex) => {
    expect(codeOf(() => decompress('lz4', hex))).toBe('CORRUPT_BATCH')
  })

  it('lz4: content of another size than claimed', () => {
    const frame = codec('lz4').compress(Buffer.from(PLAIN))
    // Both the size and the checksum of the header, which is that of 75 bytes instead of 76.
    const other = codec('lz4').compress(Buffer.from(PLAIN.slice(1)))
    expect(codeOf(() => codec('lz4').decompress(Buffer.concat([other.subarray(0, 15), frame.subarray(15)]), MIB))).toBe('CORRUPT_BATCH')
  })

  it('lz4: independent blocks that repeat earlier ones', () => {
    // The flags without "linked", and the checksum that belongs to them.
    expect(codeOf(() => decompress('lz4', LINKED_ZEROS.replace('4440 5e', '6440 a7')))).toBe('none')
    const linked = '04224d18 4440 5e 02000000 1061 06000000 1062 0200 1061 00000000 00000000'
    expect(decompress('lz4', linked).toString()).toBe('abababa')
    expect(codeOf(() => decompress('lz4', linked.replace('4440 5e', '6440 a7')))).toBe('CORRUPT_BATCH')
  })
})

it('a codec nobody knows is refused by name', async () => {
  await expect(loadCodec('brotli' as 'gzip')).rejects.toMatchObject({ code: 'UNSUPPORTED_COMPRESSION' })
  expect(codeOf(() => codecNumber('brotli' as 'gzip'))).toBe('UNSUPPORTED_COMPRESSION')
})
