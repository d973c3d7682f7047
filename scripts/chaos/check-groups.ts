/**
 * Groups: one owner, no record passed over, no way back.
 *
 * Epochs say what came first: once a partition was given in an epoch, nothing of a smaller one counts any more. Where two processes are compared by time,
 * the one that is blamed did two things after the other had taken over: between them it had to look whether it still may.
 */
import type { Anomaly } from './anomalies.ts'
import { endOf } from './check-order.ts'
import type { At, Entry } from './history.ts'

interface Take {
  readonly process: string
  readonly epoch: number
  readonly t: number
}

interface Commit {
  readonly process: string
  readonly at: At
  readonly epoch: number
  readonly invokedMs: number
}

/** What is known of a partition in a group. */
class Shared {
  readonly takes = new Map<number, Take>()
  newest: Take | undefined
  /** Largest offset acknowledged in each epoch. */
  readonly committed = new Map<number, number>()
  /** One past the last record that any member was given. */
  delivered = 0
  /** Of a member that is not the newest: its first delivery since. */
  readonly late = new Map<string, number>()
}

export function checkGroups(history: readonly Entry[]): Anomaly[] {
  return new GroupCheck().check(history)
}

class GroupCheck {
  readonly #anomalies: Anomaly[] = []
  readonly #groupOf = new Map<string, string>()
  readonly #shared = new Map<string, Shared>()
  readonly #commits = new Map<string, Commit>()

  check(history: readonly Entry[]): Anomaly[] {
    for (const entry of history) {
      const { process } = entry
      if (entry.op === 'start' && entry.role === 'member') this.#groupOf.set(process, entry.group)
      if (!this.#groupOf.has(process)) continue
      if (entry.op === 'take') this.#took(process, entry.at, entry.epoch, entry.t)
      else if (entry.op === 'poll') this.#polled(process, entry.partition, entry.epoch ?? -1, endOf(entry.records))
      else if (entry.op === 'commit' && entry.type === 'invoke')
        this.#commits.set(`${process} ${entry.id}`, { process, at: entry.at, epoch: entry.epoch, invokedMs: entry.t })
      else if (entry.op === 'commit' && entry.type === 'ok') this.#committed(`${process} ${entry.id}`)
    }
    return this.#anomalies
  }

  #took(process: string, [partition, offset]: At, epoch: number, t: number): void {
    const { name, shared } = this.#of(process, partition)
    const other = shared.takes.get(epoch)
    if (other !== undefined && other.process !== process)
      this.#say('double-ownership', `${name} in epoch ${epoch} is given to ${other.process} and to ${process}`)
    const take = { process, epoch, t }
    shared.takes.set(epoch, take)
    for (const [earlier, committed] of shared.committed)
      if (earlier < epoch && offset < committed)
        this.#say(
          'offset-regress',
          `${name} was committed up to ${committed} in epoch ${earlier}, and ${process} begins at ${offset} in epoch ${epoch}`,
        )
    if (offset > shared.delivered)
      this.#say('poll-skip', `${name} was delivered up to ${shared.delivered}, and ${process} goes on at ${offset}`)
    if (shared.newest === undefined || epoch > shared.newest.epoch) {
      shared.newest = take
      shared.late.clear()
    }
  }

  #polled(process: string, partition: number, epoch: number, end: number): void {
    const { name, shared } = this.#of(process, partition)
    shared.delivered = Math.max(shared.delivered, end)
    const { newest } = shared
    if (newest === undefined || newest.epoch <= epoch || newest.process === process) return
    const count = (shared.late.get(process) ?? 0) + 1
    shared.late.set(process, count)
    if (count === 2)
      this.#say(
        'double-ownership',
        `${process} goes on with ${name} in epoch ${epoch} while ${newest.process} has it in epoch ${newest.epoch}`,
      )
  }

  #committed(id: string): void {
    const commit = this.#commits.get(id)
    if (commit === undefined) throw new Error(`${id} ends a commit that did not begin`)
    const { process, at, epoch, invokedMs } = commit
    const { name, shared } = this.#of(process, at[0])
    const { newest } = shared
    if (newest !== undefined && newest.epoch > epoch && newest.t < invokedMs && newest.process !== process)
      this.#say(
        'double-ownership',
        `a commit of ${process} to ${name} of epoch ${epoch} was taken that was sent when ${newest.process} had it in epoch ${newest.epoch}`,
      )
    shared.committed.set(epoch, Math.max(at[1], shared.committed.get(epoch) ?? 0))
  }

  #of(process: string, partition: number): { readonly name: string; readonly shared: Shared } {
    const name = `${this.#groupOf.get(process)} ${partition}`
    const shared = this.#shared.get(name) ?? new Shared()
    this.#shared.set(name, shared)
    return { name, shared }
  }

  #say(kind: Anomaly['kind'], what: string): void {
    this.#anomalies.push({ kind, what })
  }
}
