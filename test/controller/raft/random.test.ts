/** Random interleavings of real nodes: messages lost, doubled and out of order, crashes that lose what was not written. */
import { describe, expect, it } from 'vitest'
import type { Message } from '../../../controller/raft/messages.ts'
import { RawNode, type Ready } from '../../../controller/raft/raw-node.ts'
import { MemoryStorage } from '../../../controller/raft/storage.ts'
import { ClusterRules } from './cluster-rules.ts'
import { testRandom } from './random.ts'

const SEEDS = 150
const STORM_STEPS = 2000
const CALM_ROUNDS = 4000

describe('a cluster of random luck', () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    it(`agrees on one log and goes on when calm returns, seed ${seed}`, () => {
      const cluster = new Cluster(seed)
      for (let at = 0; at < STORM_STEPS; at++) cluster.stormStep()
      cluster.calmDown()
      expect(new Set(cluster.nodes.map(({ applied }) => applied.length)).size).toBe(1)
      expect(cluster.nodes[0]?.applied.at(-1)).toContain('last')
    })
  }
})

interface Member {
  readonly id: number
  raw: RawNode
  readonly storage: MemoryStorage
  applied: string[]
  ready: Ready | undefined
}

class Cluster {
  readonly #random: () => number
  readonly nodes: Member[]
  #network: Message[] = []
  readonly #rules = new ClusterRules()
  #proposals = 0

  constructor(seed: number) {
    this.#random = testRandom(seed)
    const voters = Array.from({ length: 1 + Math.floor(this.#random() * 5) }, (_, at) => at + 1)
    this.nodes = voters.map((id) => {
      const storage = MemoryStorage.withMembers({ voters, learners: [] })
      return { id, raw: this.#start(id, storage, 0), storage, applied: [], ready: undefined }
    })
  }

  stormStep(): void {
    const member = this.nodes[Math.floor(this.#random() * this.nodes.length)] as Member
    const luck = this.#random()
    if (luck < 0.15) member.raw.tick()
    else if (luck < 0.25) member.raw.propose(Buffer.from(`v${this.#proposals++}`))
    else if (luck < 0.7) this.#deliverOne()
    else if (luck < 0.85) this.#finish(member)
    else if (luck < 0.86) this.#crash(member)
    else if (luck < 0.87) member.raw.transferLeader(1 + Math.floor(this.#random() * this.nodes.length))
    else this.#begin(member)
    this.#rules.check(member, this.nodes)
  }

  /** Nothing is lost any more. A last value is proposed when there has been time to elect a leader. */
  calmDown(): void {
    for (let round = 0; round < CALM_ROUNDS; round++) {
      for (const member of this.nodes) {
        if (round % 10 === 0) member.raw.tick()
        this.#begin(member)
        this.#finish(member)
        if (round === CALM_ROUNDS - 1000) member.raw.propose(Buffer.from('last'))
      }
      const messages = this.#network
      this.#network = []
      for (const message of messages) this.#deliver(message)
    }
  }

  #start(id: number, storage: MemoryStorage, applied: number): RawNode {
    return new RawNode({
      id,
      storage,
      applied,
      electionTicks: 10,
      heartbeatTicks: 1,
      maxMessageBytes: 200,
      maxCommittedBytes: 100,
      maxUncommittedBytes: 10_000,
      maxInflightMessages: 3,
      maxInflightBytes: 1000,
      preVote: true,
      checkQuorum: true,
      random: this.#random,
    })
  }

  #begin(member: Member): void {
    if (member.ready !== undefined || !member.raw.hasReady()) return
    member.ready = member.raw.ready()
    this.#network.push(...member.ready.messages)
  }

  #finish(member: Member): void {
    const { ready, storage, raw } = member
    if (ready === undefined) return
    this.#rules.took(member, ready)
    if (ready.snapshot !== undefined) {
      storage.applySnapshot(ready.snapshot)
      member.applied = contentsOf(ready.snapshot.data)
    }
    storage.append(ready.entries)
    if (ready.hardState !== undefined) storage.setHardState(ready.hardState)
    this.#network.push(...ready.messagesAfterPersist)
    for (const entry of ready.committedEntries) member.applied.push(this.#rules.applied(member, entry))
    member.ready = undefined
    raw.advance()
    this.#rules.checkLogs(member, this.nodes)
    this.#snapshotAtTimes(member)
  }

  #snapshotAtTimes({ applied, storage, raw }: Member): void {
    if (this.#random() > 0.05 || applied.length <= storage.snapshot().meta.index) return
    storage.createSnapshot(applied.length, raw.status().confState, Buffer.from(JSON.stringify(applied)))
    storage.compact(Math.max(0, applied.length - Math.floor(this.#random() * 4)))
  }

  #crash(member: Member): void {
    const { meta, data } = member.storage.snapshot()
    member.ready = undefined
    member.applied = contentsOf(data)
    member.raw = this.#start(member.id, member.storage, meta.index)
  }

  /** One of the oldest messages: perhaps out of order, perhaps twice, perhaps never. */
  #deliverOne(): void {
    const at = Math.floor(this.#random() * Math.min(this.#network.length, 10))
    const message = this.#network[at]
    if (message === undefined) return
    if (this.#random() > 0.05) this.#network.splice(at, 1)
    if (this.#random() > 0.1) this.#deliver(message)
    else this.#lose(message)
    if (this.#network.length > 300) for (const lost of this.#network.splice(0, 100)) this.#lose(lost)
  }

  /** A transport knows whether it could deliver a snapshot; what became of it there it does not know. */
  #deliver(message: Message): void {
    this.#nodeOf(message.to).raw.step(message)
    if (message.type === 'snapshot') this.#nodeOf(message.from).raw.reportSnapshot(message.to, true)
  }

  #lose({ type, from, to }: Message): void {
    if (type === 'snapshot') this.#nodeOf(from).raw.reportSnapshot(to, false)
  }

  #nodeOf(id: number): Member {
    return this.nodes[id - 1] as Member
  }
}

function contentsOf(snapshot: Uint8Array): string[] {
  return snapshot.length === 0 ? [] : (JSON.parse(Buffer.from(snapshot).toString()) as string[])
}
