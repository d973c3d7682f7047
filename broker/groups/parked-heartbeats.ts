/** Heartbeats of one group that wait for a change: at most one of each member. */
import type { Timers } from '../../runtime/runtime.ts'
import type { Member } from './group-state.ts'

interface Parked {
  readonly memberEpoch: number
  readonly wake: () => void
}

export class ParkedHeartbeats {
  readonly #parked = new Map<string, Parked>()

  /** Resolves when the member has another epoch or is gone, after `waitMs`, when it is heard again, or when `signal` aborts. */
  park(
    memberId: string,
    memberEpoch: number,
    options: { readonly waitMs: number; readonly timers: Timers; readonly signal: AbortSignal },
  ): Promise<void> {
    this.wake(memberId)
    const { waitMs, timers, signal } = options
    if (signal.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = timers.after(waitMs, () => wake())
      const wake = (): void => {
        if (this.#parked.get(memberId) === parked) this.#parked.delete(memberId)
        timer.cancel()
        signal.removeEventListener('abort', wake)
        resolve()
      }
      const parked = { memberEpoch, wake }
      this.#parked.set(memberId, parked)
      signal.addEventListener('abort', wake, { once: true })
    })
  }

  wake(memberId: string): void {
    this.#parked.get(memberId)?.wake()
  }

  /** Wakes whoever has something to learn. */
  wakeChanged(members: ReadonlyMap<string, Member>): void {
    for (const [memberId, { memberEpoch, wake }] of this.#parked) if (members.get(memberId)?.epoch !== memberEpoch) wake()
  }

  wakeAll(): void {
    for (const { wake } of this.#parked.values()) wake()
  }
}
