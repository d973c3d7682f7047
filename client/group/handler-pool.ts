/**
 * Handlers at work, so many at once, one after the other within a lane: the records of a partition, or of a key.
 *
 * It holds what waits for its turn; whoever fills it asks first whether there is room.
 */
import { createDeferred, type Deferred } from '../../runtime/deferred.ts'

/** Never rejects. */
export type Task = () => Promise<void>

export class HandlerPool {
  readonly #concurrency: number
  /** What waits, by lane. A lane is there from its first task until the last one is done. */
  readonly #lanes = new Map<string, Task[]>()
  /** Lanes none of whose tasks is at work. */
  readonly #ready: string[] = []
  readonly #freed: () => void
  #waitingCount = 0
  #activeCount = 0
  #idle: Deferred<void> | undefined

  /** `freed` is called after every task. */
  constructor(concurrency: number, freed: () => void) {
    this.#concurrency = concurrency
    this.#freed = freed
  }

  /** Tasks that wait for their turn. */
  get waitingCount(): number {
    return this.#waitingCount
  }

  get laneCount(): number {
    return this.#lanes.size
  }

  hasLane(lane: string): boolean {
    return this.#lanes.has(lane)
  }

  add(lane: string, task: Task): void {
    const waiting = this.#lanes.get(lane)
    if (waiting !== undefined) waiting.push(task)
    else {
      this.#lanes.set(lane, [task])
      this.#ready.push(lane)
    }
    this.#waitingCount++
    this.#work()
  }

  /** What waits is forgotten. */
  clear(): void {
    for (const waiting of this.#lanes.values()) waiting.length = 0
    for (const lane of this.#ready.splice(0)) this.#lanes.delete(lane)
    this.#waitingCount = 0
  }

  /** Resolves when nothing is at work. */
  idle(): Promise<void> {
    if (this.#activeCount === 0) return Promise.resolve()
    this.#idle ??= createDeferred<void>()
    return this.#idle.promise
  }

  #work(): void {
    while (this.#activeCount < this.#concurrency) {
      const lane = this.#ready.shift()
      if (lane === undefined) return
      const task = this.#lanes.get(lane)?.shift()
      if (task === undefined) continue
      this.#waitingCount--
      this.#activeCount++
      void task().finally(() => this.#done(lane))
    }
  }

  #done(lane: string): void {
    this.#activeCount--
    const waiting = this.#lanes.get(lane)
    if (waiting !== undefined && waiting.length > 0) this.#ready.push(lane)
    else this.#lanes.delete(lane)
    this.#work()
    if (this.#activeCount === 0) {
      this.#idle?.resolve()
      this.#idle = undefined
    }
    this.#freed()
  }
}
