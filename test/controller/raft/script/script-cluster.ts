/** The nodes of a scenario, the messages under way among them, and what happened, line by line. */
import type { Message } from '../../../../controller/raft/messages.ts'
import type { RaftEvent, Ready } from '../../../../controller/raft/raw-node.ts'
import { type NodeOptions, TestNode } from '../network.ts'
import { describeEvent, describeMessage, describeReady } from './describe.ts'

/** What a scenario may reach before it is taken for one that never ends. */
const DELIVERIES_MAX = 10_000

interface ScriptNode {
  readonly node: TestNode
  /** Its driver does nothing by itself. */
  isStopped: boolean
  /** Taken and not done with. */
  ready: Ready | undefined
  isWritten: boolean
}

export class ScriptCluster {
  readonly lines: string[] = []
  readonly #nodes = new Map<number, ScriptNode>()
  readonly #cut = new Set<string>()
  #wire: Message[] = []
  /** Nothing arrives by itself, and no transport tells what became of a snapshot. */
  isHeld = false

  add(id: number, options: NodeOptions): void {
    const trace = (event: RaftEvent): void => this.#say(describeEvent(event))
    this.#nodes.set(id, { node: new TestNode({ ...options, id, trace }), isStopped: false, ready: undefined, isWritten: false })
  }

  get nodes(): readonly TestNode[] {
    return [...this.#nodes.values()].map(({ node }) => node)
  }

  node(id: number): TestNode {
    return this.#of(id).node
  }

  cut(a: number, b: number): void {
    this.#cut.add(`${a}>${b}`).add(`${b}>${a}`)
  }

  heal(): void {
    this.#cut.clear()
  }

  /** The driver of a node stops, or goes on where it was. */
  stop(id: number, isStopped: boolean): void {
    this.#of(id).isStopped = isStopped
  }

  /** One step of a driver that was stopped. */
  drive(id: number, step: string): void {
    const at = this.#of(id)
    if (step === 'ready') {
      at.ready = at.node.raw.ready()
      this.#wire.push(...at.ready.messages)
      this.#say(`${id} takes ${describeReady(at.ready)}`)
    } else if (step === 'write') this.#write(at)
    else this.#advance(at)
  }

  /** The process dies and starts again on what it has written. */
  crash(id: number): void {
    const at = this.#of(id)
    at.ready = undefined
    at.isWritten = false
    at.isStopped = false
    at.node.restart()
  }

  /** Everything that follows, until nobody has anything to say. */
  settle(): void {
    for (let count = 0; ; count++) {
      if (count > DELIVERIES_MAX) throw new Error('the nodes do not come to rest')
      for (const at of this.#nodes.values()) if (!at.isStopped) this.#work(at)
      if (this.isHeld || this.#wire.length === 0) return
      this.#arrive(this.#wire.shift() as Message)
    }
  }

  /** Up to `count` of the messages under way arrive, or get lost; `from`, `to`: of these only. */
  deliver(isLost: boolean, count: number, from: number | undefined, to: number | undefined): void {
    const chosen = this.#wire
      .filter((message) => (from ?? message.from) === message.from && (to ?? message.to) === message.to)
      .slice(0, count)
    this.#wire = this.#wire.filter((message) => !chosen.includes(message))
    for (const message of chosen) {
      if (isLost) this.#say(`${describeMessage(message)} (lost)`)
      else this.#arrive(message)
    }
  }

  #arrive(message: Message): void {
    const { from, to, type } = message
    const target = this.#nodes.get(to)
    const isLost = this.#cut.has(`${from}>${to}`) || target === undefined
    this.#say(`${describeMessage(message)}${isLost ? ' (lost)' : ''}`)
    if (!isLost) {
      target.node.raw.step(message)
      if (!target.isStopped) this.#work(target)
    }
    if (type === 'snapshot' && !this.isHeld) this.node(from).raw.reportSnapshot(to, !isLost)
  }

  /** What a driver does, as long as there is something to do. */
  #work(at: ScriptNode): void {
    for (;;) {
      if (at.ready === undefined) {
        if (!at.node.raw.hasReady()) return
        at.ready = at.node.raw.ready()
        this.#wire.push(...at.ready.messages)
      }
      if (!at.isWritten) this.#write(at)
      this.#advance(at)
    }
  }

  #write(at: ScriptNode): void {
    const { node, ready } = at
    if (ready === undefined || at.isWritten) throw new Error('there is nothing to be written')
    at.isWritten = true
    if (ready.snapshot !== undefined) node.storage.applySnapshot(ready.snapshot)
    node.storage.append(ready.entries)
    if (ready.hardState !== undefined) node.storage.setHardState(ready.hardState)
    this.#wire.push(...ready.messagesAfterPersist)
  }

  #advance(at: ScriptNode): void {
    const { node, ready } = at
    if (ready === undefined || !at.isWritten) throw new Error('nothing was written')
    for (const { index, context } of ready.readStates) this.#say(`${node.id} may answer the read ${context} at ${index}`)
    for (const entry of ready.committedEntries) if (entry.type === 'confChange') node.raw.applyConfChange(entry.change)
    at.ready = undefined
    at.isWritten = false
    node.raw.advance()
  }

  #of(id: number): ScriptNode {
    const at = this.#nodes.get(id)
    if (at === undefined) throw new Error(`no node ${id}`)
    return at
  }

  #say(line: string | undefined): void {
    if (line !== undefined) this.lines.push(line)
  }
}
