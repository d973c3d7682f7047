/**
 * The files and directories behind `MemoryFiles`: what they hold now, and what of it a crash would leave.
 *
 * A file keeps every change that is not synced yet together with what undoes it; a directory keeps the names that were synced.
 */

import type { Hash } from 'node:crypto'

const SECTOR_BYTES = 512

export type MemoryNode = MemoryDirectory | MemoryFile

/** The names on the way to `path`. */
export function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.')
}

/** What of the unsynced reaches the disk in a crash. */
export interface Survival {
  /** Whether a sector of 512 bytes, a truncation, or all changes of the names in a directory do. */
  readonly keep: () => boolean
  /** Whether a file has the size that a write gave it though bytes are missing: those read as zeros. Default: it has not. */
  readonly keepSize?: () => boolean
  /** How many of `count` changes of the names in a directory do, in their order. Default: all or none, as `keep` says. */
  readonly keepNames?: (count: number) => number
}

const ALL: Survival = { keep: () => true }

export class MemoryDirectory {
  readonly entries = new Map<string, MemoryNode>()
  /** The names that survive a crash, and then after each change since. */
  #states: ReadonlyMap<string, MemoryNode>[] = [new Map()]

  /** Names were added or removed, all at once as far as a crash is concerned. */
  changed(): void {
    this.#states.push(new Map(this.entries))
  }

  sync(): void {
    this.#states = [new Map(this.entries)]
  }

  usedBytes(): number {
    let bytes = 0
    for (const node of this.entries.values()) bytes += node instanceof MemoryDirectory ? node.usedBytes() : node.sizeBytes
    return bytes
  }

  settleAll(): void {
    for (const node of this.entries.values()) node.settleAll()
  }

  /** Adds the names and bytes there are. */
  addTo(hash: Hash): void {
    for (const [name, node] of [...this.entries].sort(([a], [b]) => (a < b ? -1 : 1))) {
      hash.update(`${name}\0`)
      node.addTo(hash)
    }
    hash.update('/')
  }

  afterCrash(survival: Survival): MemoryDirectory {
    const survivor = new MemoryDirectory()
    const changeCount = this.#states.length - 1
    const kept = survival.keepNames?.(changeCount) ?? (survival.keep() ? changeCount : 0)
    for (const [name, node] of this.#states[kept] ?? []) survivor.entries.set(name, node.afterCrash(survival))
    survivor.sync()
    return survivor
  }
}

/** A change of a file that is not synced yet, with what it takes to undo it. */
export interface Change {
  readonly kind: 'write' | 'truncate'
  readonly position: number
  readonly length: number
  readonly oldSizeBytes: number
  /** What lay at `position` before. */
  readonly oldBytes: Buffer
  /** What was written there. */
  newBytes: Buffer
  isSettled: boolean
  isDurable: boolean
  /** A sync of it failed: the kernel takes it for clean, and no later sync writes it. */
  isGivenUp: boolean
}

export class MemoryFile {
  #bytes = Buffer.alloc(0)
  sizeBytes = 0
  /** Unsynced, oldest first. */
  #changes: Change[] = []

  read(buffer: Buffer, offset: number, length: number, position: number): number {
    return this.#bytes.copy(buffer, offset, Math.min(position, this.sizeBytes), Math.min(position + length, this.sizeBytes))
  }

  /** `lengthMax` ends a write that fails half way; `roomBytes` is what the file may grow. */
  write(buffers: readonly Buffer[], position: number, roomBytes: number, lengthMax: number): { change: Change; isComplete: boolean } {
    const wanted = buffers.reduce((sum, buffer) => sum + buffer.length, 0)
    const growth = Math.max(0, position + wanted - this.sizeBytes)
    const fitting = growth > roomBytes ? Math.max(0, wanted - (growth - roomBytes)) : wanted
    const length = Math.min(fitting, lengthMax)
    const change = this.#note('write', position, length)
    this.#resize(Math.max(this.sizeBytes, position + length))
    let at = position
    for (const buffer of buffers) at += buffer.copy(this.#bytes, at, 0, Math.max(0, Math.min(buffer.length, position + length - at)))
    change.newBytes = Buffer.from(this.#bytes.subarray(position, position + length))
    return { change, isComplete: length === wanted }
  }

  truncate(sizeBytes: number): Change {
    const change = this.#note('truncate', sizeBytes, Math.max(0, this.sizeBytes - sizeBytes))
    this.#resize(sizeBytes)
    return change
  }

  /** A sync begins: covers what is settled now. It makes that durable, or fails and gives it up. */
  beginSync(): { end(): void; fail(): void } {
    const covered = this.#changes.filter((change) => change.isSettled && !change.isGivenUp)
    return {
      end: () => {
        for (const change of covered) change.isDurable = true
        const firstVolatile = this.#changes.findIndex((change) => !change.isDurable)
        this.#changes.splice(0, firstVolatile < 0 ? this.#changes.length : firstVolatile)
      },
      fail: () => {
        for (const change of covered) change.isGivenUp = true
      },
    }
  }

  addTo(hash: Hash): void {
    hash.update(`${this.sizeBytes}\0`).update(this.#bytes.subarray(0, this.sizeBytes))
  }

  settleAll(): void {
    for (const change of this.#changes) change.isSettled = true
  }

  afterCrash(survival: Survival): MemoryFile {
    const survivor = new MemoryFile()
    survivor.#bytes = Buffer.from(this.#bytes.subarray(0, this.sizeBytes))
    survivor.sizeBytes = this.sizeBytes
    for (const change of this.#changes.toReversed()) {
      survivor.#resize(change.oldSizeBytes)
      change.oldBytes.copy(survivor.#bytes, change.position)
    }
    for (const change of this.#changes) survivor.#redo(change, change.isDurable ? ALL : survival)
    return survivor
  }

  #redo(change: Change, { keep, keepSize }: Survival): void {
    if (change.kind === 'truncate') {
      if (keep()) this.#resize(change.position)
      return
    }
    const end = change.position + change.length
    for (let at = change.position; at < end; ) {
      const sectorEnd = Math.min(end, (Math.floor(at / SECTOR_BYTES) + 1) * SECTOR_BYTES)
      if (keep()) {
        this.#resize(Math.max(this.sizeBytes, sectorEnd))
        change.newBytes.copy(this.#bytes, at, at - change.position, sectorEnd - change.position)
      }
      at = sectorEnd
    }
    if (this.sizeBytes < end && keepSize?.() === true) this.#resize(end)
  }

  #note(kind: Change['kind'], position: number, length: number): Change {
    const oldBytes = Buffer.from(this.#bytes.subarray(Math.min(position, this.sizeBytes), Math.min(position + length, this.sizeBytes)))
    const change: Change = {
      kind,
      position,
      length,
      oldSizeBytes: this.sizeBytes,
      oldBytes,
      newBytes: Buffer.alloc(0),
      isSettled: false,
      isDurable: false,
      isGivenUp: false,
    }
    this.#changes.push(change)
    return change
  }

  #resize(sizeBytes: number): void {
    if (sizeBytes > this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(sizeBytes, this.#bytes.length * 2))
      this.#bytes.copy(grown, 0, 0, this.sizeBytes)
      this.#bytes = grown
    } else if (sizeBytes < this.sizeBytes) {
      this.#bytes.fill(0, sizeBytes, this.sizeBytes)
    }
    this.sizeBytes = sizeBytes
  }
}
