/** Messages as members of a group get them: with the epoch of their partition, and with the commit. */
import type { MessageBatch } from '../consumer/messages.ts'
import type { Taken } from '../consumer/reader.ts'
import type { Message } from '../types.ts'
import type { Work } from './assigned.ts'
import type { GroupSession } from './session.ts'
import type { GroupBatch, GroupMessage } from './types.ts'

type Committed = Pick<GroupMessage<unknown, unknown>, 'epoch' | 'commit'>

/** The message itself, with more to it. */
export function deliver<K, V>(session: GroupSession<K, V>, work: Work, message: Message<K, V>): GroupMessage<K, V> {
  return Object.assign(message, committedBy(session, work))
}

export function deliverBatch<K, V>(session: GroupSession<K, V>, work: Work, batch: MessageBatch<K, V>): GroupBatch<K, V> {
  return { ...batch, ...committedBy(session, work) }
}

/** The messages of a batch, each with where its partition goes on behind it; behind the last one that is where the batch ends. */
export function* nextOffsetsOf<K, V>({
  batch,
  nextOffset,
}: Taken<K, V>): Generator<{ readonly message: Message<K, V>; readonly nextOffset: number }> {
  const { messages } = batch
  for (const [index, message] of messages.entries())
    yield { message, nextOffset: index === messages.length - 1 ? nextOffset : Number(message.offset) + 1 }
}

function committedBy<K, V>(session: GroupSession<K, V>, work: Work): Committed {
  return { epoch: work.assigned.epoch, commit: (options = {}) => session.commit(work, options.metadata) }
}
