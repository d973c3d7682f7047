/**
 * What observers are told. What a group has committed: no less than anybody knew when he asked. Where a partition begins and ends: no less than the same one was
 * told before; a leader that is cut off and leads no more may know less than others do, and commits nothing.
 */
import type { Anomaly } from './anomalies.ts'
import type { At, Entry, Looked } from './history.ts'

/** Somebody knew at a time that a mark had got so far. */
interface Known {
  readonly t: number
  readonly mark: string
  readonly offset: number
  readonly by: string
}

/** An answer, and when its question was asked. */
interface Told {
  readonly process: string
  readonly askedMs: number
  readonly mark: string
  readonly offset: number
}

export function checkLooks(history: readonly Entry[]): Anomaly[] {
  const { told, known } = gather(history)
  const anomalies: Anomaly[] = []
  const largest = new Map<string, Known>()
  let at = 0
  known.sort((a, b) => a.t - b.t)
  for (const { process, askedMs, mark, offset } of told.sort((a, b) => a.askedMs - b.askedMs)) {
    for (let one = known[at]; one !== undefined && one.t < askedMs; one = known[++at])
      if (one.offset > (largest.get(one.mark)?.offset ?? -1)) largest.set(one.mark, one)
    const least = largest.get(mark)
    if (least !== undefined && offset < least.offset)
      anomalies.push({
        kind: 'offset-regress',
        what: `${process} is told that ${mark} is at ${offset}, when ${least.by} knew it at ${least.offset}`,
      })
  }
  return anomalies
}

function gather(history: readonly Entry[]): { readonly told: Told[]; readonly known: Known[] } {
  const told: Told[] = []
  const known: Known[] = []
  const questions = new Map<string, { readonly t: number; readonly what: Looked }>()
  const groups = new Map<string, string>()
  const commits = new Map<string, At>()
  for (const entry of history) {
    const { process, t } = entry
    if (entry.op === 'start' && entry.role === 'member') groups.set(process, entry.group)
    else if (entry.op === 'commit' && entry.type === 'invoke') commits.set(`${process} ${entry.id}`, entry.at)
    else if (entry.op === 'commit' && entry.type === 'ok') {
      const [partition, offset] = commits.get(`${process} ${entry.id}`) ?? [-1, -1]
      known.push({ t, mark: markOf({ group: groups.get(process) ?? '' }, partition, process), offset, by: process })
    } else if (entry.op === 'look' && entry.type === 'invoke') questions.set(`${process} ${entry.id}`, { t, what: entry.what })
    else if (entry.op === 'look' && entry.type === 'ok') {
      const question = questions.get(`${process} ${entry.id}`)
      if (question === undefined) throw new Error(`${process} is told what it did not ask`)
      for (const [partition, offset] of entry.at) {
        const mark = markOf(question.what, partition, process)
        told.push({ process, askedMs: question.t, mark, offset })
        known.push({ t, mark, offset, by: process })
      }
    }
  }
  return { told, known }
}

function markOf(what: Looked, partition: number, process: string): string {
  return typeof what === 'string' ? `the ${what} of ${partition} to ${process}` : `what ${what.group} has committed of ${partition}`
}
