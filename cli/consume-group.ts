/** `tidemark consume -g`: records to lines, as a member of a group. What is printed is committed. */
import type { Message, StartPosition, Tidemark } from '../client/index.ts'

export interface GroupReading {
  readonly group: string
  readonly topics: readonly string[]
  readonly start: StartPosition | 'committed'
  /** Stop after so many records. */
  readonly most: number
  readonly signal: AbortSignal
  readonly print: (messages: readonly Message<Buffer, Buffer>[]) => Promise<void>
}

export async function consumeAsMember(tm: Tidemark, { group, topics, start, most, signal, print }: GroupReading): Promise<void> {
  let left = most
  if (left === 0) return
  await using member = tm.consumer<Buffer, Buffer>(topics, { group, start, signal })
  for await (const batch of member.batches()) {
    const wanted = batch.messages.slice(0, left)
    await print(wanted)
    left -= wanted.length
    const last = wanted.at(-1)
    if (wanted.length === batch.messages.length) await batch.commit()
    else if (last !== undefined) await member.commit([{ topic: last.topic, partition: last.partition, offset: last.offset + 1n }])
    if (left <= 0) return
  }
}
