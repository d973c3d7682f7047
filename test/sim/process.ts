/**
 * A process of the simulation: its clock, its timers and its chance. Everything that reaches it comes through `run`, so that it
 * can be paused, as by SIGSTOP, and killed, after which nothing reaches it any more.
 */
import { type Log, type Random, type Timer, type Timers } from '../../runtime/runtime.ts'
import type { Chance } from '../../scripts/random.ts'
import type { VirtualTime } from './virtual-time.ts'

export class SimProcess {
  /** Who it is on the network. */
  readonly host: string
  readonly time: VirtualTime
  readonly chance: Chance
  /** Its wall clock is off by this much. */
  wallOffsetMs = 0
  #isAlive = true
  #backlog: (() => void)[] | undefined
  readonly #onDeath = new Set<() => void>()

  constructor(host: string, time: VirtualTime, chance: Chance) {
    this.host = host
    this.time = time
    this.chance = chance
  }

  get isAlive(): boolean {
    return this.#isAlive
  }

  get isPaused(): boolean {
    return this.#backlog !== undefined
  }

  /** Something happens to the process: now, when it goes on, or never. */
  run(happens: () => void): void {
    if (!this.#isAlive) return
    if (this.#backlog === undefined) happens()
    else this.#backlog.push(happens)
  }

  /** Nothing happens to it until `resume`. */
  pause(): void {
    this.#backlog ??= []
  }

  resume(): void {
    const backlog = this.#backlog ?? []
    this.#backlog = undefined
    for (const happens of backlog) this.time.after(0, () => this.run(happens))
  }

  kill(): void {
    this.#isAlive = false
    this.#backlog = undefined
    for (const told of this.#onDeath) told()
  }

  onDeath(told: () => void): void {
    this.#onDeath.add(told)
  }

  get clock(): { now(): number; monotonic(): number } {
    return { now: () => Math.floor(this.time.nowMs + this.wallOffsetMs), monotonic: () => this.time.nowMs }
  }

  get timers(): Timers {
    const after = (delayMs: number, run: () => void): Timer => {
      let isCancelled = false
      const timer = this.time.after(delayMs, () =>
        this.run(() => {
          if (!isCancelled) run()
        }),
      )
      return {
        cancel: () => {
          isCancelled = true
          timer.cancel()
        },
      }
    }
    return {
      after,
      every: (periodMs, run) => {
        let timer: Timer
        const again = (): void => {
          timer = after(periodMs, again)
          run()
        }
        timer = after(periodMs, again)
        return { cancel: () => timer.cancel() }
      },
      nextTurn: (run) => void after(0, run),
    }
  }

  get random(): Random {
    return {
      float: this.chance,
      bytes: (count) => Buffer.from(Array.from({ length: count }, () => Math.floor(this.chance() * 256))),
    }
  }

  /** Calls `tell` with what the process logs. */
  logTo(tell: (level: keyof Log, event: string, fields: Readonly<Record<string, unknown>>) => void): Log {
    const at =
      (level: keyof Log) =>
      (event: string, fields: Readonly<Record<string, unknown>> = {}): void => {
        if (this.#isAlive) tell(level, event, fields)
      }
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  }
}
