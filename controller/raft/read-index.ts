/**
 * Reads that see everything committed before they were asked for: the leader notes its commit index, and a majority's
 * answers to a heartbeat sent afterwards prove that it still led then. No clock is trusted.
 */
import { voteResult } from './quorum.ts'

export interface ReadRequest {
  /** Who asked. */
  readonly from: number
  readonly context: string
  readonly index: number
}

/** Reads that wait at once, of this node and of others. */
const MAX_WAITING = 10_000

export class ReadRequests {
  /** In the order they were asked. */
  #waiting: { readonly request: ReadRequest; readonly round: string; readonly acks: Map<number, boolean> }[] = []
  /** Requests so far, never reset. */
  #count = 0

  get count(): number {
    return this.#waiting.length
  }

  get isFull(): boolean {
    return this.#waiting.length >= MAX_WAITING
  }

  /**
   * What the next heartbeats carry. Confirming the newest request confirms all before it. A number of our own, not the
   * request's context: one that is used twice, as after a restart, must not be confirmed by answers to the first.
   */
  get lastRound(): string {
    return this.#waiting.at(-1)?.round ?? ''
  }

  add(request: ReadRequest, self: number): void {
    this.#waiting.push({ request, round: String(++this.#count), acks: new Map([[self, true]]) })
  }

  /** `from` answered the heartbeat of `round`. Returns the requests that are confirmed by that. */
  acknowledge(from: number, round: string, voters: readonly number[]): readonly ReadRequest[] {
    const at = this.#waiting.findIndex((waiting) => waiting.round === round)
    const found = this.#waiting[at]
    if (found === undefined) return []
    found.acks.set(from, true)
    if (voteResult(voters, found.acks) !== 'won') return []
    return this.#waiting.splice(0, at + 1).map(({ request }) => request)
  }

  reset(): void {
    this.#waiting = []
  }
}
