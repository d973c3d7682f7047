/** The records of one `send`, and the one promise that tells what became of them. */
import { type Outcome, TidemarkError } from '../../protocol/errors.ts'
import type { Receipt } from '../types.ts'

export class SendGroup {
  readonly promise: Promise<Receipt[]>
  readonly #receipts: Receipt[]
  /** Records of which nothing final is known. */
  #openCount: number
  #appendedCount = 0
  #isRestGone = false
  #failure: TidemarkError | undefined
  /** Some record is written, or may be. */
  #mayBeWritten = false
  #isOver = false
  #resolve!: (receipts: Receipt[]) => void
  #reject!: (error: unknown) => void

  constructor(recordCount: number) {
    this.#receipts = new Array<Receipt>(recordCount)
    this.#openCount = recordCount
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    if (recordCount === 0) this.#resolve([])
  }

  /** Why the whole fails, once that is certain: nothing more of it need be sent. */
  get failure(): TidemarkError | undefined {
    return this.#failure
  }

  /** A record is in a batch: from here on the batch tells what becomes of it. */
  appended(): void {
    this.#appendedCount++
  }

  succeed(index: number, receipt: Receipt): void {
    this.#receipts[index] = receipt
    this.#mayBeWritten = true
    this.#settle(1)
  }

  /** One record of a batch has failed. The first failure is told, once all records have come to an end: only then it is known whether any was written. */
  fail(error: TidemarkError): void {
    this.#failure ??= error
    if (error.outcome !== 'failed') this.#mayBeWritten = true
    this.#settle(1)
  }

  /** What is not in a batch yet will not get there. */
  failRest(error: TidemarkError): void {
    if (this.#isRestGone) return
    this.#isRestGone = true
    this.#failure ??= error
    this.#settle(this.#receipts.length - this.#appendedCount)
  }

  /** Gives up waiting when `signal` aborts. Records that are in a batch may still be written. */
  listenTo(signal: AbortSignal): void {
    const abort = (): void => {
      const outcome = this.#appendedCount > 0 ? 'indeterminate' : 'failed'
      this.#failure ??= new TidemarkError('CANCELLED', undefined, { cause: signal.reason, outcome })
      this.#end(this.#failure, outcome)
    }
    if (signal.aborted) abort()
    else {
      signal.addEventListener('abort', abort, { once: true })
      const settled = (): void => signal.removeEventListener('abort', abort)
      this.promise.then(settled, settled)
    }
  }

  #settle(recordCount: number): void {
    this.#openCount -= recordCount
    if (this.#openCount > 0 || this.#isOver) return
    if (this.#failure !== undefined) this.#end(this.#failure, this.#mayBeWritten ? 'indeterminate' : 'failed')
    else {
      this.#isOver = true
      this.#resolve(this.#receipts)
    }
  }

  #end(error: TidemarkError, outcome: Outcome): void {
    if (this.#isOver) return
    this.#isOver = true
    const { code, message, cause, retriable, retryAfterMs } = error
    this.#reject(error.outcome === outcome ? error : new TidemarkError(code, message, { cause, retriable, retryAfterMs, outcome }))
  }
}
