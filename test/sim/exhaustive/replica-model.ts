/**
 * Three replicas and their controller as a model to be searched.
 *
 * A state is: the three nodes (`replica-node.ts`), the metadata (`replica-images.ts`), what was committed (`replica-rules.ts`), the request for
 * another ISR that is on its way, the fetches that are, and how much of each bound is used up.
 *
 * A long time passes where it makes a difference to a leader, and not elsewhere: it may pass again later.
 */
import type { AlterPartitionsRequest } from '../../../protocol/gen/tidemark/v1/controller.ts'
import type { Model } from './breadth-first.ts'
import { Interned } from './interned.ts'
import type { ReplicaBounds } from './replica-bounds.ts'
import { Images, NODES } from './replica-images.ts'
import { describeInput, inputOf, kindOf } from './replica-input.ts'
import { type FetchRequest, type IsrAnswer, Replicas, type Step, type View } from './replica-node.ts'
import { Commits, violationOf } from './replica-rules.ts'

const BUDGETS = ['records', 'proposals', 'crashes', 'fences', 'wipes'] as const
type Budget = (typeof BUDGETS)[number]

/** Places in a state; nodes are at the first. */
const IMAGE = NODES.length
const COMMITS = IMAGE + 1
/** The request for another ISR, or its answer; 0: none. */
const CHANGE = COMMITS + 1
/** Of each node: number of a request, negative that of an answer; 0: none. */
const FETCHES = CHANGE + 1
const PLACES = Object.fromEntries(BUDGETS.map((budget, at) => [budget, FETCHES + NODES.length + at])) as Readonly<Record<Budget, number>>

/** Events that are none of a node's inputs. */
const CONTROLLER = [
  'leaders go back to the first replica',
  'the controller decides on the ISR',
  'the same, and the answer gets lost',
  'an answer of the controller finds nobody',
] as const
const OF_NODE = [
  'is fenced',
  'is heard of',
  'fetches',
  'asks for another ISR',
  'has its fetch answered, and the answer gets lost',
  'fetches, and gets the answer',
] as const
const FIRST_OF_NODE = CONTROLLER.length
const FIRST_INPUT = FIRST_OF_NODE + OF_NODE.length * NODES.length

const FLUSH = inputOf('flush')
const REVIEW = inputOf('review')
const WAIT = inputOf('wait')

interface Change {
  readonly request: AlterPartitionsRequest
  readonly proposal: IsrAnswer['proposal']
  /** Number of the decision; undefined while the request is on its way. */
  readonly decision: number | undefined
}

type Reach = (event: number, next: readonly number[], wrong?: string) => void

export class ReplicaModel implements Model {
  readonly roots: readonly (readonly number[])[]
  readonly #bounds: ReplicaBounds
  readonly #images: Images
  readonly #replicas: Replicas
  readonly #commits = new Commits()
  readonly #changes = new Interned<Change | undefined>()
  /** By state of a node and input. */
  readonly #steps: Map<number, Step>[] = []

  constructor(bounds: ReplicaBounds) {
    this.#bounds = bounds
    this.#images = new Images(bounds)
    this.#replicas = new Replicas(this.#images)
    this.#changes.add('none', () => undefined)
    const nodes = NODES.map((id) => this.#replicas.begin(id))
    this.roots = [[...nodes, this.#images.first, this.#commits.none, 0, 0, 0, 0, ...BUDGETS.map(() => 0)]]
  }

  get nodeStates(): number {
    return this.#replicas.count
  }

  canonical(state: readonly number[]): readonly number[] {
    return state
  }

  expand(state: readonly number[], reachAny: Reach): void {
    const reach: Reach = (event, next, wrong) => this.#settle(event, next, wrong, reachAny)
    const image = state[IMAGE] as number
    for (const [node, nodeId] of NODES.entries()) {
      const view = this.#view(state, node)
      if (view.isUp) this.#expandUp(state, node, view, reach)
      else this.#start(state, node, reach)
      this.#decide(state, ofNode('is fenced', node), this.#images.fence(image, nodeId), reach, view.isUp ? 'fences' : undefined)
    }
    this.#expandChange(state, reach)
    this.#decide(state, CONTROLLER.indexOf('leaders go back to the first replica'), this.#images.preferLeaders(image), reach)
  }

  violation(state: readonly number[]): string | undefined {
    const { minIsr, durability } = this.#bounds
    const image = state[IMAGE] as number
    const committed = this.#commits.get(state[COMMITS] as number)
    const views = NODES.map((_, node) => this.#view(state, node))
    return violationOf({
      views,
      partition: this.#images.partition(image),
      fenced: this.#images.fenced(image),
      committed,
      minIsr,
      durability,
    })
  }

  describeEvent(event: number): string {
    if (event < FIRST_OF_NODE) return CONTROLLER[event] as string
    const number = event < FIRST_INPUT ? event - FIRST_OF_NODE : event - FIRST_INPUT
    const what = Math.floor(number / NODES.length)
    return `node ${NODES[number % NODES.length]} ${event < FIRST_INPUT ? OF_NODE[what] : describeInput(what)}`
  }

  describeState(state: readonly number[]): string {
    const nodes = NODES.map((_, node) => {
      const { nodeId, isUp, isLeader, leaderEpoch, highWatermark, records, flushedOffset, maximalIsr } = this.#view(state, node)
      const log = records.map(({ epoch, text }, offset) => `${epoch}${text}${offset < flushedOffset ? '' : '?'}`).join(' ')
      const role = isUp ? `${isLeader ? 'leads' : 'follows'} in epoch ${leaderEpoch}, hw=${highWatermark}` : 'is down,'
      return `      ${nodeId} ${role} log=[${log}]${isLeader ? ` isr=[${[...new Set(maximalIsr)].join(' ')}]` : ''}`
    })
    return [`      ${this.#images.describe(state[IMAGE] as number)}`, ...nodes].join('\n')
  }

  #expandUp(state: readonly number[], node: number, view: View, reach: Reach): void {
    const { nodeId, nodeEpoch, records, flushedOffset, isLeader, image } = view
    const present = state[IMAGE] as number
    if (image !== present) this.#do(state, node, inputOf('hear', present), reach)
    this.#decide(state, ofNode('is heard of', node), this.#images.heartbeat(present, nodeId, nodeEpoch, image), reach)
    if (flushedOffset < records.length) this.#do(state, node, FLUSH, reach)
    if (this.#has('crashes', state))
      for (let end = flushedOffset; end <= records.length; end++) this.#do(this.#with(state, 'crashes'), node, inputOf('crash', end), reach)
    if (isLeader) {
      if (this.#has('records', state)) this.#do(this.#with(state, 'records'), node, inputOf('append', state[PLACES.records]), reach)
      this.#do(state, node, REVIEW, reach)
      this.#wait(state, node, view, reach)
      this.#askForIsr(state, node, view, reach)
    }
    this.#expandFetch(state, node, view, reach)
  }

  #wait(state: readonly number[], node: number, { wanted, highWatermark }: View, reach: Reach): void {
    const after = this.#replicas.view(this.#step(state[node] as number, WAIT).next)
    if (after.wanted !== wanted || after.highWatermark !== highWatermark) this.#do(state, node, WAIT, reach)
  }

  #start(state: readonly number[], node: number, reach: Reach): void {
    const nodeId = NODES[node] as number
    for (const isWiped of this.#has('wipes', state) ? [false, true] : [false]) {
      const image = this.#images.register(state[IMAGE] as number, nodeId, isWiped)
      // Turned away, or too late for this search.
      if (image === state[IMAGE] || this.#isTooLate(image)) continue
      const before = isWiped ? this.#with(state, 'wipes') : [...state]
      before[IMAGE] = image
      this.#do(before, node, inputOf(isWiped ? 'startEmpty' : 'start', image), reach)
    }
  }

  #expandFetch(state: readonly number[], node: number, { fetch }: View, reach: Reach): void {
    if (!this.#bounds.areFetchesSlow) {
      if (fetch !== 0) this.#fetchAtOnce(state, node, fetch, reach)
      return
    }
    const under = state[FETCHES + node] as number
    if (under < 0) this.#do(withFetch(state, node, 0), node, inputOf('take', -under), reach, true)
    if (under > 0) this.#answerFetch(state, node, under, reach)
    // Asks again when there is something else to ask, or when no answer comes.
    if (fetch !== 0 && fetch !== under) reach(ofNode('fetches', node), withFetch(state, node, fetch))
  }

  #fetchAtOnce(state: readonly number[], node: number, fetch: number, reach: Reach): void {
    this.#answerFetch(state, node, fetch, (_event, next, wrong) => {
      const answer = -(next[FETCHES + node] as number)
      const answered = withFetch(next, node, 0)
      // Where the leader has learned nothing new, no answer is no event.
      if (wrong !== undefined || answered.some((number, at) => number !== state[at]))
        reach(ofNode('has its fetch answered, and the answer gets lost', node), answered, wrong)
      if (wrong === undefined)
        this.#do(answered, node, inputOf('take', answer), (_input, after, broken) =>
          reach(ofNode('fetches, and gets the answer', node), after, broken),
        )
    })
  }

  /** The leader answers what node `node` asked. */
  #answerFetch(state: readonly number[], node: number, fetch: number, reach: Reach): void {
    const leader = (this.#replicas.requests.get(fetch) as FetchRequest).to - 1
    if (!this.#view(state, leader).isUp) return
    const input = inputOf('fetch', fetch)
    const { answer } = this.#step(state[leader] as number, input)
    this.#do(withFetch(state, node, -answer), leader, input, reach, true)
  }

  #askForIsr(state: readonly number[], node: number, { nodeId, nodeEpoch, wanted }: View, reach: Reach): void {
    if (wanted === undefined || state[CHANGE] !== 0 || !this.#has('proposals', state)) return
    const { leaderEpoch, partitionEpoch, isr } = wanted
    const { topicId } = this.#images.topic(this.#images.first)
    const partitions = [{ topicId, partition: 0, leaderEpoch, partitionEpoch, isr: isr.map((member) => ({ ...member })) }]
    const change: Change = { request: { clusterId: '', nodeId, nodeEpoch, partitions }, proposal: wanted, decision: undefined }
    reach(ofNode('asks for another ISR', node), this.#withChange(this.#with(state, 'proposals'), change))
  }

  #expandChange(state: readonly number[], reach: Reach): void {
    const change = this.#changes.get(state[CHANGE] as number)
    if (change === undefined) return
    const { request, proposal, decision } = change
    if (decision !== undefined) {
      const node = request.nodeId - 1
      const after = this.#withChange(state, undefined)
      if (this.#view(state, node).nodeEpoch === request.nodeEpoch) this.#do(after, node, inputOf('decided', decision), reach, true)
      else reach(CONTROLLER.indexOf('an answer of the controller finds nobody'), after)
      return
    }
    const { next, result } = this.#images.alter(state[IMAGE] as number, request)
    if (this.#isTooLate(next)) return
    const after = this.#withChange(state, undefined)
    after[IMAGE] = next
    reach(CONTROLLER.indexOf('the same, and the answer gets lost'), after)
    const answer = { proposal, result }
    const number = this.#replicas.decisions.add(JSON.stringify(answer), () => answer)
    reach(CONTROLLER.indexOf('the controller decides on the ISR'), this.#withChange(after, { ...change, decision: number }))
  }

  #decide(state: readonly number[], event: number, image: number, reach: Reach, budget?: Budget): void {
    if (image === state[IMAGE] || this.#isTooLate(image) || (budget !== undefined && !this.#has(budget, state))) return
    const after = budget === undefined ? [...state] : this.#with(state, budget)
    after[IMAGE] = image
    reach(event, after)
  }

  /** What follows at once. */
  #settle(event: number, next: readonly number[], wrong: string | undefined, reach: Reach): void {
    let state = next
    let broken = wrong
    const follow = (node: number, input: number): void =>
      this.#do(state, node, input, (_event, after, rule) => {
        state = after
        broken ??= rule
      })
    for (const node of NODES.keys()) {
      const { isUp, image } = this.#view(state, node)
      if (!this.#bounds.hearsLate && isUp && image !== state[IMAGE]) follow(node, inputOf('hear', state[IMAGE]))
      const { records, flushedOffset } = this.#view(state, node)
      if (!this.#bounds.flushesLate && isUp && flushedOffset < records.length) follow(node, FLUSH)
    }
    reach(event, state, broken)
  }

  /** `isNews`: the state is another one whatever the node does. */
  #do(state: readonly number[], node: number, input: number, reach: Reach, isNews = false): void {
    const member = state[node] as number
    const step = this.#step(member, input)
    if (step.next === member && step.wrong === undefined && !isNews) return
    const before = this.#replicas.view(member)
    const view = this.#replicas.view(step.next)
    const commits = this.#commits.after(state[COMMITS] as number, view)
    const after = [...state]
    after[node] = step.next
    after[COMMITS] = commits.next
    const isLower = view.isUp && before.isUp && view.highWatermark < before.highWatermark
    const wrong = step.wrong ?? commits.wrong ?? (isLower ? `the high watermark of node ${view.nodeId} does not go back` : undefined)
    // Whoever is down has no fetch under way.
    if (kindOf(input) === 'crash') after[FETCHES + node] = 0
    reach(FIRST_INPUT + input * NODES.length + node, after, wrong)
  }

  #step(member: number, input: number): Step {
    const known = (this.#steps[member] ??= new Map())
    const before = known.get(input)
    if (before !== undefined) return before
    const step = this.#replicas.step(member, input)
    known.set(input, step)
    return step
  }

  #isTooLate(image: number): boolean {
    return this.#images.partition(image).leaderEpoch > this.#bounds.leaderEpochMax
  }

  #view(state: readonly number[], node: number): View {
    return this.#replicas.view(state[node] as number)
  }

  #withChange(state: readonly number[], change: Change | undefined): number[] {
    const after = [...state]
    after[CHANGE] = change === undefined ? 0 : this.#changes.add(JSON.stringify(change), () => change)
    return after
  }

  #with(state: readonly number[], budget: Budget): number[] {
    const after = [...state]
    after[PLACES[budget]] = (state[PLACES[budget]] as number) + 1
    return after
  }

  #has(budget: Budget, state: readonly number[]): boolean {
    return (state[PLACES[budget]] as number) < this.#bounds[budget]
  }
}

function ofNode(what: (typeof OF_NODE)[number], node: number): number {
  return FIRST_OF_NODE + OF_NODE.indexOf(what) * NODES.length + node
}

function withFetch(state: readonly number[], node: number, fetch: number): number[] {
  const after = [...state]
  after[FETCHES + node] = fetch
  return after
}
