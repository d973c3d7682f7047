/** The sends of a history, each with what became of it. */
import type { At, Entry } from './history.ts'

export interface Send {
  readonly process: string
  readonly isIdempotent: boolean
  readonly value: string
  readonly invokedMs: number
  /** `info` also when the process ended before it knew. */
  readonly outcome: 'ok' | 'fail' | 'info'
  readonly endedMs: number
  /** When it was acknowledged. */
  readonly at: At | undefined
  readonly error: string
}

export interface Sends {
  /** In the order in which they began. */
  readonly all: readonly Send[]
  readonly byValue: ReadonlyMap<string, Send>
}

/** `history` is in the order of time. */
export function sendsOf(history: readonly Entry[]): Sends {
  const isIdempotent = new Map<string, boolean>()
  const open = new Map<string, { -readonly [Field in keyof Send]: Send[Field] }>()
  const all: Send[] = []
  for (const entry of history) {
    const { process } = entry
    if (entry.op === 'start' && entry.role === 'producer') isIdempotent.set(process, entry.idempotent)
    if (entry.op !== 'send') continue
    const name = `${process} ${entry.id}`
    if (entry.type === 'invoke') {
      const send = {
        process,
        isIdempotent: isIdempotent.get(process) ?? true,
        value: entry.value,
        invokedMs: entry.t,
        outcome: 'info' as const,
        endedMs: Number.POSITIVE_INFINITY,
        at: undefined,
        error: '',
      }
      open.set(name, send)
      all.push(send)
      continue
    }
    const send = open.get(name)
    if (send === undefined) throw new Error(`${name} ends a send that did not begin`)
    open.delete(name)
    send.outcome = entry.type
    send.endedMs = entry.t
    if (entry.type === 'ok') send.at = entry.at
    else send.error = entry.error
  }
  return { all, byValue: new Map(all.map((send) => [send.value, send])) }
}
