/**
 * Breadth-first search over the states of a model: every state that can be reached is looked at once, near ones first, so the
 * path to the first violation is a shortest one.
 *
 * A state is a list of whole numbers; what they stand for is the model's business. Two states are the same when the lists
 * are: the visited ones are kept whole and compared whole, a hash only says where to look.
 */

export interface Model {
  readonly roots: readonly (readonly number[])[]
  /** The one state of all those that need not be told apart from `state`. */
  canonical(state: readonly number[]): readonly number[]
  /** Calls `reach` for each event that is possible, with the state after it; `wrong`: the event itself broke a rule. */
  expand(state: readonly number[], reach: (event: number, next: readonly number[], wrong?: string) => void): void
  /** The rule that the state breaks. */
  violation(state: readonly number[]): string | undefined
  describeEvent(event: number): string
  describeState(state: readonly number[]): string
}

export interface Outcome {
  readonly states: number
  readonly transitions: number
  /** Events from a root to the farthest state. */
  readonly depth: number
  /** Nothing was left to be looked at. */
  readonly isComplete: boolean
  readonly violation: { readonly rule: string; readonly path: readonly string[] } | undefined
}

export function search(model: Model, statesMax: number): Outcome {
  const visited = new Visited()
  const found: Found[] = []
  let transitions = 0
  const look = (state: readonly number[], from: number): void => {
    if (!visited.add(model.canonical(state), from)) return
    const rule = model.violation(state)
    if (rule !== undefined) found.push({ rule, at: visited.count - 1, isEvent: false })
  }
  for (const root of model.roots) look(root, -1)
  let at = 0
  for (; at < visited.count && visited.count < statesMax && found.length === 0; at++) {
    const from = at
    model.expand(visited.state(from), (_event, next, wrong) => {
      transitions++
      if (wrong === undefined) look(next, from)
      else found.push({ rule: wrong, at: from, isEvent: true })
    })
  }
  const [first] = found
  return {
    states: visited.count,
    transitions,
    depth: visited.path(visited.count - 1).length - 1,
    isComplete: at === visited.count && first === undefined,
    violation: first && goAgain(model, visited, first),
  }
}

interface Found {
  readonly rule: string
  /** The state that breaks it, or the one in which an event does. */
  readonly at: number
  readonly isEvent: boolean
}

/** Goes the way again, in states that are not canonical: nodes keep their names along it, and in the rule. */
function goAgain(model: Model, visited: Visited, { at, isEvent, rule }: Found): NonNullable<Outcome['violation']> {
  const path = visited.path(at).map((number) => visited.state(number).join())
  let state = model.roots.find((root) => model.canonical(root).join() === path[0]) as readonly number[]
  let broken: string | undefined
  const lines = [model.describeState(state)]
  const go = (isNext: (next: readonly number[], wrong: string | undefined) => boolean): void => {
    let step: { event: number; next: readonly number[] } | undefined
    model.expand(state, (event, next, wrong) => {
      if (step !== undefined || !isNext(next, wrong)) return
      step = { event, next }
      broken = wrong
    })
    if (step === undefined) throw new Error(`the way to "${rule}" cannot be gone again`)
    state = step.next
    lines.push(`${(lines.length + 1) / 2}. ${model.describeEvent(step.event)}`, model.describeState(state))
  }
  for (const wanted of path.slice(1)) go((next) => model.canonical(next).join() === wanted)
  if (isEvent) go((_next, wrong) => wrong !== undefined)
  return { rule: broken ?? model.violation(state) ?? rule, path: lines }
}

/** The states seen, each with the one it was first reached from. Numbered in the order they were found. */
class Visited {
  /** The numbers of all states, one after the other. */
  #cells = new Int32Array(1 << 20)
  /** Where the state with this number begins in `cells`; one more for the end. */
  #starts = new Float64Array(1 << 16)
  #parents = new Int32Array(1 << 16)
  /** Open addressing: number of a state plus one, 0 for free. */
  #table = new Int32Array(1 << 18)
  count = 0

  /** False when it is there already. */
  add(state: readonly number[], parent: number): boolean {
    if (this.count * 2 >= this.#table.length) this.#growTable()
    let slot = hashOf(state) & (this.#table.length - 1)
    for (;;) {
      const known = this.#table[slot] as number
      if (known === 0) break
      if (this.#isSame(known - 1, state)) return false
      slot = (slot + 1) & (this.#table.length - 1)
    }
    const number = this.count++
    this.#table[slot] = number + 1
    this.#makeRoom(state.length)
    const start = this.#starts[number] as number
    for (let at = 0; at < state.length; at++) this.#cells[start + at] = state[at] as number
    this.#starts[number + 1] = start + state.length
    this.#parents[number] = parent
    return true
  }

  state(number: number): number[] {
    return Array.from(this.#cells.subarray(this.#starts[number], this.#starts[number + 1]))
  }

  /** From the root to the state. */
  path(number: number): number[] {
    const path: number[] = []
    for (let at = number; at >= 0; at = this.#parents[at] as number) path.push(at)
    return path.reverse()
  }

  #isSame(number: number, state: readonly number[]): boolean {
    const start = this.#starts[number] as number
    if ((this.#starts[number + 1] as number) - start !== state.length) return false
    for (let at = 0; at < state.length; at++) if (this.#cells[start + at] !== state[at]) return false
    return true
  }

  #makeRoom(length: number): void {
    if (this.count + 2 > this.#starts.length) {
      this.#starts = grown(this.#starts, new Float64Array(this.#starts.length * 2))
      this.#parents = grown(this.#parents, new Int32Array(this.#parents.length * 2))
    }
    const end = (this.#starts[this.count - 1] as number) + length
    if (end > this.#cells.length) this.#cells = grown(this.#cells, new Int32Array(this.#cells.length * 2))
  }

  #growTable(): void {
    const table = new Int32Array(this.#table.length * 2)
    for (let number = 0; number < this.count; number++) {
      let slot = hashOf(this.#cells.subarray(this.#starts[number], this.#starts[number + 1])) & (table.length - 1)
      while (table[slot] !== 0) slot = (slot + 1) & (table.length - 1)
      table[slot] = number + 1
    }
    this.#table = table
  }
}

function grown<Cells extends Int32Array | Float64Array>(from: Cells, to: Cells): Cells {
  to.set(from)
  return to
}

/** Murmur3 over the numbers. */
function hashOf(numbers: ArrayLike<number>): number {
  let hash = numbers.length
  for (let at = 0; at < numbers.length; at++) {
    let mixed = Math.imul(numbers[at] as number, 0xcc9e2d51)
    mixed = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593)
    hash ^= mixed
    hash = Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
