/** The records of one `send`, and the one promise that tells what became of them. */
import { type Outcome, TidemarkError } from '../../protocol/errors.ts'
import type { Receipt } from '../types.ts'

export class SendGroup {
  readonly promise: Promise<Receipt[]>
  readonly #receipts: Receipt[]
  #unsettledCount: number
  #appendedCount = 0
  #isOver = false
  #resolve!: (receipts: Receipt[]) => void
  #reject!: (error: unknown) => void

  constructor(recordCount: number) {
    this.#receipts = new Array<Receipt>(recordCount)
    this.#unsettledCount = recordCount
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    if (recordCount === 0) this.#resolve([])
  }

  /** True once nobody listens any more. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** What to say of the whole when it is given up now: records that are in a batch may still be written. */
  get outcome(): Outcome {
    return this.#appendedCount > 0 ? 'indeterminate' : 'failed'
  }

  appended(): void {
    this.#appendedCount++
  }

  succeed(index: number, receipt: Receipt): void {
    this.#receipts[index] = receipt
    if (--this.#unsettledCount > 0 || this.#isOver) return
    this.#isOver = true
    this.#resolve(this.#receipts)
  }

  /** The first failure is told; the other records go their way. */
  fail(error: TidemarkError): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#reject(error)
  }

  /** Gives up waiting when `signal` aborts. */
  listenTo(signal: AbortSignal): void {
    const abort = (): void => this.fail(new TidemarkError('CANCELLED', undefined, { cause: signal.reason, outcome: this.outcome }))
    if (signal.aborted) abort()
    else {
      signal.addEventListener('abort', abort, { once: true })
      const settled = (): void => signal.removeEventListener('abort', abort)
      this.promise.then(settled, settled)
    }
  }
}
