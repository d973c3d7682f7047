/**
 * Reads that see everything committed before they were asked for: the leader notes its commit index, and a majority's
 * answers to a heartbeat sent afterwards prove that it still led then. No clock is trusted.
 */
import { type VoteResult, voteResult } from './quorum.ts'

export interface ReadRequest {
  /** Who asked. */
  readonly from: number
  readonly context: string
  readonly index: number
}

export class ReadRequests {
  /** In the order they were asked. */
  #waiting: { readonly request: ReadRequest; readonly acks: Map<number, boolean> }[] = []

  get count(): number {
    return this.#waiting.length
  }

  /** The newest request's: a heartbeat that confirms it confirms all before it. */
  get lastContext(): string {
    return this.#waiting.at(-1)?.request.context ?? ''
  }

  add(request: ReadRequest, self: number): void {
    if (this.#waiting.some(({ request: { context } }) => context === request.context)) return
    this.#waiting.push({ request, acks: new Map([[self, true]]) })
  }

  /** `from` answered the heartbeat with `context`. Returns the requests that are confirmed by that. */
  acknowledge(from: number, context: string, voters: readonly number[]): readonly ReadRequest[] {
    const at = this.#waiting.findIndex(({ request }) => request.context === context)
    const found = this.#waiting[at]
    if (found === undefined) return []
    found.acks.set(from, true)
    const result: VoteResult = voteResult(voters, found.acks)
    if (result !== 'won') return []
    return this.#waiting.splice(0, at + 1).map(({ request }) => request)
  }

  reset(): void {
    this.#waiting = []
  }
}
