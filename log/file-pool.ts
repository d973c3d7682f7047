/**
 * Open files, at most so many. A file is opened when first used and stays open until the pool needs the place;
 * whoever works with one holds a lease, and a leased file is never closed.
 */
import { invariant } from '../runtime/invariant.ts'
import type { FileHandle, Files, OpenMode } from '../runtime/runtime.ts'

export interface FileLease {
  readonly handle: FileHandle
  /** Must be called once. */
  release(): void
}

interface Entry {
  readonly path: string
  readonly opening: Promise<FileHandle>
  leaseCount: number
  /** Not to be given out again; closed when the last lease ends. */
  isForgotten: boolean
}

export class FilePool {
  readonly #files: Files
  readonly #openMax: number
  /** In order of use, least recent first. */
  readonly #entries = new Map<string, Entry>()
  readonly #closing = new Set<Promise<void>>()

  constructor(files: Files, openMax: number) {
    this.#files = files
    this.#openMax = openMax
  }

  get openCount(): number {
    return this.#entries.size
  }

  /** Opens the file for reading and writing; with `create` makes it when absent. */
  async lease(path: string, mode: Exclude<OpenMode, 'read'> = 'readWrite'): Promise<FileLease> {
    const entry = this.#entryOf(path, mode)
    entry.leaseCount++
    try {
      const handle = await entry.opening
      let isHeld = true
      return {
        handle,
        release: () => {
          invariant(isHeld, 'a lease is released once')
          isHeld = false
          this.#unlease(entry)
        },
      }
    } catch (error) {
      entry.leaseCount--
      if (this.#entries.get(path) === entry) this.#entries.delete(path)
      throw error
    }
  }

  /** Drops a file that is renamed or removed. Readers that hold it finish in peace. */
  forget(path: string): void {
    const entry = this.#entries.get(path)
    if (entry === undefined) return
    this.#entries.delete(path)
    entry.isForgotten = true
    if (entry.leaseCount === 0) this.#close(entry)
  }

  /** Closes every file; leased ones when their leases end. */
  async close(): Promise<void> {
    for (const path of [...this.#entries.keys()]) this.forget(path)
    await Promise.all(this.#closing)
  }

  #entryOf(path: string, mode: OpenMode): Entry {
    const present = this.#entries.get(path)
    if (present !== undefined) {
      this.#entries.delete(path)
      this.#entries.set(path, present)
      return present
    }
    this.#makeRoom()
    const entry: Entry = { path, opening: this.#files.open(path, mode), leaseCount: 0, isForgotten: false }
    this.#entries.set(path, entry)
    return entry
  }

  #makeRoom(): void {
    if (this.#entries.size < this.#openMax) return
    for (const entry of this.#entries.values()) {
      if (entry.leaseCount > 0) continue
      this.forget(entry.path)
      return
    }
  }

  #unlease(entry: Entry): void {
    entry.leaseCount--
    if (entry.leaseCount === 0 && entry.isForgotten) this.#close(entry)
  }

  #close(entry: Entry): void {
    const closing = entry.opening
      .then((handle) => handle.close())
      // Everything that matters was synced through the handle before; a failed close has nothing left to lose.
      .catch(() => {})
      .finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }
}
