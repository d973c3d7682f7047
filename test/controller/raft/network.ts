/** Nodes without disks or wires: every `Ready` is done at once, messages are delivered when a test says so. */
import { type ConfState, type Entry, type HardState, type Message, makeMessage } from '../../../controller/raft/messages.ts'
import { type RaftConfig, RawNode, type ReadState, type Role } from '../../../controller/raft/raw-node.ts'
import { MemoryStorage } from '../../../controller/raft/storage.ts'

export const ELECTION_TICKS = 10

export interface NodeOptions extends Partial<RaftConfig> {
  readonly voters?: readonly number[]
  readonly learners?: readonly number[]
  /** Terms of the entries that are durable, from index 1 on. */
  readonly terms?: readonly number[]
  readonly hardState?: Partial<HardState>
}

export function normal(index: number, term: number, text = ''): Entry {
  return { index, term, type: 'normal', data: Buffer.from(text) }
}

export function storageWith({ voters = [1, 2, 3], learners = [], terms = [], hardState = {} }: NodeOptions): MemoryStorage {
  const storage = MemoryStorage.withMembers({ voters, learners })
  storage.append(terms.map((term, at) => normal(at + 1, term)))
  storage.setHardState({ term: terms.at(-1) ?? 0, vote: 0, commit: 0, ...hardState })
  return storage
}

/** A node whose every `Ready` is done by `flush`. */
export class TestNode {
  raw: RawNode
  readonly id: number
  readonly storage: MemoryStorage
  readonly applied: Entry[] = []
  readonly reads: ReadState[] = []
  readonly config: RaftConfig

  constructor(options: NodeOptions = {}) {
    const { voters: _voters, learners: _learners, terms: _terms, hardState: _hardState, ...config } = options
    const storage = storageWith(options)
    this.storage = storage
    this.config = {
      id: 1,
      storage,
      applied: 0,
      electionTicks: ELECTION_TICKS,
      heartbeatTicks: 1,
      maxMessageBytes: 1 << 20,
      maxCommittedBytes: 1 << 20,
      maxUncommittedBytes: 1 << 20,
      maxInflightMessages: 256,
      maxInflightBytes: 1 << 20,
      preVote: false,
      checkQuorum: false,
      random: () => 0,
      ...config,
    }
    this.id = this.config.id
    this.raw = new RawNode(this.config)
  }

  get status(): ReturnType<RawNode['status']> {
    return this.raw.status()
  }

  get role(): Role {
    return this.raw.status().role
  }

  /** Terms of the durable entries. */
  get terms(): number[] {
    const { storage } = this
    return Array.from(
      { length: storage.lastIndex() - storage.firstIndex() + 1 },
      (_, at) => storage.term(storage.firstIndex() + at) as number,
    )
  }

  /** The process is another one, with what was written. */
  restart(): void {
    this.raw = new RawNode({ ...this.config, applied: this.storage.snapshot().meta.index })
    this.applied.length = 0
  }

  /** Does what there is to do; returns the messages that left. */
  flush(): Message[] {
    const sent: Message[] = []
    while (this.raw.hasReady()) {
      const ready = this.raw.ready()
      sent.push(...ready.messages)
      if (ready.snapshot !== undefined) this.storage.applySnapshot(ready.snapshot)
      this.storage.append(ready.entries)
      if (ready.hardState !== undefined) this.storage.setHardState(ready.hardState)
      sent.push(...ready.messagesAfterPersist)
      this.reads.push(...ready.readStates)
      for (const entry of ready.committedEntries) {
        this.applied.push(entry)
        if (entry.type === 'confChange') this.raw.applyConfChange(entry.change)
      }
      this.raw.advance()
    }
    return sent
  }

  tick(count: number): Message[] {
    const sent: Message[] = []
    for (let at = 0; at < count; at++) {
      this.raw.tick()
      sent.push(...this.flush())
    }
    return sent
  }

  /** A message of another node, and what it leads to. */
  step(fields: Pick<Message, 'type' | 'from'> & Partial<Message>): Message[] {
    this.raw.step(makeMessage({ to: this.id, ...fields }))
    return this.flush()
  }

  propose(text: string): Message[] {
    this.raw.propose(Buffer.from(text))
    return this.flush()
  }

  campaign(): Message[] {
    this.raw.campaign()
    return this.flush()
  }

  /** Elected by the votes of all others, which have its log. */
  lead(): this {
    this.campaign()
    for (const type of ['preVoteResponse', 'voteResponse'] as const)
      for (const from of this.status.confState.voters)
        if (from !== this.id && this.role === (type === 'voteResponse' ? 'candidate' : 'preCandidate'))
          this.step({ type, from, term: this.status.term + (type === 'voteResponse' ? 0 : 1) })
    if (this.role !== 'leader') throw new Error(`node ${this.id} is ${this.role}`)
    return this
  }

  /** The follower says that it has everything. */
  acknowledgedBy(from: number, index = this.status.lastIndex): Message[] {
    return this.step({ type: 'appendResponse', from, term: this.status.term, index })
  }
}

/** Nodes that hear each other, but for what is cut or dropped. */
export class Network {
  readonly nodes: Map<number, TestNode>
  readonly #cut = new Set<string>()
  readonly #ignored = new Set<string>()
  readonly seen: Message[] = []

  constructor(nodes: readonly TestNode[]) {
    this.nodes = new Map(nodes.map((node) => [node.id, node]))
  }

  /** Node ids from 1 on, all of them voters. */
  static of(count: number, options: NodeOptions = {}): Network {
    const voters = Array.from({ length: count }, (_, at) => at + 1)
    return new Network(voters.map((id) => new TestNode({ voters, ...options, id })))
  }

  node(id: number): TestNode {
    const node = this.nodes.get(id)
    if (node === undefined) throw new Error(`no node ${id}`)
    return node
  }

  get leaders(): number[] {
    return [...this.nodes.values()].filter(({ role }) => role === 'leader').map(({ id }) => id)
  }

  /** Every message in both directions is lost. */
  cut(a: number, b: number): void {
    this.#cut.add(`${a}-${b}`).add(`${b}-${a}`)
  }

  isolate(id: number): void {
    for (const other of this.nodes.keys()) if (other !== id) this.cut(id, other)
  }

  ignore(type: Message['type']): void {
    this.#ignored.add(type)
  }

  heal(): void {
    this.#cut.clear()
    this.#ignored.clear()
  }

  /** Delivers until nobody has anything to say. */
  settle(first: readonly Message[] = []): void {
    const queue = [...first]
    for (const node of this.nodes.values()) queue.push(...node.flush())
    for (let count = 0; queue.length > 0; count++) {
      if (count > 100_000) throw new Error('the nodes do not come to rest')
      const message = queue.shift() as Message
      this.seen.push(message)
      if (this.#cut.has(`${message.from}-${message.to}`) || this.#ignored.has(message.type)) continue
      const to = this.nodes.get(message.to)
      if (to === undefined) continue
      to.raw.step(message)
      if (message.type === 'snapshot') this.node(message.from).raw.reportSnapshot(message.to, true)
      queue.push(...to.flush(), ...(this.nodes.get(message.from)?.flush() ?? []))
    }
  }

  campaign(id: number): void {
    this.node(id).raw.campaign()
    this.settle()
  }

  propose(id: number, text = 'somedata'): void {
    this.node(id).raw.propose(Buffer.from(text))
    this.settle()
  }

  /** One tick at a time, everything delivered in between. */
  tick(id: number, count: number): void {
    for (let at = 0; at < count; at++) {
      this.node(id).raw.tick()
      this.settle()
    }
  }
}

export function members(voters: readonly number[], learners: readonly number[] = []): ConfState {
  return { voters, learners }
}
