/**
 * What clients, the nemesis and the observers did and saw: lines of JSON, a file for each life of each process, merged by their times.
 *
 * Times are milliseconds of the machine's monotonic clock, the same for all processes. A line is written before what it announces is done and after what
 * it reports has happened, each with one call, so that a process that is killed has said everything it began. Values are unique: `process:number`.
 */
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** Offset and value. */
export type Seen = readonly [offset: number, value: string]

/** Offset, key and value. */
export type Latest = readonly [offset: number, key: string, value: string]

/** Partition and offset. */
export type At = readonly [partition: number, offset: number]

/** `info`: it may have happened or not. */
type Ending = 'fail' | 'info'

export type Happened =
  | { readonly op: 'start'; readonly role: 'producer'; readonly idempotent: boolean }
  | { readonly op: 'start'; readonly role: 'reader' | 'keeper' | 'registrar' | 'observer' | 'nemesis' }
  | { readonly op: 'start'; readonly role: 'member'; readonly group: string }
  /** It was told to stop, and did so in order. */
  | { readonly op: 'stop' }
  /** It ended, and should not have. */
  | { readonly op: 'die'; readonly error: string }
  | { readonly op: 'send'; readonly type: 'invoke'; readonly id: number; readonly value: string }
  | { readonly op: 'send'; readonly type: 'ok'; readonly id: number; readonly at: At }
  | { readonly op: 'send'; readonly type: Ending; readonly id: number; readonly error: string }
  /** Records that were handed to the application together. `epoch`: of a member, that in which it has the partition. */
  | { readonly op: 'poll'; readonly partition: number; readonly epoch?: number; readonly records: readonly Seen[] }
  /** A member was given a partition, and goes on at the offset. */
  | { readonly op: 'take'; readonly at: At; readonly epoch: number }
  | { readonly op: 'commit'; readonly type: 'invoke'; readonly id: number; readonly at: At; readonly epoch: number }
  | { readonly op: 'commit'; readonly type: 'ok'; readonly id: number }
  | { readonly op: 'commit'; readonly type: Ending; readonly id: number; readonly error: string }
  /** An observer asks where partitions begin or end, or what a group has committed. */
  | { readonly op: 'look'; readonly type: 'invoke'; readonly id: number; readonly what: Looked }
  | { readonly op: 'look'; readonly type: 'ok'; readonly id: number; readonly at: readonly At[] }
  /** A keeper writes the next value of a key. */
  | { readonly op: 'put'; readonly type: 'invoke'; readonly id: number; readonly key: string; readonly value: string }
  | { readonly op: 'put'; readonly type: 'ok'; readonly id: number; readonly at: At }
  | { readonly op: 'put'; readonly type: Ending; readonly id: number; readonly error: string }
  /** A registrar changes a topic of its own. `value`: what it sets by that. */
  | {
      readonly op: 'change'
      readonly type: 'invoke'
      readonly id: number
      readonly topic: string
      readonly verb: 'create' | 'alter' | 'delete'
      readonly value: string
    }
  | { readonly op: 'change'; readonly type: 'ok'; readonly id: number }
  | { readonly op: 'change'; readonly type: Ending; readonly id: number; readonly error: string; readonly why: string }
  /** From where to where a partition is kept of which only the newest part stays. */
  | { readonly op: 'kept'; readonly partition: number; readonly start: number; readonly end: number }
  /** `kinds` of faults from here on, to the `heal`, and what they led to until it is `whole` again or not in time. */
  | { readonly op: 'period'; readonly kinds: readonly string[] }
  | { readonly op: 'fault'; readonly kind: string; readonly target: string }
  | { readonly op: 'heal' }
  /** A node whose disk cannot be trusted gets an empty one. */
  | { readonly op: 'replace'; readonly target: string }
  | { readonly op: 'whole' }
  | { readonly op: 'not whole'; readonly what: string }
  /** Everything there is in the end, a part at a time. */
  | { readonly op: 'final'; readonly partition: number; readonly records: readonly Seen[] }
  /** Everything there is of the compacted topic. */
  | { readonly op: 'latest'; readonly partition: number; readonly records: readonly Latest[] }
  /** The topics of registrars that are there, with what was set last. */
  | { readonly op: 'topics'; readonly found: Readonly<Record<string, string>> }
  /** Nothing is sent any more, and groups had time to get to the end. Readers are told to stop now, and go on to the end before they do. */
  | { readonly op: 'drained' }

/** `start` and `end` of partitions, or the name of a group. */
export type Looked = 'start' | 'end' | { readonly group: string }

export type Entry = Happened & {
  /** Name and number of its life: `producer-1.3`. */
  readonly process: string
  /** Milliseconds, monotonic. */
  readonly t: number
}

export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000
}

export class HistoryFile {
  readonly #file: number

  /** `path` without its ending. A life writes a file of its own. */
  constructor(directory: string, process: string) {
    mkdirSync(directory, { recursive: true })
    this.#file = openSync(join(directory, `${process}.ndjson`), 'ax')
  }

  write(happened: Happened): void {
    writeSync(this.#file, `${JSON.stringify({ t: monotonicMs(), ...happened })}\n`)
  }

  close(): void {
    closeSync(this.#file)
  }
}

/** All histories of a run, merged. The last line of a process that was killed may be cut short. */
export function readHistory(directory: string): Entry[] {
  const entries: Entry[] = []
  for (const name of readdirSync(directory).sort()) {
    if (!name.endsWith('.ndjson')) continue
    const process = name.slice(0, -'.ndjson'.length)
    const lines = readFileSync(join(directory, name), 'utf8').split('\n')
    const last = lines.pop() ?? ''
    for (const line of lines) entries.push({ process, ...(JSON.parse(line) as Happened & { t: number }) })
    if (last !== '' && !isCut(last)) throw new Error(`${name} has a last line without an end that is a whole one`)
  }
  return entries.sort((a, b) => a.t - b.t)
}

function isCut(line: string): boolean {
  try {
    JSON.parse(line)
    return false
  } catch {
    return true
  }
}
