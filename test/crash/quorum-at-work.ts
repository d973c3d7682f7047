/** A quorum's store at work, as a seed says, and what it must give back. */
import type { Entry } from '../../controller/raft/messages.ts'
import type { RaftState, RaftStore } from '../../controller/raft-store.ts'
import { between, type Chance, pick } from '../../scripts/random.ts'
import { entryOf, snapshotOf, stateOf, textsOf } from '../conformance/raft-store.ts'

/** All that `load` gives, as text. */
export function textOf({ hardState, snapshot, entries, compacted }: Omit<RaftState, 'directories'>): string {
  const { term, vote, commit } = hardState
  return [
    `term ${term} vote ${vote} commit ${commit}`,
    `snapshot ${snapshot?.meta.index}`,
    `from ${compacted.index}`,
    ...textsOf(entries),
  ].join()
}

const NEW: Omit<RaftState, 'directories'> = { hardState: stateOf(0), snapshot: undefined, entries: [], compacted: { index: 0, term: 0 } }

/** Of a store to which nothing was saved. */
export const NOTHING_SAVED: string = textOf(NEW)

export class QuorumAtWork {
  readonly #chance: Chance
  #state = NEW

  constructor(chance: Chance) {
    this.#chance = chance
  }

  /** What was acknowledged. */
  get text(): string {
    return textOf(this.#state)
  }

  /** One call; what it acknowledges counts when it resolves. */
  async step(store: RaftStore): Promise<void> {
    const { hardState, entries, compacted } = this.#state
    if (entries.length > 6 && this.#chance() < 0.3) {
      const at = pick(this.#chance, entries.slice(0, -2))
      const snapshot = snapshotOf(at.index, at.term)
      await store.saveSnapshot(snapshot, { compactTo: at.index, isForeign: false })
      this.#state = {
        hardState,
        snapshot,
        entries: entries.filter(({ index }) => index > at.index),
        compacted: { index: at.index, term: at.term },
      }
      return
    }
    const term = hardState.term + (this.#chance() < 0.4 ? 1 : 0)
    const last = entries.at(-1)?.index ?? compacted.index
    // A new term may put something else in the place of what is there.
    const from = term > hardState.term ? Math.floor(between(this.#chance, Math.max(compacted.index, last - 3) + 1, last + 2)) : last + 1
    const count = Math.floor(this.#chance() * 4)
    const added: Entry[] = Array.from({ length: count }, (_, at) => {
      return entryOf(from + at, term, `${term}:${'x'.repeat(Math.floor(this.#chance() ** 3 * 3000))}`)
    })
    const change = { hardState: stateOf(term, 1 + Math.floor(this.#chance() * 3), compacted.index), entries: added, directories: new Map() }
    await store.save(change)
    const kept = count === 0 ? entries : entries.filter(({ index }) => index < from)
    this.#state = { ...this.#state, hardState: change.hardState, entries: [...kept, ...added] }
  }
}
