/**
 * What must hold in a cluster after every event, whatever happened. Under the names of Apache Kafka's simulation of its quorum, and
 * of the Raft paper.
 */
import { expect } from 'vitest'
import type { Entry } from '../../../controller/raft/messages.ts'
import type { RawNode, Ready } from '../../../controller/raft/raw-node.ts'
import type { MemoryStorage } from '../../../controller/raft/storage.ts'

export interface Member {
  readonly id: number
  /** Of the process that runs, or ran last. */
  readonly raw: RawNode
  readonly storage: MemoryStorage
  /** Contents of the entries applied; index of the last is its length. */
  readonly applied: readonly string[]
}

export class ClusterRules {
  /** By index, as the first node to apply it found it. */
  readonly #agreed: string[] = []
  readonly #leaders = new Map<number, number>()
  /** On disk, by node. */
  readonly #terms = new Map<number, number>()
  /** Of each process. */
  readonly #commits = new WeakMap<RawNode, number>()
  /** Largest that a leader has found. */
  #commit = 0

  /** Largest index that was applied anywhere. */
  get appliedIndex(): number {
    return Math.max(0, this.#agreed.length - 1)
  }

  /** The disk of a node is another one: what it promised on the old one is forgotten. */
  forget(id: number): void {
    this.#terms.delete(id)
  }

  /** Entries are applied in order, and the same everywhere (ConsistentCommittedData). */
  applied({ applied }: Member, entry: Entry): string {
    expect(entry.index, 'entries are applied in order, each once').toBe(applied.length + 1)
    const content = `${entry.term}:${entry.type === 'normal' ? Buffer.from(entry.data).toString() : ''}`
    this.#agreed[entry.index] ??= content
    expect(content, 'nodes apply the same').toBe(this.#agreed[entry.index])
    return content
  }

  /** Who leads has what a snapshot could give it (LeaderNeverLoadSnapshot). */
  took({ raw }: Member, { snapshot }: Ready): void {
    if (snapshot !== undefined) expect(raw.status().role, 'a leader loads no snapshot').not.toBe('leader')
  }

  /** After an event at `member`, of which something is on a disk perhaps; `all` with those that are down. */
  check(member: Member, all: readonly Member[]): void {
    const { id, raw, storage } = member
    const { role, term, commit } = raw.status()
    this.#checkTerm(id, storage.initialState().hardState.term)
    if (commit < (this.#commits.get(raw) ?? 0)) expect.fail(`node ${id} takes back a commit (MonotonicHighWatermark)`)
    this.#commits.set(raw, commit)
    if (storage.firstIndex() > storage.snapshot().meta.index + 1)
      expect.fail(`the log of node ${id} begins behind its snapshot (SnapshotAtLogStart)`)
    if (role !== 'leader') return
    const known = this.#leaders.get(term) ?? id
    if (known !== id) expect.fail(`nodes ${known} and ${id} both lead term ${term} (SingleLeader)`)
    this.#leaders.set(term, id)
    if (commit > this.#commit) this.#checkMajority(commit, term, all)
  }

  /** Logs that have one entry in common have all before it in common; whoever leads the newest term has all that was applied anywhere. */
  checkLogs({ storage, raw }: Member, all: readonly Member[]): void {
    for (const { storage: other } of all) {
      let isCommon = false
      for (let index = Math.min(storage.lastIndex(), other.lastIndex()); index > 0; index--) {
        const [ours, theirs] = [storage.term(index), other.term(index)]
        if (ours === undefined || theirs === undefined) break
        // An expectation for each index would take ten times as long.
        if (isCommon && ours !== theirs) expect.fail(`logs that have a later entry in common differ at ${index}`)
        isCommon ||= ours === theirs
      }
    }
    const { role, term } = raw.status()
    if (role !== 'leader' || all.some((node) => node.raw.status().term > term)) return
    expect(raw.status().lastIndex, 'a leader has what was applied anywhere').toBeGreaterThanOrEqual(this.appliedIndex)
    for (const [index, content] of this.#agreed.entries()) {
      const ours = storage.term(index)
      if (index > 0 && ours !== undefined && !content.startsWith(`${ours}:`))
        expect.fail(`the leader lacks entry ${index}, which was applied`)
    }
  }

  /** Also over restarts (MonotonicEpoch). */
  #checkTerm(id: number, term: number): void {
    const before = this.#terms.get(id) ?? 0
    if (term < before) expect.fail(`node ${id} went back from term ${before} to ${term} (MonotonicEpoch)`)
    this.#terms.set(id, term)
  }

  /** What a leader finds committed is an entry of its term, on the disks of a majority (MajorityReachedHighWatermark). */
  #checkMajority(commit: number, term: number, all: readonly Member[]): void {
    this.#commit = commit
    const count = all.filter(({ storage }) => storage.term(commit) === term || storage.firstIndex() > commit).length
    if (count * 2 <= all.length) expect.fail(`entry ${commit} is committed in term ${term}, and on ${count} of ${all.length} disks`)
  }
}
