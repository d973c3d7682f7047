/**
 * Real cores on virtual time: messages take a while, writes take a while, and neither is done when a node dies. Everything follows
 * from the seed. The rules are checked after every event.
 */
import type { Message } from '../../../controller/raft/messages.ts'
import { RawNode, type Ready } from '../../../controller/raft/raw-node.ts'
import { MemoryStorage } from '../../../controller/raft/storage.ts'
import { ClusterRules, type Member } from './cluster-rules.ts'
import { testRandom } from './random.ts'

const TICK_MS = 10
const ELECTION_TICKS = 10
const MESSAGE_MS = 8
const WRITE_MS = 6
const PROPOSAL_MS = 15
/** Of all messages. */
const LOST = 0.01
const DOUBLED = 0.02
/** Long enough for ten elections. */
const PATIENCE_MS = 20_000

interface Node extends Member {
  raw: RawNode
  storage: MemoryStorage
  applied: string[]
  isUp: boolean
  ready: Ready | undefined
}

interface Timer {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
}

export class TimedCluster {
  readonly #random: () => number
  readonly #rules = new ClusterRules()
  readonly #voters: readonly number[]
  readonly nodes: readonly Node[]
  /** Earliest first. */
  #timers: Timer[] = []
  #order = 0
  #nowMs = 0
  #proposals = 0
  /** Who hears whom; nodes of different sets do not. */
  #islands: readonly (readonly number[])[] = []

  constructor(seed: number, voterCount: number) {
    this.#random = testRandom(seed)
    this.#voters = Array.from({ length: voterCount }, (_, at) => at + 1)
    this.nodes = this.#voters.map((id) => {
      const storage = this.#emptyDisk()
      return { id, raw: this.#process(id, storage), storage, applied: [], isUp: false, ready: undefined }
    })
    for (const id of this.#voters) this.start(id)
    this.#every(PROPOSAL_MS, () => {
      for (const { raw, isUp } of this.nodes) if (isUp && raw.propose(Buffer.from(`v${this.#proposals}`)).ok) this.#proposals++
    })
  }

  /** Time passes until `condition` holds. */
  runUntil(what: string, condition: () => boolean): void {
    const untilMs = this.#nowMs + PATIENCE_MS
    for (let count = 0; count % 8 !== 0 || !condition(); count++) {
      const timer = this.#timers.shift()
      if (timer === undefined || timer.atMs > untilMs) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`)
      this.#nowMs = timer.atMs
      timer.run()
    }
  }

  /** The one whom all that are up, and on the island of a majority, follow in the newest term there is among them. */
  get leader(): number | undefined {
    const up = this.nodes.filter(({ id, isUp }) => isUp && this.#island(id).length * 2 > this.#voters.length)
    const statuses = up.map(({ raw }) => raw.status())
    const [first] = statuses
    const isAgreed = statuses.length > 0 && statuses.every(({ term, leader }) => term === first?.term && leader === first.leader)
    return isAgreed && first !== undefined && up.some(({ id }) => id === first.leader) ? first.leader : undefined
  }

  /** Everyone that is up, and on the island of a majority, has applied that much more than anybody has by now. */
  runUntilProgress(entries = 10): void {
    const wanted = this.#rules.appliedIndex + entries
    this.runUntil(`all apply entry ${wanted}`, () =>
      this.nodes.every(({ id, isUp, applied }) => !isUp || this.#island(id).length * 2 <= this.#voters.length || applied.length >= wanted),
    )
  }

  runUntilLeader(isWanted: (id: number) => boolean = () => true): number {
    this.runUntil('all follow one leader', () => this.leader !== undefined && isWanted(this.leader))
    return this.leader as number
  }

  start(id: number): void {
    const node = this.#node(id)
    node.isUp = true
    const { raw } = node
    const tick = (): void => {
      if (!node.isUp || node.raw !== raw) return
      raw.tick()
      this.#work(node)
      // No two clocks are the same.
      this.#after(TICK_MS * (0.9 + 0.2 * this.#random()), tick)
    }
    this.#after(TICK_MS * this.#random(), tick)
  }

  /** With everything that is not written. Another process begins on the disk, once it is started. */
  kill(id: number): void {
    const node = this.#node(id)
    node.isUp = false
    node.ready = undefined
    node.applied = contentsOf(node.storage.snapshot().data)
    node.raw = this.#process(id, node.storage)
  }

  /** The disk is lost. The node must be down. */
  wipe(id: number): void {
    const node = this.#node(id)
    node.storage = this.#emptyDisk()
    this.#rules.forget(id)
    this.kill(id)
  }

  /** Hands leadership over first, as far as that is possible before `patienceMs` are over. */
  shutDown(id: number, patienceMs = 500): void {
    const { raw } = this.#node(id)
    const next = this.nodes.find((node) => node.isUp && node.id !== id)
    if (next !== undefined) raw.transferLeader(next.id)
    this.#work(this.#node(id))
    const untilMs = this.#nowMs + patienceMs
    this.runUntil('the leadership is handed over', () => raw.status().role !== 'leader' || this.#nowMs > untilMs)
    this.kill(id)
  }

  /** From now on only nodes of one list hear each other; without lists all do. */
  part(...islands: readonly (readonly number[])[]): void {
    this.#islands = islands
  }

  #island(id: number): readonly number[] {
    return this.#islands.find((island) => island.includes(id)) ?? (this.#islands.length === 0 ? this.#voters : [id])
  }

  #emptyDisk(): MemoryStorage {
    return MemoryStorage.withMembers({ voters: this.#voters, learners: [] })
  }

  #process(id: number, storage: MemoryStorage): RawNode {
    return new RawNode({
      id,
      storage,
      applied: storage.snapshot().meta.index,
      electionTicks: ELECTION_TICKS,
      heartbeatTicks: 2,
      maxMessageBytes: 200,
      maxCommittedBytes: 200,
      maxUncommittedBytes: 2000,
      maxInflightMessages: 4,
      maxInflightBytes: 2000,
      preVote: true,
      checkQuorum: true,
      random: this.#random,
    })
  }

  /** Takes a `Ready` if there is one; it is done once it is written. */
  #work(node: Node): void {
    this.#rules.check(node, this.nodes)
    const { raw } = node
    if (!node.isUp || node.ready !== undefined || !raw.hasReady()) return
    const ready = raw.ready()
    node.ready = ready
    for (const message of ready.messages) this.#send(message)
    this.#after(ready.mustSync ? WRITE_MS * this.#random() : 0, () => {
      if (node.raw === raw && node.isUp) this.#finish(node, ready)
    })
  }

  #finish(node: Node, ready: Ready): void {
    const { storage, raw } = node
    this.#rules.took(node, ready)
    if (ready.snapshot !== undefined) {
      storage.applySnapshot(ready.snapshot)
      node.applied = contentsOf(ready.snapshot.data)
    }
    storage.append(ready.entries)
    if (ready.hardState !== undefined) storage.setHardState(ready.hardState)
    for (const message of ready.messagesAfterPersist) this.#send(message)
    for (const entry of ready.committedEntries) node.applied.push(this.#rules.applied(node, entry))
    node.ready = undefined
    raw.advance()
    this.#rules.checkLogs(node, this.nodes)
    if (node.applied.length > storage.snapshot().meta.index + 20) this.#compact(node)
    this.#work(node)
  }

  #compact({ applied, storage, raw }: Node): void {
    storage.createSnapshot(applied.length, raw.status().confState, Buffer.from(JSON.stringify(applied)))
    storage.compact(applied.length - Math.floor(this.#random() * 5))
  }

  #send(message: Message): void {
    const isLost = this.#random() < LOST
    const copies = this.#random() < DOUBLED ? 2 : 1
    for (let copy = 0; copy < copies; copy++) this.#after(MESSAGE_MS * this.#random(), () => this.#arrive(message, isLost))
  }

  #arrive(message: Message, isLost: boolean): void {
    const { from, to, type } = message
    const target = this.#node(to)
    const hasArrived = !isLost && target.isUp && this.#island(from).includes(to)
    if (hasArrived) {
      target.raw.step(message)
      this.#work(target)
    }
    if (type !== 'snapshot') return
    const sender = this.#node(from)
    sender.raw.reportSnapshot(to, hasArrived)
    this.#work(sender)
  }

  #node(id: number): Node {
    return this.nodes[id - 1] as Node
  }

  #every(periodMs: number, run: () => void): void {
    this.#after(periodMs, () => {
      run()
      for (const node of this.nodes) this.#work(node)
      this.#every(periodMs, run)
    })
  }

  #after(delayMs: number, run: () => void): void {
    const timer = { atMs: this.#nowMs + delayMs, order: this.#order++, run }
    let at = this.#timers.length
    while (at > 0 && isBefore(timer, this.#timers[at - 1] as Timer)) at--
    this.#timers.splice(at, 0, timer)
  }
}

function isBefore(a: Timer, b: Timer): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}

function contentsOf(snapshot: Uint8Array): string[] {
  return snapshot.length === 0 ? [] : (JSON.parse(Buffer.from(snapshot).toString()) as string[])
}
