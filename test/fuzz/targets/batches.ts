/** Record batches: what producers send, what readers get, what compaction makes of them. */
import fc from 'fast-check'
import { BatchBuilder } from '../../../protocol/batch-builder.ts'
import {
  BATCH_HEADER_BYTES,
  BATCH_LENGTH_OVERHEAD_BYTES,
  codecOf,
  isChecksumRight,
  readAttributes,
  readRecordCount,
  renewChecksum,
  validateProducedBatch,
} from '../../../protocol/batch-header.ts'
import { readRecords, splitBatches } from '../../../protocol/batch-reader.ts'
import { withoutRecords, withRecords } from '../../../protocol/batch-rewrite.ts'
import { COMPRESSIONS, loadCodec } from '../../../protocol/compression.ts'
import { RecordCursor } from '../../../protocol/record-cursor.ts'
import { readVarint, varintSize, writeVarint } from '../../../protocol/varint.ts'
import { must, type Target } from '../target.ts'

/** What compressed records of a batch may grow to in these runs. */
const PLAIN_BYTES_MAX = 64 * 1024

const bytes = fc.option(fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)))

const batches: fc.Arbitrary<Buffer> = fc
  .record({
    records: fc.array(
      fc.record({
        key: bytes,
        value: bytes,
        timestampMs: fc.integer({ min: 1_700_000_000_000, max: 1_700_000_100_000 }),
        headers: fc.array(fc.tuple(fc.string({ maxLength: 8 }), bytes), { maxLength: 3 }),
      }),
      { minLength: 1, maxLength: 12 },
    ),
    compression: fc.constantFrom(...COMPRESSIONS),
    producer: fc.option(fc.record({ id: fc.nat(), epoch: fc.nat(100), baseSequence: fc.nat() }), { nil: undefined }),
  })
  .map(({ records, compression, producer }) => {
    const builder = new BatchBuilder()
    for (const { key, value, timestampMs, headers } of records) builder.append(key, value, timestampMs, headers)
    return Buffer.from(builder.buildSync(compression, producer))
  })

async function seeds(seed: number): Promise<Buffer[]> {
  for (const name of COMPRESSIONS) await loadCodec(name)
  return fc.sample(batches, { seed, numRuns: 200 })
}

/** The right length and the right checksum around whatever is inside. */
function mendBatch(input: Buffer): Buffer {
  if (input.length < BATCH_HEADER_BYTES) return input
  const batch = Buffer.from(input)
  batch.writeInt32BE(batch.length - BATCH_LENGTH_OVERHEAD_BYTES, 8)
  batch[16] = 2
  renewChecksum(batch, 0)
  return batch
}

const READ = { maxDecompressedBytes: PLAIN_BYTES_MAX }

export const batchTargets: readonly Target[] = [
  {
    name: 'batch-read',
    what: 'records out of batches, as a consumer reads them (splitBatches, readRecords)',
    seeds,
    mend: mendBatch,
    outputBytesMax: PLAIN_BYTES_MAX,
    async run(input) {
      for (const batch of splitBatches(input)) {
        const records = await readRecords(batch, READ)
        must(records.length === 0 || records.length === readRecordCount(batch), 'as many records as the header says')
      }
    },
  },
  {
    name: 'batch-produce',
    what: 'a batch as a node takes it from a producer (validateProducedBatch); what it takes uncompressed can be read',
    seeds,
    mend: mendBatch,
    run(input) {
      validateProducedBatch(input, { timestampMaxMs: 1_800_000_000_000, needsKeys: input.length % 2 === 0 })
      if (codecOf(readAttributes(input)) !== 0) return undefined
      return readRecords(input, READ).then((records) => must(records.length === readRecordCount(input), 'what a node takes can be read'))
    },
  },
  {
    name: 'batch-rewrite',
    what: 'the records compaction walks, and the batch it writes with some of them (RecordCursor, withRecords)',
    seeds: async (seed) => (await seeds(seed)).filter((batch) => codecOf(readAttributes(batch)) === 0),
    mend: mendBatch,
    run(input) {
      const [batch] = splitBatches(input)
      if (batch === undefined || codecOf(readAttributes(batch)) !== 0) return
      const cursor = new RecordCursor(batch, batch)
      const kept: Buffer[] = []
      let walked = 0
      while (cursor.next()) if (walked++ % 2 === 0) kept.push(batch.subarray(cursor.start, cursor.end))
      const remainder = { records: Buffer.concat(kept), recordCount: kept.length, maxTimestamp: 1, deleteHorizonMs: undefined }
      const rewritten = kept.length === 0 ? withoutRecords(batch) : withRecords(batch, remainder)
      must(isChecksumRight(rewritten), 'a rewritten batch has the right checksum')
    },
  },
  {
    name: 'varint',
    what: 'variable-length integers; what is read is written as the same number',
    seeds: () => [0, 1, -1, 63, 64, 2 ** 31 - 1, -(2 ** 31), Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER].map(varintOf),
    weight: 0.5,
    run(input) {
      const value = readVarint({ buffer: input, position: 0, end: input.length })
      must(Number.isSafeInteger(value), 'a whole number below 2^53')
      const again = varintOf(value)
      must(readVarint({ buffer: again, position: 0, end: again.length }) === value, 'the same number')
    },
  },
]

function varintOf(value: number): Buffer {
  const out = Buffer.alloc(varintSize(value))
  writeVarint(out, value, 0)
  return out
}

/** Each codec: what it is given to decompress, and what it makes of plain bytes. */
export const compressionTargets: readonly Target[] = COMPRESSIONS.filter((name) => name !== 'none').map((name): Target => {
  const codec = loadCodec(name)
  let loaded: Awaited<typeof codec>
  return {
    name: `compression-${name}`,
    what: `frames of ${name}; never more than the limit comes out, and what was compressed comes back`,
    outputBytesMax: PLAIN_BYTES_MAX,
    weight: 0.5,
    async open() {
      loaded = await codec
    },
    async seeds(seed) {
      const plain = fc.sample(fc.uint8Array({ maxLength: 300 }), { seed, numRuns: 40 }).map((array) => Buffer.from(array))
      const runs = [Buffer.alloc(5000, 'a'), Buffer.alloc(70_000), Buffer.from('abcabcabcabc'.repeat(50))]
      const { compress } = await codec
      return [...plain, ...runs].map((one) => Buffer.from(compress(one)))
    },
    run(input) {
      const plain = loaded.decompress(input, PLAIN_BYTES_MAX)
      must(plain.length <= PLAIN_BYTES_MAX, `at most ${PLAIN_BYTES_MAX} bytes, these are ${plain.length}`)
      if (plain.length <= 1024) must(loaded.decompress(loaded.compress(plain), plain.length + 1).equals(plain), 'the same bytes come back')
    },
  }
})
