/** From a record as the application gives it to the bytes of its parts. */
import { BatchBuilder, type HeaderEntry } from '../../protocol/batch-builder.ts'
import { BATCH_HEADER_BYTES } from '../../protocol/batch-header.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import type { TopicInfo } from '../cluster-client.ts'
import { encodeField } from '../serialization.ts'
import type { TopicRef } from '../topic.ts'
import type { HeaderValue, OutgoingRecord } from '../types.ts'

export interface EncodedRecord {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly HeaderEntry[]
  readonly timestampMs: number
  readonly partition: number | undefined
  /** Most bytes it takes in a batch. */
  readonly sizeBytes: number
}

const NO_HEADERS: readonly HeaderEntry[] = []

/** A promise only when a codec gives one. Throws `SERIALIZATION_FAILED` and `INVALID_TIMESTAMP`. */
export function encodeRecord<K, V>(
  ref: TopicRef<K, V>,
  record: OutgoingRecord<K, V>,
  nowMs: number,
): EncodedRecord | Promise<EncodedRecord> {
  const key = encodeField(ref.key, record.key, ref.name, 'key')
  const value = encodeField(ref.value, record.value, ref.name, 'value')
  if (key instanceof Promise || value instanceof Promise)
    return Promise.all([key, value]).then(([keyBytes, valueBytes]) => assemble(record, keyBytes, valueBytes, nowMs))
  return assemble(record, key, value, nowMs)
}

function assemble<K, V>(record: OutgoingRecord<K, V>, key: Buffer | null, value: Buffer | null, nowMs: number): EncodedRecord {
  const headers = record.headers === undefined ? NO_HEADERS : headerEntries(record.headers)
  const timestampMs = record.timestamp ?? nowMs
  if (!Number.isSafeInteger(timestampMs) || timestampMs < 0) {
    const detail = `timestamp ${timestampMs} is not a whole number of milliseconds since 1970`
    throw new TidemarkError('INVALID_TIMESTAMP', detail, { outcome: 'failed' })
  }
  return { key, value, headers, timestampMs, partition: record.partition, sizeBytes: BatchBuilder.sizeBoundBytes(key, value, headers) }
}

/** Records that have to wait, with bytes of their own: what is the application's it may use again once `send` has returned. */
export function withOwnBytes<K, V>(
  encoded: readonly (EncodedRecord | Promise<EncodedRecord>)[],
  given: readonly OutgoingRecord<K, V>[],
): (EncodedRecord | Promise<EncodedRecord>)[] {
  return encoded.map((record, index) => {
    if (record instanceof Promise) return record
    const { key, value, headers } = record
    return {
      ...record,
      key: ownOf(key, given[index]?.key),
      value: ownOf(value, given[index]?.value),
      headers: headers.map(([name, bytes]): HeaderEntry => [name, ownOf(bytes, bytes)]),
    }
  })
}

function ownOf(bytes: Buffer | null, given: unknown): Buffer | null {
  return bytes !== null && given instanceof Uint8Array && given.buffer === bytes.buffer ? Buffer.from(bytes) : bytes
}

function headerEntries(headers: Readonly<Record<string, HeaderValue>>): readonly HeaderEntry[] {
  return Object.entries(headers).map(([name, value]): HeaderEntry => {
    if (typeof value === 'string') return [name, Buffer.from(value)]
    if (value === null || Buffer.isBuffer(value)) return [name, value]
    throw new TidemarkError('SERIALIZATION_FAILED', `header ${name} is ${typeof value}, expected a string, a Buffer or null`, {
      outcome: 'failed',
    })
  })
}

/** Refuses what the node is sure to refuse. A record that is to be compressed may yet become small enough. */
export function checkRecordSize(info: TopicInfo, record: EncodedRecord, isCompressed: boolean): void {
  const bytes = record.sizeBytes + BATCH_HEADER_BYTES
  if (bytes <= info.maxMessageBytes || isCompressed) return
  const detail = `a record of about ${bytes} bytes is larger than max.message.bytes of ${info.name} (${info.maxMessageBytes})`
  throw new TidemarkError('RECORD_TOO_LARGE', detail, { outcome: 'failed' })
}
