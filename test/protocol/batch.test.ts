import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BatchBuilder, type HeaderEntry } from '../../protocol/batch-builder.ts'
import {
  batchSizeAt,
  isChecksumRight,
  patchBatch,
  patchProducer,
  readBatchHeader,
  sequenceAfter,
  stampAppendTime,
  validateProducedBatch,
} from '../../protocol/batch-header.ts'
import { readRecords, splitBatches } from '../../protocol/batch-reader.ts'
import { crc32c } from '../../protocol/crc32c.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { readVarint, varintSize, writeVarint } from '../../protocol/varint.ts'

const NO_LIMIT = { timestampMaxMs: Number.POSITIVE_INFINITY }

function oneRecord(): Buffer {
  const builder = new BatchBuilder()
  builder.append(Buffer.from('k'), Buffer.from('v'), 1000)
  return Buffer.from(builder.buildSync())
}

describe('CRC-32C', () => {
  it('has the check value of the standard', () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
  })

  it('agrees with a bit-by-bit computation, whole or in pieces', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (bytes, cut) => {
        const at = Math.min(cut, bytes.length)
        expect(crc32c(bytes)).toBe(slowCrc32c(bytes))
        expect(crc32c(bytes, at, bytes.length, crc32c(bytes, 0, at))).toBe(slowCrc32c(bytes))
      }),
    )
  })
})

function slowCrc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  }
  return ~crc >>> 0
}

describe('variable-length integers', () => {
  it('come back as they were written, in as many bytes as announced', () => {
    const value = fc.oneof(
      fc.integer(),
      fc.maxSafeInteger().map((n) => Math.trunc(n / 4) || 0),
      fc.constantFrom(0, -1, 63, 64, -64, -65, 0x1fffffff, 0x20000000, -0x20000000, -0x20000001),
    )
    fc.assert(
      fc.property(value, (n) => {
        const buffer = Buffer.alloc(16)
        const end = writeVarint(buffer, n, 0)
        expect(end).toBe(varintSize(n))
        const cursor = { buffer, position: 0, end }
        expect(readVarint(cursor)).toBe(n)
        expect(cursor.position).toBe(end)
      }),
      { numRuns: 2000 },
    )
  })

  it.each([
    ['cut off', Buffer.from([0x80])],
    ['nothing', Buffer.alloc(0)],
    ['too long', Buffer.alloc(12, 0xff)],
  ])('%s: CORRUPT_BATCH', (_what, buffer) => {
    expect(() => readVarint({ buffer, position: 0, end: buffer.length })).toThrow(expect.objectContaining({ code: 'CORRUPT_BATCH' }))
  })
})

describe('a record batch', () => {
  it('has the bytes that the format asks for', () => {
    // Written by hand from the layout: one record, key "k", value "v", timestamp 1000, no producer.
    const record = '10' + '00' + '00' + '00' + '02' + '6b' + '02' + '76' + '00'
    const attributes = '0000' + '00000000' + '00000000000003e8' + '00000000000003e8' + 'ffffffffffffffff' + 'ffff' + 'ffffffff' + '00000001'
    const crc = slowCrc32c(Buffer.from(attributes + record, 'hex'))
      .toString(16)
      .padStart(8, '0')
    expect(oneRecord().toString('hex')).toBe('0000000000000000' + '0000003a' + 'ffffffff' + '02' + crc + attributes + record)
  })

  it('gives back the records it was built from, whatever the codec', async () => {
    const bytes = fc.option(
      fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)),
      { nil: null },
    )
    const headers = fc.array(fc.tuple(fc.string({ maxLength: 5 }), bytes), { maxLength: 3 })
    const record = fc.record({ key: bytes, value: bytes, timestampMs: fc.nat(2 ** 45), headers })
    const codec = fc.constantFrom('none', 'gzip', 'zstd', 'snappy', 'lz4')
    await fc.assert(
      fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 30 }), codec, async (records, compression) => {
        const builder = new BatchBuilder()
        for (const { key, value, timestampMs, headers: entries } of records)
          builder.append(key, value, timestampMs, entries as readonly HeaderEntry[])
        const batch = await builder.build(compression as 'none', { id: 7, epoch: 1, baseSequence: 3 })
        validateProducedBatch(batch, NO_LIMIT)
        patchBatch(batch, 0, 1000, 5)
        const read = await readRecords(batch)
        expect(read).toEqual(records.map((one, index) => ({ ...one, offset: 1000 + index })))
        expect(readBatchHeader(batch)).toMatchObject({
          baseOffset: 1000,
          leaderEpoch: 5,
          producerId: 7,
          producerEpoch: 1,
          baseSequence: 3,
          recordCount: records.length,
        })
      }),
      { numRuns: 150 },
    )
  })

  it('keeps its checksum right when offset, epoch, time or producer are set', () => {
    const batch = oneRecord()
    patchBatch(batch, 0, Number.MAX_SAFE_INTEGER - 1, 2 ** 31 - 1)
    expect(isChecksumRight(batch)).toBe(true)
    stampAppendTime(batch, 0, 123)
    expect(isChecksumRight(batch)).toBe(true)
    patchProducer(batch, 0, { id: 9, epoch: 2, baseSequence: 2 ** 31 - 1 })
    expect(isChecksumRight(batch)).toBe(true)
    expect(readBatchHeader(batch)).toMatchObject({
      baseOffset: Number.MAX_SAFE_INTEGER - 1,
      maxTimestamp: 123,
      producerId: 9,
      producerEpoch: 2,
    })
  })

  it('takes the append time for every record', async () => {
    const batch = oneRecord()
    stampAppendTime(batch, 0, 777)
    expect((await readRecords(batch))[0]?.timestampMs).toBe(777)
  })

  it('is split off others that lie behind it', () => {
    expect(splitBatches(Buffer.concat([oneRecord(), oneRecord(), oneRecord()]))).toHaveLength(3)
    expect(() => splitBatches(Buffer.concat([oneRecord(), oneRecord().subarray(0, 30)]))).toThrow(
      expect.objectContaining({ code: 'CORRUPT_BATCH' }),
    )
  })

  it('that claims an impossible size is not believed', () => {
    const batch = oneRecord()
    for (const claim of [0, 48, -1, 2 ** 31 - 1]) {
      batch.writeInt32BE(claim, 8)
      expect(() => batchSizeAt(batch, 0, batch.length, 1 << 20)).toThrow(expect.objectContaining({ code: 'CORRUPT_BATCH' }))
    }
    expect(batchSizeAt(batch, 0, 11, 1 << 20)).toBeUndefined()
  })

  it.each([
    ['another format', 16, 1, 'CORRUPT_BATCH'],
    ['a control batch', 22, 0x20, 'INVALID_RECORD'],
    ['a transactional batch', 22, 0x10, 'INVALID_RECORD'],
    ['append time from a client', 22, 0x08, 'INVALID_TIMESTAMP'],
    ['an unknown codec', 22, 0x05, 'UNSUPPORTED_COMPRESSION'],
    ['unknown attributes', 21, 0x01, 'CORRUPT_BATCH'],
  ])('is refused as %s', (_what, position, byte, code) => {
    const batch = oneRecord()
    batch[position] = byte
    renewChecksum(batch)
    expect(() => validateProducedBatch(batch, NO_LIMIT)).toThrow(expect.objectContaining({ code }))
  })

  it('with a lying record inside a right checksum is refused', () => {
    for (let position = 61; position < oneRecord().length; position++) {
      const batch = oneRecord()
      batch[position] = 0x7f
      renewChecksum(batch)
      // The attributes of a record, its timestamp and its bytes may be anything; its lengths may not.
      const isFree = [62, 63, 66, 68].includes(position)
      expect(
        codeOf(() => validateProducedBatch(batch, NO_LIMIT)),
        `byte ${position}`,
      ).toBe(isFree ? 'none' : 'CORRUPT_BATCH')
    }
  })

  it('mutated at random is read or refused with a code of ours, quickly', async () => {
    const builder = new BatchBuilder()
    for (let n = 0; n < 5; n++) builder.append(Buffer.from(`k${n}`), Buffer.alloc(20, n), 1000 + n, [['h', Buffer.from('x')]])
    const sound = Buffer.from(builder.buildSync())
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(sound.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }), async (changes) => {
        const batch = Buffer.from(sound)
        for (const [position, byte] of changes) batch[position] = byte
        const error: unknown = await readRecords(batch, { checkCrc: false }).then(
          () => undefined,
          (caught: unknown) => caught,
        )
        expect(error === undefined || TidemarkError.is(error)).toBe(true)
      }),
      { numRuns: 3000 },
    )
  })
})

function codeOf(work: () => unknown): string {
  try {
    work()
    return 'none'
  } catch (error) {
    return TidemarkError.is(error) ? error.code : `no error of ours: ${String(error)}`
  }
}

function renewChecksum(batch: Buffer): void {
  batch.writeUInt32BE(crc32c(batch, 21), 17)
}

describe('decompression', () => {
  it.each(['gzip', 'zstd', 'snappy', 'lz4'] as const)('of %s stops at the bound', async (compression) => {
    const builder = new BatchBuilder()
    builder.append(null, Buffer.alloc(8 * 1024 * 1024), 1)
    const batch = await builder.build(compression)
    expect(batch.length).toBeLessThan(1024 * 1024)
    await expect(readRecords(batch, { maxDecompressedBytes: 1024 * 1024 })).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' })
  })

  it.each(['gzip', 'zstd', 'snappy', 'lz4'] as const)('of a broken %s stream says so', async (compression) => {
    const builder = new BatchBuilder()
    builder.append(null, Buffer.from('some words that go on for a while, and on, and on'), 1)
    const batch = Buffer.from(await builder.build(compression))
    batch.fill(0xee, 66)
    await expect(readRecords(batch, { checkCrc: false })).rejects.toMatchObject({
      code: expect.stringMatching(/CORRUPT_BATCH|LIMIT_EXCEEDED/),
    })
  })
})

describe('sequences', () => {
  it('go from 2^31 - 1 on to 0', () => {
    expect(sequenceAfter(2 ** 31 - 1, 1)).toBe(0)
    expect(sequenceAfter(2 ** 31 - 3, 5)).toBe(2)
    expect(sequenceAfter(10, 3)).toBe(13)
  })
})
