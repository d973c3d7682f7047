/**
 * What goes wrong and when, from a seed: periods with one fault or several, a quarter of them quiet, over a set of kinds that shifts now and then. After each
 * period everything is healed, and has to become whole again.
 */
import { TidemarkError } from '../../protocol/errors.ts'
import { between, type Chance, pick, pickWeighted, streamOf } from '../random.ts'
import { sleep } from './client-process.ts'
import type { Begun, Fault } from './fault.ts'
import { FAULTS, heal, holdMs } from './faults.ts'
import { until, type World } from './world.ts'

export interface Plan {
  readonly seed: number
  /** Of these. */
  readonly kinds: readonly string[]
  /** Ends when both are reached. */
  readonly minutes: number
  readonly faults: number
  /** How long healing may take. */
  readonly patienceMs: number
}

const QUIET = 0.25
/** Kinds in play at a time, and for how many periods. */
const SUBSET = 6
const SUBSET_PERIODS = 8
const SEVERAL = 0.35

export class Nemesis {
  readonly #world: World
  readonly #plan: Plan
  readonly #chance: Chance
  readonly #faults: readonly Fault[]
  #tried = 0
  count = 0

  constructor(world: World, plan: Plan) {
    this.#world = world
    this.#plan = plan
    this.#chance = streamOf(plan.seed, 'nemesis')
    this.#faults = FAULTS.filter(({ kind }) => plan.kinds.includes(kind))
  }

  async run(say: (text: string) => void): Promise<void> {
    const endMs = performance.now() + this.#plan.minutes * 60_000
    let subset: readonly Fault[] = []
    for (let period = 0; performance.now() < endMs || this.count < this.#plan.faults; period++) {
      if (period % SUBSET_PERIODS === 0) subset = this.#subset()
      if (this.#chance() < QUIET) {
        await sleep(between(this.#chance, 500, 4000))
        continue
      }
      const took = await this.#period(this.#choose(subset))
      say(`${this.count} faults: ${took}`)
    }
  }

  /** Every subset has the kinds that were in none for longest. */
  readonly #uses = new Map<Fault, number>()
  #subset(): readonly Fault[] {
    const rank = (fault: Fault): number => (this.#uses.get(fault) ?? 0) + this.#chance() * 0.9
    const subset = this.#faults
      .map((fault) => ({ fault, rank: rank(fault) }))
      .sort((a, b) => a.rank - b.rank)
      .slice(0, SUBSET)
      .map(({ fault }) => fault)
    for (const fault of subset) this.#uses.set(fault, (this.#uses.get(fault) ?? 0) + 1)
    return subset
  }

  #choose(subset: readonly Fault[]): readonly Fault[] {
    const first = pickWeighted(this.#chance, subset)
    if (first.alone || this.#chance() > SEVERAL) return [first]
    const others = subset.filter(({ alone, kind }) => !alone && kind !== first.kind)
    return others.length === 0 ? [first] : [first, pickWeighted(this.#chance, others)]
  }

  async #period(faults: readonly Fault[]): Promise<string> {
    const { nemesis } = this.#world
    nemesis.write({ op: 'period', kinds: faults.map(({ kind }) => kind) })
    const begun: Begun[] = []
    for (const fault of faults) {
      const one = await this.#begin(fault)
      begun.push(one ?? { target: 'not now' })
      if (one === undefined) continue
      this.count++
      nemesis.write({ op: 'fault', kind: fault.kind, target: one.target })
    }
    await sleep(holdMs(this.#chance))
    for (const { end } of begun) await end?.()
    await heal(this.#world)
    const healedMs = performance.now()
    nemesis.write({ op: 'heal' })
    const trouble = await this.whole()
    nemesis.write(trouble === undefined ? { op: 'whole' } : { op: 'not whole', what: trouble })
    const what = faults.map(({ kind }, at) => `${kind} (${begun[at]?.target})`).join(', ')
    return `${what}; ${trouble ?? `whole after ${Math.round(performance.now() - healedMs)} ms`}`
  }

  async #begin(fault: Fault): Promise<Begun | undefined> {
    const world = this.#world
    const anybody = pick(this.#chance, world.nodeIds)
    const victim = fault.hitsController ? ((await world.controller().catch(() => undefined)) ?? anybody) : anybody
    // Chance of its own: how much of it a fault takes depends on what it finds, and what comes later must not.
    const chance = streamOf(this.#plan.seed, `fault ${++this.#tried}`)
    try {
      return await fault.begin({ world, chance, victim })
    } catch (error) {
      // Some need an answer of the cluster, which has other troubles perhaps.
      if (TidemarkError.is(error)) return undefined
      throw error
    }
  }

  /** Resolves when every replica is in sync and every partition is written to; with what is wrong when that takes too long. */
  async whole(): Promise<string | undefined> {
    const world = this.#world
    let before: ReadonlyMap<number, number> | undefined
    let trouble: string | undefined = 'nobody answers'
    const isWhole = async (): Promise<boolean> => {
      trouble = await world.trouble()
      if (trouble !== undefined) return false
      const now = await world.highWatermarks()
      before ??= now
      const idle = [...now].find(([partition, end]) => end <= (before?.get(partition) ?? 0))
      trouble = idle === undefined ? undefined : `nothing is written to partition ${idle[0]}`
      return trouble === undefined
    }
    return (await until(isWhole, this.#plan.patienceMs)) ? undefined : trouble
  }
}
