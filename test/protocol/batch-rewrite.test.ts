import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BatchBuilder } from '../../protocol/batch-builder.ts'
import { isChecksumRight, patchBatch, readBatchHeader, stampAppendTime, validateProducedBatch } from '../../protocol/batch-header.ts'
import { AT } from '../../protocol/batch-layout.ts'
import { readRecords } from '../../protocol/batch-reader.ts'
import { readDeleteHorizon, withoutRecords, withRecords } from '../../protocol/batch-rewrite.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { RecordCursor } from '../../protocol/record-cursor.ts'

const T = 1_800_000_000_000
const PRODUCER = { id: 7, epoch: 2, baseSequence: 40 }

/** Four records with offsets 100 to 103, of a producer, in epoch 3. */
function fourRecords(): Buffer {
  const builder = new BatchBuilder()
  for (let n = 0; n < 4; n++) builder.append(Buffer.from(`k${n}`), n === 2 ? null : Buffer.from(`v${n}`), T + n)
  const batch = Buffer.from(builder.buildSync('none', PRODUCER))
  patchBatch(batch, 0, 100, 3)
  return batch
}

function placesOf(batch: Buffer): { start: number; end: number; key: string }[] {
  const places: { start: number; end: number; key: string }[] = []
  const record = new RecordCursor(batch, batch)
  while (record.next()) places.push({ start: record.start, end: record.end, key: batch.toString('utf8', record.keyStart, record.keyEnd) })
  return places
}

describe('a cursor over records', () => {
  it('finds the parts of every record', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            key: fc.option(fc.string({ maxLength: 200 })),
            value: fc.option(fc.string({ maxLength: 20 })),
            timestampMs: fc.nat(1e12),
            headers: fc.array(fc.string({ maxLength: 5 }), { maxLength: 3 }),
          }),
          { minLength: 1, maxLength: 20 },
        ),
        (records) => {
          const builder = new BatchBuilder()
          const bytes = (text: string | null): Buffer | null => (text === null ? null : Buffer.from(text))
          for (const { key, value, timestampMs, headers } of records)
            builder.append(
              bytes(key),
              bytes(value),
              timestampMs,
              headers.map((name) => [name, null]),
            )
          const batch = builder.buildSync()
          const record = new RecordCursor(batch, batch)
          const seen: unknown[] = []
          while (record.next()) {
            const { keyStart, keyEnd, hasValue, offsetDelta, timestampDelta } = record
            seen.push([keyStart < 0 ? null : batch.toString('utf8', keyStart, keyEnd), hasValue, offsetDelta, timestampDelta])
          }
          const first = records[0]?.timestampMs ?? 0
          expect(seen).toEqual(
            records.map(({ key, value, timestampMs }, index) => [
              key === null ? null : Buffer.from(key).toString(),
              value !== null,
              index,
              timestampMs - first,
            ]),
          )
        },
      ),
    )
  })

  it('ends with a code of ours, and in time, whatever the bytes', () => {
    const sound = fourRecords()
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: AT.lastOffsetDelta, max: sound.length - 1 }), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (changes) => {
          const batch = Buffer.from(sound)
          for (const [position, byte] of changes) batch[position] = byte
          const record = new RecordCursor(batch, batch)
          try {
            while (record.next()) {
              expect(record.end).toBeLessThanOrEqual(batch.length)
              expect(record.keyEnd).toBeLessThanOrEqual(record.end)
            }
          } catch (error) {
            expect(TidemarkError.is(error) && error.code).toBe('CORRUPT_BATCH')
          }
        },
      ),
      { numRuns: 3000 },
    )
  })
})

describe('a batch with fewer records', () => {
  it('keeps offsets, producer, sequence and epoch, and can be read', async () => {
    const batch = fourRecords()
    const places = placesOf(batch)
    const records = Buffer.concat([1, 3].map((at) => batch.subarray(places[at]?.start, places[at]?.end)))
    const rewritten = withRecords(batch, { records, recordCount: 2, maxTimestamp: T + 3, deleteHorizonMs: undefined })
    expect(readBatchHeader(rewritten)).toMatchObject({
      baseOffset: 100,
      lastOffset: 103,
      leaderEpoch: 3,
      producerId: 7,
      producerEpoch: 2,
      baseSequence: 40,
      recordCount: 2,
      baseTimestamp: T,
      maxTimestamp: T + 3,
    })
    expect(isChecksumRight(rewritten)).toBe(true)
    expect((await readRecords(rewritten)).map(({ offset, timestampMs, key }) => [offset, timestampMs, String(key)])).toEqual([
      [101, T + 1, 'k1'],
      [103, T + 3, 'k3'],
    ])
  })

  it('of none keeps them too, and has neither codec nor horizon', async () => {
    const builder = new BatchBuilder()
    builder.append(Buffer.from('k'), Buffer.from('v'), T)
    builder.append(Buffer.from('k'), null, T + 9)
    const batch = Buffer.from(await builder.build('gzip', PRODUCER))
    patchBatch(batch, 0, 100, 3)
    const empty = withoutRecords(batch)
    expect(empty).toHaveLength(61)
    expect(readBatchHeader(empty)).toMatchObject({
      baseOffset: 100,
      lastOffset: 101,
      leaderEpoch: 3,
      producerId: 7,
      baseSequence: 40,
      recordCount: 0,
      attributes: 0,
      baseTimestamp: T + 9,
      maxTimestamp: T + 9,
    })
    expect(isChecksumRight(empty)).toBe(true)
    expect(await readRecords(empty)).toEqual([])
    expect(isChecksumRight(batch)).toBe(true)
  })

  it('keeps the mark of a time that the node stamped', () => {
    const batch = fourRecords()
    stampAppendTime(batch, 0, T + 50)
    expect(readBatchHeader(withoutRecords(batch))).toMatchObject({ attributes: 0x08, maxTimestamp: T + 50 })
  })

  it('has its delete horizon where the base timestamp was, which no producer may send', () => {
    const batch = fourRecords()
    const records = batch.subarray(61)
    const rewritten = withRecords(batch, { records, recordCount: 4, maxTimestamp: T + 3, deleteHorizonMs: T + 1000 })
    expect(readDeleteHorizon(batch)).toBeUndefined()
    expect(readDeleteHorizon(rewritten)).toBe(T + 1000)
    expect(rewritten.readInt16BE(AT.attributes)).toBe(0x40)
    expect(() => validateProducedBatch(rewritten, { timestampMaxMs: Number.MAX_SAFE_INTEGER })).toThrow(
      expect.objectContaining({ code: 'INVALID_RECORD' }),
    )
  })
})
