/**
 * The files and directories behind `MemoryFiles`: what they hold now, and what of it a crash would leave.
 *
 * A file keeps every change that is not synced yet together with what undoes it; a directory keeps the names that were synced.
 */

const SECTOR_BYTES = 512

export type MemoryNode = MemoryDirectory | MemoryFile

/** The names on the way to `path`. */
export function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.')
}

export class MemoryDirectory {
  entries = new Map<string, MemoryNode>()
  /** The names that survive a crash. */
  durable = new Map<string, MemoryNode>()

  usedBytes(): number {
    let bytes = 0
    for (const node of this.entries.values()) bytes += node instanceof MemoryDirectory ? node.usedBytes() : node.sizeBytes
    return bytes
  }

  settleAll(): void {
    for (const node of this.entries.values()) node.settleAll()
  }

  afterCrash(keep: () => boolean): MemoryDirectory {
    const survivor = new MemoryDirectory()
    for (const [name, node] of keep() ? this.entries : this.durable) survivor.entries.set(name, node.afterCrash(keep))
    survivor.durable = new Map(survivor.entries)
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

  settleAll(): void {
    for (const change of this.#changes) change.isSettled = true
  }

  afterCrash(keep: () => boolean): MemoryFile {
    const survivor = new MemoryFile()
    survivor.#bytes = Buffer.from(this.#bytes.subarray(0, this.sizeBytes))
    survivor.sizeBytes = this.sizeBytes
    for (const change of this.#changes.toReversed()) {
      survivor.#resize(change.oldSizeBytes)
      change.oldBytes.copy(survivor.#bytes, change.position)
    }
    for (const change of this.#changes) survivor.#redo(change, change.isDurable ? () => true : keep)
    return survivor
  }

  #redo(change: Change, keep: () => boolean): void {
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
