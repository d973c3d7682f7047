/** From the records of a batch to the messages an application gets. */
import { type RecordView, readRecords } from '../../protocol/batch-reader.ts'
import { decodeField } from '../serialization.ts'
import type { TopicRef } from '../topic.ts'
import type { Message } from '../types.ts'

/** Messages of one partition, in order. */
export interface MessageBatch<K, V> {
  readonly topic: string
  readonly partition: number
  readonly messages: readonly Message<K, V>[]
  readonly highWatermark: bigint
}

/** The messages of a batch from offset `from` up to, not including, `end`. Throws `CORRUPT_BATCH`, `SERIALIZATION_FAILED`. */
export async function decodeBatch<K, V>(
  ref: TopicRef<K, V>,
  partition: number,
  buffer: Buffer,
  options: { readonly from: number; readonly end: number; readonly checkCrc: boolean },
): Promise<Message<K, V>[]> {
  const { from, end, checkCrc } = options
  const messages: Message<K, V>[] = []
  for (const record of await readRecords(buffer, { checkCrc })) {
    if (record.offset < from || record.offset >= end) continue
    const message = decode(ref, partition, record)
    messages.push(message instanceof Promise ? await message : message)
  }
  return messages
}

function decode<K, V>(ref: TopicRef<K, V>, partition: number, record: RecordView): Message<K, V> | Promise<Message<K, V>> {
  const where = (): string => `record ${ref.name}-${partition} at offset ${record.offset}`
  const key = decodeField(ref.key, record.key, where, 'key')
  const value = decodeField(ref.value, record.value, where, 'value')
  const make = (decodedKey: K | null, decodedValue: V | null): Message<K, V> => ({
    topic: ref.name,
    partition,
    offset: BigInt(record.offset),
    timestamp: record.timestampMs,
    key: decodedKey,
    value: decodedValue,
    headers: record.headers.length === 0 ? NO_HEADERS : new Map(record.headers),
    raw: record.value,
    rawKey: record.key,
  })
  if (key instanceof Promise || value instanceof Promise)
    return Promise.all([Promise.resolve(key), Promise.resolve(value)]).then(([decodedKey, decodedValue]) => make(decodedKey, decodedValue))
  return make(key, value)
}

const NO_HEADERS: ReadonlyMap<string, Buffer | null> = new Map()
