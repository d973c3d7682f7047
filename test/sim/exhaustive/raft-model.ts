/**
 * A cluster of three real Raft cores as a model to be searched.
 *
 * A state is: the three nodes (`raft-member.ts`), what history has settled (`raft-history.ts`), how much of each bound is used up, and the
 * messages under way, sorted. A message under way may arrive next, later or never, so none is lost by an event of its own; only
 * where more would be under way than the bounds allow is one of them lost, any.
 *
 * What an input leads to, its driver does at once (a `Ready`, its write, `advance`, until there is nothing to do), unless it is
 * stopped in between: then everything else may come first, a crash too. An answer, or a message of a term that is over for its
 * receiver, is taken for lost once it would change nothing.
 */
import type { Message } from '../../../controller/raft/messages.ts'
import type { Model } from './breadth-first.ts'
import { Interned } from './interned.ts'
import type { Disk, RaftBounds } from './raft-bounds.ts'
import { Histories } from './raft-history.ts'
import { describeInput, inputOf, messageText, NODES, numberOfArrival, numberOfInput } from './raft-input.ts'
import { Members, type Step, type View } from './raft-member.ts'
import { Renaming } from './raft-renaming.ts'
import { type Budget, BUDGETS, HISTORY, MESSAGES, PLACES } from './raft-state.ts'

const DRIVER = {
  ready: numberOfInput({ kind: 'ready' }),
  write: numberOfInput({ kind: 'write' }),
  advance: numberOfInput({ kind: 'advance' }),
}
const DRIVER_INPUTS = new Set(Object.values(DRIVER))
const TICK = numberOfInput({ kind: 'tick' })
const CAMPAIGN = numberOfInput({ kind: 'campaign' })
const CRASH = numberOfInput({ kind: 'crash' })
const COMPACT = numberOfInput({ kind: 'compact' })
const READ = numberOfInput({ kind: 'read' })
const PROPOSALS = ['a', 'b', 'c'].map((text) => numberOfInput({ kind: 'propose', text }))
const REMOVALS = NODES.map((nodeId) => numberOfInput({ kind: 'remove', nodeId }))
const TRANSFERS = NODES.map((to) => numberOfInput({ kind: 'transfer', to }))
const REPORTS = NODES.map((to) => [true, false].map((isDelivered) => numberOfInput({ kind: 'report', to, isDelivered })))

type Reach = (event: number, next: readonly number[], wrong?: string) => void

/** What became of an input. */
interface Outcome {
  readonly step: Step
  readonly sent: readonly number[]
}

/** A change in the making. */
interface Change {
  /** Of the state. */
  readonly head: number[]
  readonly messages: number[]
  /** Index of the node that does something. */
  readonly node: number
  readonly input: number
  readonly event: number
}

export class RaftModel implements Model {
  readonly roots: readonly (readonly number[])[]
  readonly #bounds: RaftBounds
  readonly #members: Members
  readonly #histories: Histories
  readonly #messages = new Interned<Message>()
  readonly #renaming: Renaming
  /** By state of a node and input. */
  readonly #outcomes: Map<number, Outcome>[] = []

  constructor(bounds: RaftBounds) {
    this.#bounds = bounds
    this.#members = new Members(bounds)
    this.#histories = new Histories(bounds.removals === 0)
    this.#renaming = new Renaming(this.#members, this.#histories, this.#messages)
    const nodes = NODES.map((id, at) => this.#members.begin(id, bounds.disks[at] as Disk))
    const history = this.#histories.begin(nodes.map((node) => this.#members.view(node)))
    this.roots = [[...nodes, history, ...BUDGETS.map(() => 0)]]
  }

  /** States of nodes that were found, of whatever name. */
  get nodeStates(): number {
    return this.#members.count
  }

  canonical(state: readonly number[]): readonly number[] {
    return this.#renaming.canonical(state)
  }

  expand(state: readonly number[], reach: Reach): void {
    for (let node = 0; node < NODES.length; node++) this.#expandNode(state, node, reach)
    for (let at = MESSAGES; at < state.length; at++) {
      const id = state[at] as number
      const node = this.#messages.get(id).to - 1
      const input = numberOfArrival(id)
      this.#try(state, node, input, undefined, reach, at)
      if (this.#has('duplicates', state)) this.#try(state, node, input, 'duplicates', reach)
    }
  }

  violation(state: readonly number[]): string | undefined {
    return this.#histories.violation(
      state[HISTORY] as number,
      NODES.map((_, node) => this.#viewOf(state, node)),
    )
  }

  describeEvent(event: number): string {
    const node = event % NODES.length
    return `node ${NODES[node]} ${describeInput(inputOf(Math.floor(event / NODES.length), (id) => this.#messages.get(id)))}`
  }

  describeState(state: readonly number[]): string {
    const nodes = NODES.map((_, node) => {
      const { id, role, term, commit, durable, log, durableLog, next } = this.#viewOf(state, node)
      const memory = `${id} ${role} term=${term} commit=${commit} log=[${log.join(' ')}]`
      return `      ${memory} disk: term=${durable.term} vote=${durable.vote} log=[${durableLog.join(' ')}]${next === undefined ? '' : ` before ${next}`}`
    })
    return nodes.join('\n')
  }

  #expandNode(state: readonly number[], node: number, reach: Reach): void {
    const view = this.#viewOf(state, node)
    const isLeader = view.role === 'leader'
    const attempt = (input: number, budget?: Budget): void => {
      if (budget === undefined || this.#has(budget, state)) this.#try(state, node, input, budget, reach)
    }
    if (view.next !== undefined) attempt(DRIVER[view.next])
    if (this.#bounds.hasTicks) attempt(TICK)
    else if (!isLeader) attempt(CAMPAIGN)
    attempt(CRASH, 'crashes')
    if ((view.next === undefined || view.next === 'ready') && view.applied.length > view.snapshotIndex) attempt(COMPACT, 'compactions')
    for (const to of view.snapshotsTo) for (const report of REPORTS[to - 1] as number[]) attempt(report)
    if (!isLeader) return
    attempt(PROPOSALS[this.#used('proposals', state)] ?? 0, 'proposals')
    attempt(READ, 'reads')
    for (const removal of REMOVALS) attempt(removal, 'removals')
    for (const [other, transfer] of TRANSFERS.entries()) if (other !== node) attempt(transfer, 'transfers')
  }

  /** `from`: place of the message that arrives, and is gone afterwards. */
  #try(state: readonly number[], node: number, input: number, budget: Budget | undefined, reach: Reach, from = -1): void {
    const member = state[node] as number
    const { step, sent } = this.#outcomeOf(member, input)
    if (step.next === member && sent.length === 0 && from < 0 && step.wrong === undefined) return
    const head = state.slice(0, MESSAGES)
    if (budget !== undefined) head[PLACES[budget]] = this.#used(budget, state) + 1
    const messages = state.slice(MESSAGES)
    if (from >= 0) messages.splice(from - MESSAGES, 1)
    // A driver that was stopped goes on when it is told to.
    const isStopped = this.#viewOf(state, node).next !== undefined && input !== CRASH && !DRIVER_INPUTS.has(input)
    this.#perform({ head, messages, node, input, event: input * NODES.length + node }, isStopped, reach)
  }

  #perform(change: Change, isStopped: boolean, reach: Reach): void {
    const { head, messages, node, input, event } = change
    const { step, sent } = this.#outcomeOf(head[node] as number, input)
    const view = this.#members.view(step.next)
    if (view.term > this.#bounds.termMax) return
    const history = this.#histories.after(head[HISTORY] as number, view, input === READ, step)
    head[node] = step.next
    head[HISTORY] = history.next
    for (const id of sent) if (!messages.includes(id)) messages.push(id)
    const wrong = step.wrong ?? history.wrong
    if (wrong !== undefined || isStopped || view.next === undefined) {
      this.#arrive(head, messages, event, wrong, reach)
      return
    }
    if (this.#has('pauses', head))
      this.#arrive(head.with(PLACES.pauses, this.#used('pauses', head) + 1), [...messages], event, wrong, reach)
    this.#perform({ head, messages, node, input: DRIVER[view.next], event }, false, reach)
  }

  #arrive(head: readonly number[], messages: number[], event: number, wrong: string | undefined, reach: Reach): void {
    const alive: number[] = []
    for (const id of messages) if (!this.#isOver(id, head)) alive.push(id)
    alive.sort(byNumber)
    if (alive.length <= this.#bounds.messagesMax) reach(event, head.concat(alive), wrong)
    // All ways to lose what is too much.
    else for (const left of choices(alive, this.#bounds.messagesMax, 0)) reach(event, head.concat(left), wrong)
  }

  #isOver(id: number, head: readonly number[]): boolean {
    const { type, term, to } = this.#messages.get(id)
    const member = head[to - 1] as number
    if (!type.endsWith('Response') && term >= this.#members.view(member).durable.term) return false
    const { step, sent } = this.#outcomeOf(member, numberOfArrival(id))
    return step.next === member && sent.length === 0 && step.wrong === undefined
  }

  #outcomeOf(member: number, input: number): Outcome {
    const known = (this.#outcomes[member] ??= new Map())
    const before = known.get(input)
    if (before !== undefined) return before
    const step = this.#members.step(
      member,
      inputOf(input, (id) => this.#messages.get(id)),
    )
    const sent = step.sent.map((message) => this.#messages.add(messageText(message), () => message))
    const outcome = { step, sent }
    known.set(input, outcome)
    return outcome
  }

  #viewOf(state: readonly number[], node: number): View {
    return this.#members.view(state[node] as number)
  }

  #has(budget: Budget, state: readonly number[]): boolean {
    return this.#used(budget, state) < this.#bounds[budget]
  }

  #used(budget: Budget, state: readonly number[]): number {
    return state[PLACES[budget]] as number
  }
}

function* choices(items: readonly number[], count: number, from: number): Generator<readonly number[]> {
  if (count === 0) yield []
  else
    for (let at = from; at <= items.length - count; at++)
      for (const rest of choices(items, count - 1, at + 1)) yield [items[at] as number, ...rest]
}

function byNumber(a: number, b: number): number {
  return a - b
}
