import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BatchBuilder, type HeaderEntry } from '../../protocol/batch-builder.ts'
import { isControl, patchBatch, readBatchHeader, validateProducedBatch } from '../../protocol/batch-header.ts'
import { readRecords, splitBatches } from '../../protocol/batch-reader.ts'
import { crc32c } from '../../protocol/crc32c.ts'
import { TidemarkError } from '../../protocol/errors.ts'

const NO_LIMIT = { timestampMaxMs: Number.POSITIVE_INFINITY }
const T = 1_700_000_000_000

/** Where the fields are, by hand from the layout. */
const AT = {
  batchLength: 8,
  crc: 17,
  attributes: 21,
  lastOffsetDelta: 23,
  baseTimestamp: 27,
  maxTimestamp: 35,
  producerId: 43,
  recordCount: 57,
}
const HEADER_BYTES = 61

function codeOf(work: () => unknown): string {
  try {
    work()
    return 'none'
  } catch (error) {
    return TidemarkError.is(error) ? error.code : `no error of ours: ${String(error)}`
  }
}

function renewChecksum(batch: Buffer): Buffer {
  batch.writeUInt32BE(crc32c(batch, AT.attributes), AT.crc)
  return batch
}

/** A batch of the given records, written as hex by hand, with a header that fits them. */
function batchOf(
  recordsHex: string,
  fields: { count?: number; baseTimestamp?: number; maxTimestamp?: number; attributes?: number } = {},
): Buffer {
  const records = Buffer.from(recordsHex.replaceAll(' ', ''), 'hex')
  const { count = 1, baseTimestamp = 1000, maxTimestamp = 1000, attributes = 0 } = fields
  const batch = Buffer.alloc(HEADER_BYTES + records.length)
  batch.writeInt32BE(batch.length - 12, AT.batchLength)
  batch[16] = 2
  batch.writeInt16BE(attributes, AT.attributes)
  batch.writeInt32BE(count - 1, AT.lastOffsetDelta)
  batch.writeBigInt64BE(BigInt(baseTimestamp), AT.baseTimestamp)
  batch.writeBigInt64BE(BigInt(maxTimestamp), AT.maxTimestamp)
  batch.fill(0xff, AT.producerId, AT.recordCount)
  batch.writeInt32BE(count, AT.recordCount)
  records.copy(batch, HEADER_BYTES)
  return renewChecksum(batch)
}

/** Key "k", value "v", no headers: length, attributes, timestamp delta, offset delta, key, value, header count. */
const SOUND = '10 00 00 00 02 6b 02 76 00'

describe('the bytes of a batch', () => {
  it('are those of the format, with null fields, headers, earlier times and a producer', () => {
    const builder = new BatchBuilder()
    builder.append(Buffer.from('k1'), null, T, [
      ['h', Buffer.from('x')],
      ['n', null],
    ])
    builder.append(null, Buffer.from('v'), T - 100)
    const header =
      '0000000000000000' + '0000004a' + 'ffffffff' + '02' + '8b80d77f' + '0000' + '00000001' + '0000018bcfe56800' + '0000018bcfe56800'
    const producer = '0000000000000102' + '0003' + '00000005' + '00000002'
    const first = '1e' + '00' + '00' + '00' + '046b31' + '01' + '04' + '0268' + '0278' + '026e' + '01'
    const second = '10' + '00' + 'c701' + '02' + '01' + '0276' + '00'
    expect(builder.buildSync('none', { id: 258, epoch: 3, baseSequence: 5 }).toString('hex')).toBe(header + producer + first + second)
  })

  it('are not more than the builder announced', () => {
    const field = fc.option(
      fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      { nil: null },
    )
    const headers = fc.array(fc.tuple(fc.string({ unit: 'binary', maxLength: 20 }), field), { maxLength: 4 })
    fc.assert(
      fc.property(field, field, headers, fc.nat(2 ** 50), (key, value, entries, timestampMs) => {
        const builder = new BatchBuilder()
        builder.append(null, null, T)
        const boundBytes = builder.sizeBytes + BatchBuilder.sizeBoundBytes(key, value, entries as readonly HeaderEntry[])
        builder.append(key, value, timestampMs, entries as readonly HeaderEntry[])
        expect(builder.sizeBytes).toBeLessThanOrEqual(boundBytes)
        expect(builder.buildSync()).toHaveLength(builder.sizeBytes)
      }),
    )
  })
})

describe('a builder', () => {
  it.each([Number.NaN, Number.POSITIVE_INFINITY, -1, 1.5, 2 ** 53])('refuses %d as a timestamp, and goes on', (timestampMs) => {
    const builder = new BatchBuilder()
    expect(codeOf(() => builder.append(null, null, timestampMs))).toBe('INVALID_TIMESTAMP')
    builder.append(null, null, 5)
    expect(readBatchHeader(builder.buildSync())).toMatchObject({ recordCount: 1, maxTimestamp: 5 })
  })

  it('keeps times that lie as far apart as numbers can', async () => {
    const builder = new BatchBuilder()
    for (const timestampMs of [Number.MAX_SAFE_INTEGER, 0]) builder.append(null, null, timestampMs)
    const batch = builder.buildSync()
    validateProducedBatch(batch, NO_LIMIT)
    expect((await readRecords(batch)).map(({ timestampMs }) => timestampMs)).toEqual([Number.MAX_SAFE_INTEGER, 0])
  })

  it('has no empty batch to give', () => {
    expect(codeOf(() => new BatchBuilder().buildSync())).toBe('INTERNAL')
  })
})

describe('a produced batch is refused', () => {
  it.each([
    ['with a header that has no name', '14 00 00 00 02 6b 02 76 02 01 01', 'CORRUPT_BATCH'],
    ['with more headers than bytes', '10 00 00 00 02 6b 02 76 7e', 'CORRUPT_BATCH'],
    ['with fewer than no headers', '10 00 00 00 02 6b 02 76 01', 'CORRUPT_BATCH'],
    ['with a length below null', '10 00 00 00 03 6b 02 76 00', 'CORRUPT_BATCH'],
    ['with a record later than its latest', '10 00 02 00 02 6b 02 76 00', 'INVALID_TIMESTAMP'],
    ['with a record before 1970', '12 00 d10f 00 02 6b 02 76 00', 'INVALID_TIMESTAMP'],
    ['with a record that has another place', '10 00 00 02 02 6b 02 76 00', 'CORRUPT_BATCH'],
    ['with a record shorter than its fields', '0e 00 00 00 02 6b 02 76 00', 'CORRUPT_BATCH'],
    ['with a record of no bytes', '00 00 00 00 02 6b 02 76 00', 'CORRUPT_BATCH'],
    ['with bytes behind the last record', `${SOUND} 00`, 'CORRUPT_BATCH'],
    ['with records cut off', SOUND.slice(0, -3), 'CORRUPT_BATCH'],
  ])('%s', (_what, recordsHex, code) => {
    expect(codeOf(() => validateProducedBatch(batchOf(SOUND), NO_LIMIT))).toBe('none')
    expect(codeOf(() => validateProducedBatch(batchOf(recordsHex), NO_LIMIT))).toBe(code)
  })

  it.each([
    ['that is shorter than a header', (batch: Buffer) => batch.subarray(0, 60), 'CORRUPT_BATCH'],
    ['with another one behind it', (batch: Buffer) => Buffer.concat([batch, batch]), 'CORRUPT_BATCH'],
    ['that is cut off', (batch: Buffer) => batch.subarray(0, -1), 'CORRUPT_BATCH'],
    ['whose last byte changed', (batch: Buffer) => (batch.writeUInt8(1, batch.length - 1), batch), 'CORRUPT_BATCH'],
    ['without records', () => batchOf('', { count: 0 }), 'INVALID_RECORD'],
    ['of a negative number of records', () => batchOf(SOUND, { count: -5 }), 'INVALID_RECORD'],
    ['of more records than it has room for', () => batchOf(SOUND, { count: 1_000_000 }), 'CORRUPT_BATCH'],
    [
      'of other records than offsets',
      (batch: Buffer) => (batch.writeInt32BE(1, AT.lastOffsetDelta), renewChecksum(batch)),
      'CORRUPT_BATCH',
    ],
    ['from before 1970', () => batchOf(SOUND, { baseTimestamp: -1 }), 'INVALID_TIMESTAMP'],
    ['with a timestamp beyond 2^53', () => batchOf(SOUND, { maxTimestamp: 2 ** 53 }), 'CORRUPT_BATCH'],
    [
      'with a producer but no sequence',
      (batch: Buffer) => (batch.writeBigInt64BE(7n, AT.producerId), renewChecksum(batch)),
      'CORRUPT_BATCH',
    ],
    ['with a producer below none', (batch: Buffer) => (batch.writeBigInt64BE(-2n, AT.producerId), renewChecksum(batch)), 'CORRUPT_BATCH'],
  ])('%s', (_what, spoil, code) => {
    expect(codeOf(() => validateProducedBatch(spoil(batchOf(SOUND)), NO_LIMIT))).toBe(code)
  })

  it.each([
    ['transactional', 0x10],
    ['a control batch', 0x20],
    ['cleaned', 0x40],
  ])('that claims to be %s: those are not accepted from producers (J02)', (_what, bit) => {
    const batch = batchOf(SOUND)
    batch.writeInt16BE(batch.readInt16BE(AT.attributes) | bit, AT.attributes)
    renewChecksum(batch)
    expect(() => validateProducedBatch(batch, { timestampMaxMs: Number.MAX_SAFE_INTEGER })).toThrow(
      expect.objectContaining({ code: 'INVALID_RECORD' }),
    )
  })

  it('from too far in the future', () => {
    expect(codeOf(() => validateProducedBatch(batchOf(SOUND), { timestampMaxMs: 1000 }))).toBe('none')
    expect(codeOf(() => validateProducedBatch(batchOf(SOUND), { timestampMaxMs: 999 }))).toBe('INVALID_TIMESTAMP')
  })

  it('without a key, where the topic needs one', () => {
    const keyless = '0e 00 00 00 01 02 76 00'
    expect(codeOf(() => validateProducedBatch(batchOf(keyless), NO_LIMIT))).toBe('none')
    expect(codeOf(() => validateProducedBatch(batchOf(keyless), { ...NO_LIMIT, needsKeys: true }))).toBe('INVALID_RECORD')
    expect(codeOf(() => validateProducedBatch(batchOf(SOUND), { ...NO_LIMIT, needsKeys: true }))).toBe('none')
  })

  it('or can be read, whatever its bytes', async () => {
    const builder = new BatchBuilder()
    for (let n = 0; n < 4; n++) builder.append(Buffer.from(`k${n}`), Buffer.alloc(9, n), T + n, [['h', Buffer.from('x')]])
    const sound = builder.buildSync()
    const place = fc.integer({ min: AT.attributes, max: sound.length - 1 })
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(place, fc.nat(255)), { minLength: 1, maxLength: 3 }), async (changes) => {
        const batch = Buffer.from(sound)
        for (const [position, byte] of changes) batch[position] = byte
        renewChecksum(batch)
        const code = codeOf(() => validateProducedBatch(batch, NO_LIMIT))
        expect(code).toMatch(/^(none|CORRUPT_BATCH|INVALID_RECORD|INVALID_TIMESTAMP|UNSUPPORTED_COMPRESSION)$/)
        const { attributes } = readBatchHeader(sound)
        // Compressed ones are trusted to their checksum.
        if (code === 'none' && batch.readInt16BE(AT.attributes) === attributes) expect(await readRecords(batch)).toHaveLength(4)
      }),
      { numRuns: 3000 },
    )
  })
})

describe('a reader', () => {
  it('does not believe offsets that repeat, go back or pass the last one', async () => {
    const second = (offsetDelta: string): string => `${SOUND} 10 00 00 ${offsetDelta} 02 6b 02 76 00`
    const offsetsOf = async (hex: string): Promise<number[]> => (await readRecords(batchOf(hex, { count: 2 }))).map(({ offset }) => offset)
    expect(await offsetsOf(second('02'))).toEqual([0, 1])
    for (const delta of ['00', '01', '04']) await expect(offsetsOf(second(delta))).rejects.toMatchObject({ code: 'CORRUPT_BATCH' })
  })

  it('takes batches that compaction left with gaps, or with nothing', async () => {
    const batch = batchOf('10 00 00 06 02 6b 02 76 00', { count: 1 })
    batch.writeInt32BE(9, AT.lastOffsetDelta)
    patchBatch(renewChecksum(batch), 0, 100, 0)
    expect((await readRecords(batch)).map(({ offset }) => offset)).toEqual([103])
    const empty = batchOf('', { count: 0 })
    empty.writeInt32BE(9, AT.lastOffsetDelta)
    expect(await readRecords(renewChecksum(empty))).toEqual([])
  })

  it('passes over control batches', async () => {
    const batch = batchOf(SOUND, { attributes: 0x20 })
    expect(isControl(readBatchHeader(batch).attributes)).toBe(true)
    expect(await readRecords(batch)).toEqual([])
  })

  it('hands out slices of the batch', async () => {
    const batch = batchOf(SOUND)
    const [record] = await readRecords(batch)
    expect(record?.value?.buffer).toBe(batch.buffer)
    expect(record?.value?.byteOffset).toBe(batch.byteOffset + batch.length - 2)
  })

  it('checks the checksum unless told not to', async () => {
    const batch = batchOf(SOUND)
    batch[batch.length - 2] = 0x77
    await expect(readRecords(batch)).rejects.toMatchObject({ code: 'CORRUPT_BATCH', message: expect.stringContaining('checksum') })
    expect((await readRecords(batch, { checkCrc: false }))[0]?.value?.toString()).toBe('w')
  })

  it('allocates nothing for a count that cannot be true', async () => {
    for (const count of [2 ** 31 - 1, -1]) {
      await expect(readRecords(batchOf(SOUND, { count }))).rejects.toMatchObject({ code: 'CORRUPT_BATCH' })
    }
  })

  it('refuses garbage of any length as batches', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 150 }), (bytes) => {
        expect(['none', 'CORRUPT_BATCH']).toContain(codeOf(() => splitBatches(Buffer.from(bytes))))
      }),
    )
  })

  it('refuses offsets beyond 2^53', () => {
    const batch = batchOf(SOUND)
    batch.writeBigInt64BE(2n ** 53n, 0)
    expect(codeOf(() => readBatchHeader(batch))).toBe('CORRUPT_BATCH')
  })
})
