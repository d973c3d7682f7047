/** The records that the benchmarks send, and sending and reading them as fast as the client can. */
import type { CompressionName, Tidemark } from '../../client/index.ts'
import { MIB, timed } from './harness.ts'

export interface Load {
  readonly recordBytes: number
  readonly recordCount: number
  readonly batchBytes: number
  readonly compression?: CompressionName
}

/** Values before the first comes again: more than a batch, which would else compress to nothing. */
const DISTINCT_BYTES = MIB

/** Values of words and numbers, as events of an application have: zstd makes a fifth to a quarter of them. The same in every run. */
export function makeValues(bytes: number): readonly Buffer[] {
  const words = [
    'order',
    'customer',
    'paid',
    'shipped',
    'cancelled',
    'amount',
    'warehouse',
    'express',
    'returned',
    'invoice',
    'berlin',
    'lisbon',
  ]
  let state = 42
  const next = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
    return (state >>> 8) % below
  }
  return Array.from({ length: Math.ceil(DISTINCT_BYTES / bytes) }, () => {
    let text = ''
    while (text.length < bytes) text += `{"${words[next(words.length)]}":"${words[next(words.length)]}","n":${next(1_000_000)}},`
    return Buffer.from(text.slice(0, bytes))
  })
}

/** Sends the records; resolves when the last is acknowledged. */
export async function fill(
  tm: Tidemark,
  topic: string,
  { recordBytes, recordCount, batchBytes, compression = 'none' }: Load,
): Promise<void> {
  const values = makeValues(recordBytes)
  await using producer = tm.producer({ batchBytes, compression, bufferBytes: '32MiB' })
  await producer.ready({ topic })
  for (let sent = 0; sent < recordCount; sent++) {
    const value = values[sent % values.length] as Buffer
    while (!producer.enqueue(topic, { value })) await producer.ready()
  }
  await producer.flush()
}

/** Megabytes of values a second into a fresh topic, until the last is acknowledged. */
export async function produceMbs(
  tm: Tidemark,
  topic: string,
  load: Load,
  options: Parameters<Tidemark['admin']['createTopic']>[1] = {},
): Promise<number> {
  await tm.admin.createTopic(topic, { partitions: 1, ...options })
  const elapsedMs = await timed(() => fill(tm, topic, load))
  await tm.admin.deleteTopic(topic)
  return (load.recordBytes * load.recordCount) / 1e6 / (elapsedMs / 1000)
}

/** Megabytes of values a second, read from the start to the end. */
export async function drainMbs(tm: Tidemark, topic: string): Promise<number> {
  let bytes = 0
  const elapsedMs = await timed(async () => {
    for await (const { messages } of tm.consumer(topic, { start: 'earliest', end: 'now' }).batches())
      for (const { raw } of messages) bytes += raw?.length ?? 0
  })
  return bytes / 1e6 / (elapsedMs / 1000)
}
