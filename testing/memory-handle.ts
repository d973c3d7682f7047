/** One open file of `MemoryFiles`. */
import type { FileHandle, FileStat } from '../runtime/runtime.ts'
import { type Fault, failure, type FileOperation } from './memory-faults.ts'
import type { MemoryFile } from './memory-tree.ts'

/** The files that a handle is of. */
interface Owner {
  readonly isDead: boolean
  /** Begins a call: counts it, waits its time, and throws the fault that is due. */
  enter(operation: FileOperation, path: string): Promise<void>
  /** The fault that a call is to have. */
  takeFault(operation: FileOperation, path: string): Fault | undefined
  /** Ends a call. In dead files it never does. */
  settle(operation: FileOperation): Promise<void>
  roomBytes(): number
}

export class MemoryHandle implements FileHandle {
  readonly path: string
  readonly #files: Owner
  readonly #file: MemoryFile
  readonly #isWritable: boolean
  readonly #closed: () => void
  #isOpen = true

  constructor(files: Owner, path: string, file: MemoryFile, isWritable: boolean, closed: () => void) {
    this.#files = files
    this.path = path
    this.#file = file
    this.#isWritable = isWritable
    this.#closed = closed
  }

  async read(buffer: Buffer, offset: number, length: number, position: number): Promise<number> {
    this.#check(false)
    await this.#files.enter('read', this.path)
    return this.#file.read(buffer, offset, length, position)
  }

  async write(buffers: readonly Buffer[], position: number): Promise<void> {
    this.#check(true)
    if (this.#files.isDead) return new Promise(() => {})
    const fault = this.#files.takeFault('write', this.path)
    const { change, isComplete } = this.#file.write(
      buffers,
      position,
      this.#files.roomBytes(),
      fault === undefined ? Number.POSITIVE_INFINITY : (fault.tornBytes ?? 0),
    )
    await this.#files.settle('write')
    change.isSettled = true
    if (fault !== undefined) throw failure(fault.code, this.path)
    if (!isComplete) throw failure('ENOSPC', this.path)
  }

  async datasync(): Promise<void> {
    this.#check(false)
    if (this.#files.isDead) return new Promise(() => {})
    const fault = this.#files.takeFault('datasync', this.path)
    const sync = this.#file.beginSync()
    await this.#files.settle('datasync')
    if (fault === undefined) {
      sync.end()
      return
    }
    sync.fail()
    throw Object.assign(failure(fault.code, this.path), { syscall: 'fdatasync' })
  }

  async truncate(sizeBytes: number): Promise<void> {
    this.#check(true)
    if (this.#files.isDead) return new Promise(() => {})
    const fault = this.#files.takeFault('truncate', this.path)
    if (fault === undefined) this.#file.truncate(sizeBytes).isSettled = true
    await this.#files.settle('truncate')
    if (fault !== undefined) throw failure(fault.code, this.path)
  }

  async stat(): Promise<FileStat> {
    this.#check(false)
    await this.#files.settle('read')
    return { isDirectory: false, sizeBytes: this.#file.sizeBytes, modifiedMs: 0 }
  }

  async close(): Promise<void> {
    this.#check(false)
    this.#isOpen = false
    this.#closed()
    await this.#files.settle('read')
  }

  #check(forWriting: boolean): void {
    if (!this.#isOpen || (forWriting && !this.#isWritable)) throw failure('EBADF', this.path)
  }
}
