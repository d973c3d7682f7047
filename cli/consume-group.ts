/** `tidemark consume -g`: records to lines, as a member of a group. What is printed is committed. */
import type { GroupConsumer, Message, StartPosition, Tidemark } from '../client/index.ts'
import { TidemarkError } from '../protocol/errors.ts'
import { note } from './output.ts'

export interface GroupReading {
  readonly group: string
  readonly topics: readonly string[]
  readonly start: StartPosition | 'committed'
  /** Stop after so many records. */
  readonly most: number
  readonly signal: AbortSignal
  /** Nobody reads what is said beside the records. */
  readonly isQuiet: boolean
  readonly print: (messages: readonly Message<Buffer, Buffer>[]) => Promise<void>
}

export async function consumeAsMember(tm: Tidemark, reading: GroupReading): Promise<void> {
  const { group, topics, start, most, signal, isQuiet, print } = reading
  let left = most
  if (left === 0) return
  await using member = tm.consumer<Buffer, Buffer>(topics, { group, start, signal })
  if (!isQuiet) sayOnceIdle(member, group)
  for await (const batch of member.batches()) {
    const wanted = batch.messages.slice(0, left)
    await print(wanted)
    left -= wanted.length
    const last = wanted.at(-1)
    if (last === undefined) continue
    const { topic, partition, offset } = last
    const isWhole = wanted.length === batch.messages.length
    await unlessMoved(`${topic}-${partition}`, isWhole ? batch.commit() : member.commit([{ topic, partition, offset: offset + 1n }]))
    if (left <= 0) return
  }
}

function sayOnceIdle(member: GroupConsumer<Buffer, Buffer>, group: string): void {
  const stop = member.on('idle', ({ isIdle }) => {
    if (!isIdle) return
    note(`group ${group} has more members than partitions: this one has none, and waits until it is needed`)
    stop()
  })
}

/** The partition went to another member, or its offset was reset: what was printed of it may come again, and reading goes on. */
async function unlessMoved(name: string, commit: Promise<void>): Promise<void> {
  try {
    await commit
  } catch (error) {
    if (!TidemarkError.is(error) || error.code !== 'STALE_MEMBER_EPOCH') throw error
    note(`${name} has moved, or was reset: what was printed of it last is not committed`)
  }
}
