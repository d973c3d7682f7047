/**
 * What the codecs cost, one core, nothing else running: `node scripts/bench/codec.ts`.
 *
 * Each line has a baseline of the same round beside it, mostly a copy of the same bytes: machines differ and are
 * noisy, ratios less so.
 */
import { partitionForKey } from '../../protocol/partitioner.ts'
import { BatchBuilder } from '../../protocol/batch-builder.ts'
import { validateProducedBatch } from '../../protocol/batch-header.ts'
import { readRecords } from '../../protocol/batch-reader.ts'
import { type CompressionName, loadCodec } from '../../protocol/compression.ts'
import { crc32c } from '../../protocol/crc32c.ts'
import { FetchResponse, ProduceRequest } from '../../protocol/gen/tidemark/v1/log.ts'
import { decodeFetchResponse, decodeProduceRequest, encodeFetchResponse, encodeProduceRequest } from '../../protocol/log-codec.ts'
import { median } from './harness.ts'

const ROUNDS = 7
const ROUND_MS = 60
const MIB = 1024 * 1024

/** Keeps results alive, so that no work is optimised away. */
let sink = 0

/** Seconds one call of `work` takes: the median of several rounds. */
async function secondsOf(work: () => unknown): Promise<number> {
  const seconds: number[] = []
  for (let round = 0; round <= ROUNDS; round++) {
    let count = 0
    const startedMs = performance.now()
    let elapsedMs: number
    do {
      const result = work()
      if (result instanceof Promise) await result
      count++
      elapsedMs = performance.now() - startedMs
    } while (elapsedMs < ROUND_MS)
    // The first round warms up.
    if (round > 0) seconds.push(elapsedMs / 1000 / count)
  }
  return median(seconds)
}

function print(what: string, ours: string, against: string, ratio: number): void {
  console.log(`${what.padEnd(46)} ${ours.padStart(22)}   ${against}: ratio ${ratio.toPrecision(3)}`)
}

function copySeconds(bytes: Buffer): Promise<number> {
  const target = Buffer.alloc(bytes.length)
  return secondsOf(() => (sink += bytes.copy(target)))
}

function perSecond(count: number, seconds: number, unit: string): string {
  return `${(count / seconds / 1e6).toFixed(2)} M ${unit}/s`
}

function megabytesPerSecond(bytes: number, seconds: number): string {
  return `${(bytes / seconds / 1e6).toFixed(0)} MB/s`
}

const RECORD_COUNT = 1000
const key = Buffer.from('customer-00042')
const value = Buffer.alloc(100 - key.length, 'an ordinary value ')

function buildBatch(): Buffer {
  const builder = new BatchBuilder(128 * 1024)
  for (let index = 0; index < RECORD_COUNT; index++) builder.append(key, value, 1_700_000_000_000 + index)
  return builder.buildSync()
}

async function records(): Promise<void> {
  const batch = buildBatch()
  const copy = await copySeconds(batch)
  const encode = await secondsOf(() => (sink += buildBatch().length))
  print('encode records of 100 B', perSecond(RECORD_COUNT, encode, 'records'), 'a copy of the batch', copy / encode)
  const decode = await secondsOf(async () => (sink += (await readRecords(batch)).length))
  print('decode records of 100 B', perSecond(RECORD_COUNT, decode, 'records'), 'a copy of the batch', copy / decode)
  const limits = { timestampMaxMs: Number.POSITIVE_INFINITY }
  const check = await secondsOf(() => validateProducedBatch(batch, limits))
  print('check a produced batch, record by record', megabytesPerSecond(batch.length, check), 'a copy of the batch', copy / check)
}

async function checksums(): Promise<void> {
  for (const [name, bytes] of [
    ['1 KiB', 1024],
    ['64 KiB', 64 * 1024],
    ['1 MiB', MIB],
  ] as const) {
    const data = Buffer.alloc(bytes, 'checksum')
    const seconds = await secondsOf(() => (sink += crc32c(data)))
    print(`CRC-32C of ${name}`, megabytesPerSecond(bytes, seconds), 'a copy', (await copySeconds(data)) / seconds)
  }
}

async function partitions(): Promise<void> {
  const keys = Array.from({ length: 1000 }, (_, index) => Buffer.from(`customer-${index * 7919}`))
  const baseline = await secondsOf(() => {
    for (const one of keys) sink += one[one.length - 1] as number
  })
  for (const partitioner of ['murmur3', 'murmur2'] as const) {
    const seconds = await secondsOf(() => {
      for (const one of keys) sink += partitionForKey(partitioner, one, 12)
    })
    print(`partition by ${partitioner}`, perSecond(keys.length, seconds, 'keys'), 'reading a byte of each key', baseline / seconds)
  }
}

async function compressions(): Promise<void> {
  const batch = buildBatch()
  for (const name of ['gzip', 'snappy', 'lz4', 'zstd'] as const satisfies readonly CompressionName[]) {
    const codec = await loadCodec(name)
    const packed = codec.compress(batch)
    const copy = await copySeconds(batch)
    const compress = await secondsOf(() => (sink += codec.compress(batch).length))
    print(`${name} compress 110 KB`, megabytesPerSecond(batch.length, compress), 'a copy', copy / compress)
    const decompress = await secondsOf(() => (sink += codec.decompress(packed, MIB).length))
    print(`${name} decompress 110 KB`, megabytesPerSecond(batch.length, decompress), 'a copy', copy / decompress)
  }
}

/** What a transport does with a message: copies it behind the five bytes of its frame header. */
function frame(message: Buffer): Buffer {
  const output = Buffer.allocUnsafe(message.length + 5)
  message.copy(output, 5)
  return output
}

async function messages(batchBytes: number, partitionCount: number): Promise<void> {
  const batch = Buffer.alloc(batchBytes, 7)
  const entry = { topic: 'orders', topicId: Buffer.alloc(16, 1), leaderEpochPlusOne: 1, batch }
  const places = Array.from({ length: partitionCount }, (_, partition) => partition)
  const request = {
    correlationId: 7,
    acks: 0 as const,
    timeoutMs: 30_000,
    partitions: places.map((partition) => ({ ...entry, partition })),
  }
  const result = { topic: 'orders', error: undefined, highWatermark: 1e6, logStartOffset: 0 }
  const response = { correlationId: 7, partitions: places.map((partition) => ({ ...result, partition, batches: [batch] })) }
  const joined = { correlationId: 7, partitions: places.map((partition) => ({ ...result, partition, batches: batch })) }
  const requestBytes = Buffer.from(ProduceRequest.encode(request).finish())
  const responseBytes = Buffer.from(FetchResponse.encode(joined).finish())

  const cases: readonly (readonly [string, () => unknown, () => unknown])[] = [
    ['encode produce', () => frame(encodeProduceRequest(request)), () => frame(Buffer.from(ProduceRequest.encode(request).finish()))],
    ['decode produce', () => decodeProduceRequest(requestBytes), () => ProduceRequest.decode(requestBytes)],
    ['encode fetch', () => frame(encodeFetchResponse(response)), () => frame(Buffer.from(FetchResponse.encode(joined).finish()))],
    ['decode fetch', () => decodeFetchResponse(responseBytes), () => FetchResponse.decode(responseBytes)],
  ]
  for (const [what, ours, generated] of cases) {
    const seconds = await secondsOf(ours)
    const baseline = await secondsOf(generated)
    print(
      `${what}, ${partitionCount} × ${batchBytes / 1024} KiB`,
      `${(seconds * 1e6).toFixed(1)} µs`,
      `generated code, ${(baseline * 1e6).toFixed(1)} µs`,
      baseline / seconds,
    )
  }
}

console.log(`Node ${process.version}, ${process.platform} ${process.arch}; a ratio above 1 is faster than the baseline\n`)
await records()
await checksums()
await partitions()
await compressions()
await messages(64 * 1024, 1)
await messages(1024, 100)
process.exitCode = Number.isNaN(sink) ? 1 : 0
