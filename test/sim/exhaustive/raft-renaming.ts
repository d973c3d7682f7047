/**
 * Clusters that are the same but for the names of their nodes have the same future, so of each such family one is looked at. The core treats
 * all voters alike; `raft-search.test.ts` shows on a small search that nothing is missed.
 */
import type { Message } from '../../../controller/raft/messages.ts'
import type { Interned } from './interned.ts'
import type { Histories } from './raft-history.ts'
import { messageText, NODES } from './raft-input.ts'
import type { Members } from './raft-member.ts'
import { HISTORY, MESSAGES } from './raft-state.ts'
import { copyOf } from './structure.ts'

/** New name of each node, by old name; place 0 is "none". */
const RENAMINGS: readonly (readonly number[])[] = [
  [0, 1, 2, 3],
  [0, 1, 3, 2],
  [0, 2, 1, 3],
  [0, 2, 3, 1],
  [0, 3, 1, 2],
  [0, 3, 2, 1],
]

export class Renaming {
  readonly #members: Members
  readonly #histories: Histories
  readonly #messages: Interned<Message>
  /** By renaming, then by number: the number after it. */
  readonly #memberNames: number[][] = RENAMINGS.map(() => [])
  readonly #messageNames: number[][] = RENAMINGS.map(() => [])
  readonly #historyNames: number[][] = RENAMINGS.map(() => [])
  /** The smallest number of the states that a state of a node may become. */
  readonly #families: number[] = []

  constructor(members: Members, histories: Histories, messages: Interned<Message>) {
    this.#members = members
    this.#histories = histories
    this.#messages = messages
  }

  /** The one of its family: nodes of earlier families come first; of what is left to choose from, the smallest. */
  canonical(state: readonly number[]): readonly number[] {
    const a = this.#familyOf(state[0] as number)
    const b = this.#familyOf(state[1] as number)
    const c = this.#familyOf(state[2] as number)
    let best: readonly number[] | undefined
    for (const renaming of renamingsFor(a, b, c)) {
      const renamed = renaming === 0 ? state : this.#rename(state, renaming)
      if (best === undefined || isBefore(renamed, best)) best = renamed
    }
    return best as readonly number[]
  }

  #rename(state: readonly number[], renaming: number): number[] {
    const names = RENAMINGS[renaming] as readonly number[]
    const renamed = [...state]
    for (const id of NODES) renamed[(names[id] as number) - 1] = this.#memberOf(state[id - 1] as number, renaming)
    renamed[HISTORY] = this.#historyOf(state[HISTORY] as number, renaming)
    if (state.length === MESSAGES) return renamed
    const messages = state.slice(MESSAGES).map((id) => this.#messageOf(id, renaming))
    messages.sort((a, b) => a - b)
    for (const [at, id] of messages.entries()) renamed[MESSAGES + at] = id
    return renamed
  }

  #familyOf(member: number): number {
    return (this.#families[member] ??= Math.min(...RENAMINGS.map((_, renaming) => this.#memberOf(member, renaming))))
  }

  #memberOf(member: number, renaming: number): number {
    const known = this.#memberNames[renaming] as number[]
    return (known[member] ??= this.#members.renamed(member, nameIn(renaming)))
  }

  #historyOf(history: number, renaming: number): number {
    const known = this.#historyNames[renaming] as number[]
    return (known[history] ??= this.#histories.renamed(history, nameIn(renaming)))
  }

  #messageOf(id: number, renaming: number): number {
    const known = this.#messageNames[renaming] as number[]
    return (known[id] ??= this.#renamedMessage(id, renaming))
  }

  #renamedMessage(id: number, renaming: number): number {
    const message = copyOf(this.#messages.get(id), nameIn(renaming))
    return this.#messages.add(messageText(message), () => message)
  }
}

/** Renamings after which nodes of smaller families have smaller names, by how the families of nodes 1 and 2, 1 and 3, 2 and 3 compare. */
const SORTING = Array.from({ length: 27 }, (_, at) => {
  const [ab, ac, bc] = [Math.floor(at / 9) - 1, (Math.floor(at / 3) % 3) - 1, (at % 3) - 1] as const
  const isKept = (comparison: number, first: number, second: number): boolean => comparison === 0 || comparison < 0 === first < second
  return RENAMINGS.flatMap(([, a = 0, b = 0, c = 0], renaming) =>
    isKept(ab, a, b) && isKept(ac, a, c) && isKept(bc, b, c) ? renaming : [],
  )
})

function renamingsFor(a: number, b: number, c: number): readonly number[] {
  return SORTING[Math.sign(a - b) * 9 + Math.sign(a - c) * 3 + Math.sign(b - c) + 13] as readonly number[]
}

function nameIn(renaming: number): (id: number) => number {
  return (id) => RENAMINGS[renaming]?.[id] as number
}

function isBefore(a: readonly number[], b: readonly number[]): boolean {
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return (a[at] as number) < (b[at] as number)
  return false
}
