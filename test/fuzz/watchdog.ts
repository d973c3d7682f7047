/** Ends the process when an execution does not end: a decoder that goes round in circles lets nobody else have a say. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'

/** What is under way, shared with the thread that watches. */
const NUMBER = 0
const CHANGES = 1

export class Watchdog {
  readonly #state = new Int32Array(new SharedArrayBuffer(8))
  readonly #worker: Worker

  private constructor(again: string, patienceMs: number) {
    const workerData = { state: this.#state, again, patienceMs, pid: process.pid }
    this.#worker = new Worker(new URL('./watchdog-thread.ts', import.meta.url), { workerData, execArgv: [] })
  }

  /** Watches once it resolves. `again`: what to type to see execution n again, with `{at}` for n. */
  static async open(again: string, patienceMs: number): Promise<Watchdog> {
    const watchdog = new Watchdog(again, patienceMs)
    await once(watchdog.#worker, 'message')
    watchdog.#worker.unref()
    return watchdog
  }

  begins(at: number): void {
    Atomics.store(this.#state, NUMBER, at)
    Atomics.add(this.#state, CHANGES, 1)
  }

  async close(): Promise<void> {
    await this.#worker.terminate()
  }
}
