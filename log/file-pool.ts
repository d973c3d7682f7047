/**
 * Open files, at most so many. A file is opened when first used and stays open until the pool needs the place;
 * whoever works with one holds a lease, and a leased file is never closed. When every open file is leased the next lease waits;
 * `onFull` asks those that hold files only for a sync to come to have it now. A holder must never wait for a second lease.
 */
import { createDeferred, type Deferred } from '../runtime/deferred.ts'
import { invariant } from '../runtime/invariant.ts'
import type { FileHandle, Files, OpenMode } from '../runtime/runtime.ts'

export interface FileLease {
  readonly handle: FileHandle
  /** Must be called once. */
  release(): void
}

type LeaseMode = Exclude<OpenMode, 'read'>

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
  readonly #onFull: () => void
  /** In order of use, least recent first. */
  readonly #entries = new Map<string, Entry>()
  /** Forgotten but still leased, or being closed. */
  #goingCount = 0
  readonly #closing = new Set<Promise<void>>()
  /** First come, first served. */
  #waiting: Deferred<void>[] = []

  constructor(files: Files, openMax: number, onFull: () => void = () => {}) {
    invariant(openMax > 0, 'a pool has room for a file')
    this.#files = files
    this.#openMax = openMax
    this.#onFull = onFull
  }

  get openCount(): number {
    return this.#entries.size + this.#goingCount
  }

  /** Opens the file for reading and writing; with `create` makes it when absent. */
  async lease(path: string, mode: LeaseMode = 'readWrite'): Promise<FileLease> {
    let entry = this.#present(path)
    if (entry === undefined) {
      await this.#makeRoom()
      entry = this.#present(path)
      // Someone else opened the file meanwhile: the place is free for the next in line.
      if (entry !== undefined) this.#wakeNext()
      entry ??= this.#open(path, mode)
    }
    entry.leaseCount++
    try {
      return this.#leaseOf(entry, await entry.opening)
    } catch (error) {
      this.#unlease(entry)
      throw error
    }
  }

  /** Drops a file that is renamed or removed. Readers that hold it finish in peace. */
  forget(path: string): void {
    const entry = this.#entries.get(path)
    if (entry === undefined) return
    this.#entries.delete(path)
    this.#goingCount++
    entry.isForgotten = true
    if (entry.leaseCount === 0) this.#close(entry)
  }

  /** Closes every file; leased ones when their leases end. */
  async close(): Promise<void> {
    for (const path of [...this.#entries.keys()]) this.forget(path)
    await Promise.all(this.#closing)
  }

  #present(path: string): Entry | undefined {
    const present = this.#entries.get(path)
    if (present === undefined) return undefined
    this.#entries.delete(path)
    this.#entries.set(path, present)
    return present
  }

  #open(path: string, mode: LeaseMode): Entry {
    const entry: Entry = { path, opening: this.#files.open(path, mode), leaseCount: 0, isForgotten: false }
    this.#entries.set(path, entry)
    // Nothing is open; `lease` reports why.
    entry.opening.catch(() => {
      if (this.#entries.get(path) === entry) this.#entries.delete(path)
      this.#wakeNext()
    })
    return entry
  }

  async #makeRoom(): Promise<void> {
    while (this.openCount >= this.#openMax && !this.#closeOldest()) {
      const place = createDeferred<void>()
      this.#waiting.push(place)
      if (this.#waiting.length === 1) this.#onFull()
      await place.promise
    }
  }

  /** Makes a place if that is possible at once. */
  #closeOldest(): boolean {
    for (const entry of this.#entries.values()) {
      if (entry.leaseCount > 0) continue
      this.forget(entry.path)
      // The old handle is closed while the new one is opened.
      return true
    }
    return false
  }

  #leaseOf(entry: Entry, handle: FileHandle): FileLease {
    let isHeld = true
    return {
      handle,
      release: () => {
        invariant(isHeld, 'a lease is released once')
        isHeld = false
        this.#unlease(entry)
      },
    }
  }

  #unlease(entry: Entry): void {
    entry.leaseCount--
    if (entry.leaseCount > 0) return
    if (entry.isForgotten) this.#close(entry)
    else this.#wakeNext()
  }

  #close(entry: Entry): void {
    const closing = entry.opening
      .then((handle) => handle.close())
      // Everything that matters was synced through the handle before; a failed close has nothing left to lose.
      .catch(() => {})
      .finally(() => {
        this.#closing.delete(closing)
        this.#goingCount--
        this.#wakeNext()
      })
    this.#closing.add(closing)
  }

  #wakeNext(): void {
    this.#waiting.shift()?.resolve()
  }
}
