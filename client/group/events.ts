/** Listeners by the names of events. */
import type { GroupEvents, GroupListener } from './types.ts'

export class GroupEmitter {
  readonly #listeners = new Map<keyof GroupEvents, Set<GroupListener<never>>>()

  /** Returns how to stop listening. */
  on<Name extends keyof GroupEvents>(name: Name, listener: GroupListener<Name>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, listeners)
    listeners.add(listener as GroupListener<never>)
    return () => void listeners.delete(listener as GroupListener<never>)
  }

  /** Resolves when all listeners are done; rejects when one of them fails. */
  async emit<Name extends keyof GroupEvents>(name: Name, event: GroupEvents[Name]): Promise<void> {
    const listeners = [...(this.#listeners.get(name) ?? [])] as GroupListener<Name>[]
    await Promise.all(listeners.map(async (listener) => listener(event)))
  }
}
