import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseCheckpoint, serializeCheckpoint } from '../../log/checkpoint.ts'
import { LeaderEpochs } from '../../log/leader-epochs.ts'
import { OffsetIndex } from '../../log/offset-index.ts'
import { TimeIndex } from '../../log/time-index.ts'
import { flipsOf } from './flips.ts'

const hex = (bytes: Buffer): string => bytes.toString('hex')

describe('the offset index', () => {
  it('has these bytes', () => {
    const index = new OffsetIndex()
    index.append(5, 0)
    index.append(0x01020304, 0x7fffffff)
    expect(hex(index.bytes)).toBe('0000000500000000' + '010203047fffffff')
    expect(OffsetIndex.parse(Buffer.from(index.bytes), 2 ** 31)?.entryCount).toBe(2)
  })

  it.each([
    ['of no whole number of entries', '00000005000000'],
    ['with an offset that does not grow', '00000005000000010000000500000002'],
    ['with a position that does not grow', '00000005000000020000000600000002'],
    ['with a negative offset', 'ffffffff00000001'],
    ['of zeros', '00000000000000000000000000000000'],
  ])('is not taken from bytes %s', (_, bytes) => {
    expect(OffsetIndex.parse(Buffer.from(bytes, 'hex'), 2 ** 31)).toBeUndefined()
  })

  it('is taken without the entries beyond the log', () => {
    expect(OffsetIndex.parse(Buffer.from('00000005000000010000000600000064', 'hex'), 100)?.entryCount).toBe(1)
  })

  it('points at or before the batch that holds an offset, and no further back than it must', () => {
    const batches = fc.array(
      fc.record({ count: fc.integer({ min: 1, max: 5 }), bytes: fc.integer({ min: 61, max: 500 }), isIndexed: fc.boolean() }),
      { minLength: 1, maxLength: 60 },
    )
    fc.assert(
      fc.property(batches, fc.nat(400), (list, target) => {
        const index = new OffsetIndex()
        let offset = 0
        let position = 0
        const placed = list.map((batch) => {
          const one = { first: offset, last: offset + batch.count - 1, position, isIndexed: batch.isIndexed && position > 0 }
          if (one.isIndexed) index.append(one.last, one.position)
          offset += batch.count
          position += batch.bytes
          return one
        })
        const holder = placed.find(({ last }) => last >= target) ?? placed.at(-1)
        const expected = placed.findLast((one) => one.isIndexed && one.last <= Math.max(target, 0))?.position ?? 0
        expect(index.lookup(target)).toBe(expected)
        expect(index.lookup(target)).toBeLessThanOrEqual(holder?.position ?? 0)
      }),
    )
  })
})

describe('the time index', () => {
  it('has these bytes', () => {
    const index = new TimeIndex()
    index.append(0x0102030405, 7)
    index.append(0x0102030405, 8)
    index.append(0x0102030406, 9)
    expect(hex(index.bytes)).toBe('000000010203040500000007' + '000000010203040600000009')
    expect(index.maxTimestamp).toBe(0x0102030406)
    expect([0, 0x0102030405, 0x0102030406, 0x0102030407].map((ms) => index.lastBefore(ms)?.relativeOffset)).toEqual([
      undefined,
      undefined,
      7,
      9,
    ])
  })

  it.each([
    ['of no whole number of entries', '0000000102030405000000'],
    ['with a timestamp that does not grow', '000000010203040500000007000000010203040500000008'],
    ['with an offset that falls', '000000010203040500000007000000010203040600000006'],
    ['with a negative timestamp', 'ffffffffffffffff00000001'],
  ])('is not taken from bytes %s', (_, bytes) => {
    expect(TimeIndex.parse(Buffer.from(bytes, 'hex'))).toBeUndefined()
  })
})

describe('the leader epochs', () => {
  it('have this text', () => {
    const epochs = new LeaderEpochs()
    for (const [epoch, offset] of [
      [1, 0],
      [1, 5],
      [4, 9],
      [3, 12],
    ] as const)
      epochs.assign(epoch, offset)
    expect(String(epochs.serialize())).toBe('1\n2\n1 0\n4 9\ncrc 4015734423\n')
    expect(LeaderEpochs.parse(epochs.serialize())?.entries).toEqual(epochs.entries)
  })

  it('of the first version, which is the one of Kafka, had no checksum', () => {
    const entries = [
      { epoch: 1, startOffset: 0 },
      { epoch: 4, startOffset: 9 },
    ]
    expect(LeaderEpochs.parse(Buffer.from('0\n2\n1 0\n4 9\n'))?.entries).toEqual(entries)
  })

  it('are not taken when any bit of the file has flipped', () => {
    const content = new LeaderEpochs([
      { epoch: 1, startOffset: 0 },
      { epoch: 4, startOffset: 9 },
      { epoch: 12, startOffset: 1000 },
    ]).serialize()
    for (const { flipped, place } of flipsOf(content)) expect(LeaderEpochs.parse(flipped), place).toBeUndefined()
  })

  it('are cut at both ends as Kafka does', () => {
    const entries = [
      { epoch: 1, startOffset: 0 },
      { epoch: 4, startOffset: 9 },
      { epoch: 6, startOffset: 20 },
    ]
    const fromEnd = new LeaderEpochs(entries)
    fromEnd.truncateFromEnd(9)
    expect([fromEnd.entries, fromEnd.latest]).toEqual([[{ epoch: 1, startOffset: 0 }], 1])
    const fromStart = new LeaderEpochs(entries)
    fromStart.truncateFromStart(12)
    expect(fromStart.entries).toEqual([
      { epoch: 4, startOffset: 12 },
      { epoch: 6, startOffset: 20 },
    ])
  })

  it('forget an epoch in which nothing was written when the next begins at the same offset', () => {
    const epochs = new LeaderEpochs()
    epochs.assign(1, 5)
    epochs.assign(2, 5)
    expect(epochs.entries).toEqual([{ epoch: 2, startOffset: 5 }])
  })

  it.each([
    '',
    '0\n',
    '1\n0\n',
    '1\n1\n1 0\n',
    '0\n1\n1 0\ncrc 1\n',
    '0\n2\n1 0\n',
    '0\n1\n1 0',
    '0\n2\n4 0\n1 5\n',
    '0\n1\nx 0\n',
    '0\n1\n99999999999999999999 0\n',
  ])('are not taken from %j', (text) => {
    expect(LeaderEpochs.parse(Buffer.from(text))).toBeUndefined()
  })
})

describe('the checkpoint', () => {
  const checkpoint = {
    logStartOffset: 3,
    recoveryOffset: 20,
    activeSinceMs: 1_800_000_000_000,
    segments: [
      { baseOffset: 0, sizeBytes: 900, generation: 2 },
      { baseOffset: 12, sizeBytes: 100, generation: 0 },
    ],
    compaction: { cleanOffset: 9, sparseBelow: 12, tombstonesUntilMs: 1_800_000_086_400 },
  }

  it('has this text', () => {
    const text =
      '{"version":2,"logStartOffset":3,"recoveryOffset":20,"activeSinceMs":1800000000000,"segments":[[0,900,2],[12,100]],' +
      '"compaction":{"cleanOffset":9,"sparseBelow":12,"tombstonesUntilMs":1800000086400},"crc":2338298898}\n'
    expect(String(serializeCheckpoint(checkpoint))).toBe(text)
    expect(parseCheckpoint(Buffer.from(text), 'x')).toEqual(checkpoint)
  })

  it('of a log that was never compacted does not mention it', () => {
    const text = '{"version":2,"logStartOffset":3,"recoveryOffset":20,"activeSinceMs":7,"segments":[[0,900],[12,100]],"crc":1577481341}\n'
    const parsed = parseCheckpoint(Buffer.from(text), 'x')
    expect(parsed.compaction).toEqual({ cleanOffset: 0, sparseBelow: 0, tombstonesUntilMs: 0 })
    expect(parsed.segments.map(({ generation }) => generation)).toEqual([0, 0])
    expect(String(serializeCheckpoint(parsed))).toBe(text)
  })

  it('of the first version had no checksum', () => {
    const text = '{"version":1,"logStartOffset":3,"recoveryOffset":20,"activeSinceMs":7,"segments":[[0,900],[12,100]]}\n'
    expect(parseCheckpoint(Buffer.from(text), 'x')).toMatchObject({ logStartOffset: 3, recoveryOffset: 20 })
  })

  it('is not taken when any bit of it has flipped, unless it is the same all the same', () => {
    const content = serializeCheckpoint(checkpoint)
    for (let bit = 0; bit < 8 * content.length; bit++) {
      const flipped = Buffer.from(content)
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
      try {
        expect(parseCheckpoint(flipped, 'x'), `bit ${bit}`).toEqual(checkpoint)
      } catch (error) {
        expect(error).toMatchObject({ code: 'CORRUPT_LOG' })
      }
    }
  })

  it.each([
    '',
    'null',
    '[]',
    '{"version":1}',
    '{"version":2,"logStartOffset":3,"recoveryOffset":20,"activeSinceMs":0,"segments":[]}',
    '{"version":1,"logStartOffset":3,"recoveryOffset":20,"activeSinceMs":0,"compaction":7,"segments":[]}',
    '{"version":1,"logStartOffset":3,"recoveryOffset":20,"activeSinceMs":0,"compaction":{"cleanOffset":-1,"sparseBelow":0,"tombstonesUntilMs":0},"segments":[]}',
    '{"version":1,"logStartOffset":3,"recoveryOffset":20,"activeSinceMs":0,"segments":[[0,1,-1]]}',
    '{"version":1,"logStartOffset":3,"recoveryOffset":20,"activeSinceMs":0,"segments":[[0,1,1,1]]}',
    '{"version":1,"logStartOffset":-3,"recoveryOffset":20,"activeSinceMs":0,"segments":[]}',
    '{"version":1,"logStartOffset":3,"recoveryOffset":20,"activeSinceMs":0,"segments":[[5,1],[5,1]]}',
    '{"version":1,"logStartOffset":3,"recoveryOffset":20,"activeSinceMs":0,"segments":[[50,1]]}',
    '{"version":1,"logStartOffset":3,"recoveryOffset":20,"activeSinceMs":0,"segments":[[5]]}',
  ])('is not taken from %j', (text) => {
    expect(() => parseCheckpoint(Buffer.from(text), '/data/x')).toThrow(
      expect.objectContaining({ code: 'CORRUPT_LOG', message: expect.stringContaining('/data/x') }),
    )
  })
})
