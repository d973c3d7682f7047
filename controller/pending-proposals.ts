/** Proposals that wait for their entry to be committed, by its index. */
import { TidemarkError } from '../protocol/errors.ts'
import { createDeferred, type Deferred } from '../runtime/deferred.ts'

export class PendingProposals {
  readonly #waiting = new Map<number, { readonly term: number; readonly decided: Deferred<number> }>()

  get count(): number {
    return this.#waiting.size
  }

  /** Resolves with what `applied` is given. */
  add(index: number, term: number): Promise<number> {
    const decided = createDeferred<number>()
    // One that an earlier term proposed at this index was replaced.
    this.#waiting.get(index)?.decided.reject(replaced())
    this.#waiting.set(index, { term, decided })
    return decided.promise
  }

  /** The entry at `index` is of `term` and was applied. */
  applied(index: number, term: number, result: number): void {
    const waiting = this.#waiting.get(index)
    if (waiting === undefined) return
    this.#waiting.delete(index)
    if (waiting.term === term) waiting.decided.resolve(result)
    else waiting.decided.reject(replaced())
  }

  rejectAll(error: Error): void {
    for (const { decided } of this.#waiting.values()) decided.reject(error)
    this.#waiting.clear()
  }
}

function replaced(): TidemarkError {
  return new TidemarkError('NOT_CONTROLLER', 'another controller was elected, and the change was not committed', { outcome: 'failed' })
}
