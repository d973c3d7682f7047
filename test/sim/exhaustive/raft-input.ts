/** What may happen to a node of a searched cluster, each with a number. */
import type { Entry, Message } from '../../../controller/raft/messages.ts'

const NOTHING = new Uint8Array(0)

export const NODES = [1, 2, 3] as const

export type Input =
  /** Time passes by one tick; an election timeout is over. */
  | { readonly kind: 'tick' | 'campaign' }
  | { readonly kind: 'propose'; readonly text: string }
  /** What a driver does: takes a `Ready`; writes what is in it, after which its promises may leave; applies, and advances. */
  | { readonly kind: 'ready' | 'write' | 'advance' }
  /** The process dies with everything that was not written, and another starts on the same disk. */
  | { readonly kind: 'crash' }
  | { readonly kind: 'compact' }
  | { readonly kind: 'remove'; readonly nodeId: number }
  | { readonly kind: 'transfer'; readonly to: number }
  | { readonly kind: 'read' }
  /** What a transport knows of a snapshot. */
  | { readonly kind: 'report'; readonly to: number; readonly isDelivered: boolean }
  | { readonly kind: 'deliver'; readonly message: Message }

/** All but the arrival of messages. */
const FIXED: readonly Input[] = [
  { kind: 'tick' },
  { kind: 'campaign' },
  { kind: 'ready' },
  { kind: 'write' },
  { kind: 'advance' },
  { kind: 'crash' },
  { kind: 'compact' },
  { kind: 'read' },
  ...['a', 'b', 'c'].map((text): Input => ({ kind: 'propose', text })),
  ...NODES.map((nodeId): Input => ({ kind: 'remove', nodeId })),
  ...NODES.map((to): Input => ({ kind: 'transfer', to })),
  ...[true, false].flatMap((isDelivered) => NODES.map((to): Input => ({ kind: 'report', to, isDelivered }))),
]
const FIRST_MESSAGE = FIXED.length

/** Of the input that is like `wanted`. */
export function numberOfInput(wanted: Input): number {
  const text = JSON.stringify(wanted)
  const number = FIXED.findIndex((input) => JSON.stringify(input) === text)
  if (number < 0) throw new Error(`no input ${text}`)
  return number
}

export function numberOfArrival(message: number): number {
  return FIRST_MESSAGE + message
}

export function inputOf(number: number, messageOf: (number: number) => Message): Input {
  return FIXED[number] ?? { kind: 'deliver', message: messageOf(number - FIRST_MESSAGE) }
}

export function describeInput(input: Input): string {
  switch (input.kind) {
    case 'tick':
      return 'passes a tick'
    case 'campaign':
      return 'times out'
    case 'propose':
      return `is proposed ${input.text}`
    case 'ready':
      return 'takes a Ready'
    case 'write':
      return 'has written it'
    case 'advance':
      return 'advances'
    case 'crash':
      return 'crashes and starts again'
    case 'compact':
      return 'takes a snapshot and compacts'
    case 'remove':
      return `is asked to remove ${input.nodeId}`
    case 'transfer':
      return `is asked to hand over to ${input.to}`
    case 'read':
      return 'is asked for a read'
    case 'report':
      return `hears that the snapshot for ${input.to} ${input.isDelivered ? 'arrived' : 'got lost'}`
    case 'deliver':
      return `gets ${describeMessage(input.message)}`
  }
}

/** Its term and what it says. */
export function contentOf(entry: Entry): string {
  return `${entry.term}${entry.type === 'normal' ? Buffer.from(entry.data).toString() : ` ${entry.change.type} ${entry.change.nodeId}`}`
}

/** What `contentOf` says of entries without text. */
export function entryOf(index: number, content: string): Entry {
  const [term, , removed] = content.split(' ')
  const entry = { index, term: Number(term) }
  if (removed === undefined) return { ...entry, type: 'normal', data: NOTHING }
  return { ...entry, type: 'confChange', change: { type: 'remove', nodeId: Number(removed), context: NOTHING } }
}

/** Equal for equal messages. */
export function messageText({ type, from, to, ...fields }: Message): string {
  const { term, logTerm, index, commit, entries, reject, rejectHint, snapshot, context } = fields
  const contents = entries.map(contentOf)
  // Between two histories the same index and term may mean other contents.
  const snapshotText = snapshot === undefined ? '' : `${snapshot.meta.index}/${snapshot.meta.term} ${Buffer.from(snapshot.data).toString()}`
  return `${type} ${from}>${to} ${term} ${logTerm} ${index} ${commit} ${contents.join()} ${reject} ${rejectHint} ${snapshotText} ${context}`
}

function describeMessage({ type, from, term, index, logTerm, commit, entries, reject, snapshot }: Message): string {
  const words = [`${type} of ${from} in term ${term}`]
  if (index > 0 || logTerm > 0) words.push(`at ${index}/${logTerm}`)
  if (entries.length > 0) words.push(`entries of terms ${entries.map((entry) => entry.term).join()}`)
  if (commit > 0) words.push(`commit ${commit}`)
  if (reject) words.push('refused')
  if (snapshot !== undefined) words.push(`snapshot ${snapshot.meta.index}/${snapshot.meta.term}`)
  return words.join(' ')
}
