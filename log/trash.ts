/** Files that are deleted but may still be read for a while: renamed now, removed later. What is left at the end is swept at the next start. */
import type { Files, Log, Timer, Timers } from '../runtime/runtime.ts'

export class Trash {
  readonly #files: Files
  readonly #timers: Timers
  readonly #log: Log
  readonly #pending = new Set<Timer>()
  readonly #removing = new Set<Promise<void>>()

  constructor(files: Files, timers: Timers, log: Log) {
    this.#files = files
    this.#timers = timers
    this.#log = log
  }

  /** Renames `path` to `aside` and removes it after `delayMs`. Fine when there is nothing at `path`. */
  async remove(path: string, aside: string, delayMs: number): Promise<void> {
    try {
      await this.#files.rename(path, aside)
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return
      throw error
    }
    const timer = this.#timers.after(delayMs, () => {
      this.#pending.delete(timer)
      const removing = this.removeNow(aside).finally(() => this.#removing.delete(removing))
      this.#removing.add(removing)
    })
    this.#pending.add(timer)
  }

  /** Removes a file or directory now. A failure only costs space, until the next start. */
  async removeNow(path: string): Promise<void> {
    try {
      await this.#files.removeTree(path)
    } catch (error) {
      this.#log.warn('trash.remove-failed', { path, error })
    }
  }

  async close(): Promise<void> {
    for (const timer of this.#pending) timer.cancel()
    this.#pending.clear()
    await Promise.all(this.#removing)
  }
}
