/**
 * What must hold in a cluster of Raft nodes whatever happens, and what has to be remembered of the past to see it: who led in which
 * term, and what was committed. Nodes forget in a crash; this does not.
 *
 * - Election safety: one leader in each term, and its vote for itself is durable.
 * - Log matching: logs that have an entry in common have all before it in common.
 * - Leader completeness: a leader has all that was committed in its term and in terms before.
 * - State machine safety: what nodes commit and apply at an index is the same on all of them, for ever, and is on the disks of a majority.
 * - A read is answered with all that was committed when it was asked.
 */
import { Interned } from './interned.ts'
import type { Step, View } from './raft-member.ts'
import { renamedText } from './structure.ts'

interface History {
  /** By term. */
  readonly leaders: readonly number[]
  /** By index, from 1 on. */
  readonly committed: readonly { readonly content: string; readonly inTerm: number }[]
  /** What was committed when a read was asked. */
  readonly readFloor: number
}

const MAJORITY = 2

export class Histories {
  readonly #histories = new Interned<History>()
  readonly #matching = new Map<string, boolean>()
  readonly #areVotersFixed: boolean

  /** `areVotersFixed`: two of three nodes are a majority, always. */
  constructor(areVotersFixed: boolean) {
    this.#areVotersFixed = areVotersFixed
  }

  /** Of nodes that have begun. */
  begin(views: readonly View[]): number {
    const [first] = [...views].sort((a, b) => b.commit - a.commit)
    const committed = (first?.log.slice(0, first.commit) ?? []).map((content) => ({ content, inTerm: Number.parseInt(content, 10) }))
    return this.#add({ leaders: [], committed, readFloor: 0 })
  }

  /** What is to be remembered after a step of the node that looks like `view` now. */
  after(before: number, view: View, isRead: boolean, { reads }: Step): { readonly next: number; readonly wrong: string | undefined } {
    const history = this.#histories.get(before)
    const { leaders, committed, readFloor } = history
    const { id, term, role, commit, log } = view
    const isNewLeader = role === 'leader' && leaders[term] !== id
    const isNewRead = isRead && committed.length > readFloor
    const wrong = reads.some((index) => index < readFloor) ? 'a read is answered with all that was committed when it was asked' : undefined
    if (!isNewLeader && commit <= committed.length && !isNewRead) return { next: before, wrong }
    if (isNewLeader && leaders[term] !== undefined && leaders[term] !== 0) return { next: before, wrong: `one leader in term ${term}` }
    const next = {
      leaders: isNewLeader
        ? Array.from({ length: Math.max(term + 1, leaders.length) }, (_, at) => (at === term ? id : (leaders[at] ?? 0)))
        : leaders,
      committed: [...committed, ...log.slice(committed.length, commit).map((content) => ({ content, inTerm: term }))],
      readFloor: isNewRead ? committed.length : readFloor,
    }
    return { next: this.#add(next), wrong }
  }

  /** The rule that a state breaks. */
  violation(number: number, views: readonly View[]): string | undefined {
    const { committed } = this.#histories.get(number)
    for (const view of views) {
      const rule = brokenBy(view, committed)
      if (rule !== undefined) return rule
      for (const other of views)
        if (other.id > view.id && !this.#areMatching(view.log, other.log))
          return 'logs that have an entry in common have all before it in common'
    }
    if (!this.#areVotersFixed) return undefined
    for (const [at, { content }] of committed.entries())
      if (views.filter(({ durableLog }) => durableLog[at] === content).length < MAJORITY)
        return `entry ${at + 1} is committed and not on the disks of a majority`
    return undefined
  }

  renamed(number: number, rename: (id: number) => number): number {
    const history = this.#histories.get(number)
    return this.#add({
      ...history,
      leaders: history.leaders.map((id) => (id === 0 ? 0 : rename(id))),
      committed: history.committed.map(({ content, inTerm }) => ({ content: renamedText(content, rename), inTerm })),
    })
  }

  #add(history: History): number {
    const { leaders, committed, readFloor } = history
    return this.#histories.add(
      `${leaders.join()} ${committed.map(({ content, inTerm }) => `${content}@${inTerm}`).join()} ${readFloor}`,
      () => history,
    )
  }

  #areMatching(a: readonly string[], b: readonly string[]): boolean {
    const key = `${a.join()} ${b.join()}`
    const known = this.#matching.get(key)
    if (known !== undefined) return known
    const isMatching = areMatching(a, b)
    this.#matching.set(key, isMatching)
    return isMatching
  }
}

function brokenBy({ id, role, term, commit, log, applied, durable }: View, committed: History['committed']): string | undefined {
  if (commit > log.length) return `node ${id} commits what it has not`
  if (applied.length > commit) return `node ${id} applies what is not committed`
  for (const [at, { content, inTerm }] of committed.entries()) {
    if (at < commit && log[at] !== content) return `entry ${at + 1} was committed as ${content}, on node ${id} as ${log[at]}`
    if (at < applied.length && applied[at] !== content)
      return `entry ${at + 1} was committed as ${content}, node ${id} applied ${applied[at]}`
    if (role === 'leader' && inTerm <= term && log[at] !== content)
      return `leader ${id} of term ${term} lacks entry ${at + 1}, committed in term ${inTerm}`
  }
  if (role === 'leader' && (durable.term < term || (durable.term === term && durable.vote !== id)))
    return `leader ${id} of term ${term} has its own vote on its disk`
  return undefined
}

/** Contents begin with their term. */
function areMatching(a: readonly string[], b: readonly string[]): boolean {
  let isCommon = false
  for (let at = Math.min(a.length, b.length) - 1; at >= 0; at--) {
    const isSameTerm = Number.parseInt(a[at] as string, 10) === Number.parseInt(b[at] as string, 10)
    if (isSameTerm ? a[at] !== b[at] : isCommon) return false
    isCommon ||= isSameTerm
  }
  return true
}
