/**
 * A follower whose connection to its leader broke: the leader's process is probably gone. It looks whether the others think so too, without waiting
 * for the election timeout.
 *
 * Nothing depends on whether it is right. Should the leader be alive, it is heard again before anything comes of the doubt, or the others, who hear
 * it, refuse: a pre-vote changes nothing.
 */
import type { Random, Timer, Timers } from '../runtime/runtime.ts'
import { NO_NODE } from './raft/messages.ts'
import type { RawNode } from './raft/raw-node.ts'

/** The leader is given so many heartbeats to be heard again, and up to one more by chance: two followers do not ask at once. */
const HEARTBEATS = 1

export class LeaderDoubt {
  readonly #raw: RawNode
  readonly #runtime: { readonly timers: Timers; readonly random: Random }
  readonly #heartbeatIntervalMs: number
  /** Gives the core something to do. */
  readonly #input: (give: () => void) => void
  #timer: Timer | undefined

  constructor(
    raw: RawNode,
    runtime: { readonly timers: Timers; readonly random: Random },
    heartbeatIntervalMs: number,
    input: (give: () => void) => void,
  ) {
    this.#raw = raw
    this.#runtime = runtime
    this.#heartbeatIntervalMs = heartbeatIntervalMs
    this.#input = input
  }

  disconnected(nodeId: number): void {
    const { leader, role } = this.#raw.status()
    if (role !== 'follower' || leader !== nodeId) return
    this.#input(() => this.#raw.forgetLeader())
    this.#timer?.cancel()
    const { timers, random } = this.#runtime
    this.#timer = timers.after(this.#heartbeatIntervalMs * (HEARTBEATS + random.float()), () => {
      if (this.#raw.status().leader === NO_NODE) this.#input(() => this.#raw.campaign())
    })
  }

  close(): void {
    this.#timer?.cancel()
  }
}
