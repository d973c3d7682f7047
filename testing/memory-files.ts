/**
 * Files in memory: for tests of users and of tidemark itself.
 *
 * Fault model. A write, truncation or datasync may fail with any code (`inject`); a disk may be full (`capacityBytes`), and then
 * takes the first part of a write. What a datasync that failed should have made durable is given up, as by kernels: no later one does. `crash` pulls the plug: it returns the files as the next process would find them. What was not
 * synced is lost: bytes of files without `datasync`, names without `syncDirectory`. With a `keep` function a crash is
 * less regular, as real ones are: it decides for every unsynced sector of 512 bytes and for every directory whether it
 * reached the disk after all. `kill` ends only the process. The old files are dead from then on: calls on them never settle.
 */
import { createHash } from 'node:crypto'
import type { DirectoryLock, FileHandle, Files, FileStat, OpenMode } from '../runtime/runtime.ts'
import { type Fault, FaultQueue, failure, type FileOperation } from './memory-faults.ts'
import { MemoryHandle } from './memory-handle.ts'
import { MemoryDirectory, MemoryFile, type MemoryNode, partsOf, type Survival } from './memory-tree.ts'

export interface MemoryFilesOptions {
  /** Default: no limit. */
  readonly capacityBytes?: number
  /** Settles before each call does, so that calls overlap as they do on a disk. Default: the next microtask. */
  readonly pause?: (operation: FileOperation) => Promise<void>
}

const UNLIMITED = Number.MAX_SAFE_INTEGER

export class MemoryFiles implements Files {
  capacityBytes: number
  /** Calls so far, by operation. */
  readonly counts: Map<FileOperation, number> = new Map()
  readonly #pause: (operation: FileOperation) => Promise<void>
  #root = new MemoryDirectory()
  readonly #locks = new Set<string>()
  readonly #faults = new FaultQueue()
  #isDead = false
  #openHandleCount = 0

  constructor(options: MemoryFilesOptions = {}) {
    this.capacityBytes = options.capacityBytes ?? UNLIMITED
    this.#pause = options.pause ?? (() => Promise.resolve())
  }

  /** After a crash or a kill. Not for users. */
  get isDead(): boolean {
    return this.#isDead
  }

  /** Files opened and not closed. */
  get openHandleCount(): number {
    return this.#openHandleCount
  }

  get usedBytes(): number {
    return this.#root.usedBytes()
  }

  /** Makes a coming call fail. */
  inject(fault: Fault): void {
    this.#faults.add(fault)
  }

  /** The files as they are found after the power went now. `keep` decides what of the unsynced survives; default: nothing. */
  crash(keep: () => boolean = () => false): MemoryFiles {
    this.#isDead = true
    return this.imageAfterCrash({ keep })
  }

  /** The files as they would be found if the power went now; these go on. Not for users. */
  imageAfterCrash(survival: Survival, pause: MemoryFilesOptions['pause'] = this.#pause): MemoryFiles {
    return this.#with(this.#root.afterCrash(survival), pause)
  }

  /** Of all names and bytes. Not for users. */
  digest(): string {
    const hash = createHash('sha1')
    this.#root.addTo(hash)
    return hash.digest('base64')
  }

  /** The files as the next process finds them when this one is killed and the kernel lives on: all bytes are there, the unsynced ones still unsynced. */
  kill(): MemoryFiles {
    this.#isDead = true
    this.#root.settleAll()
    return this.#with(this.#root)
  }

  /** The files as a backup made now has them. */
  copy(): MemoryFiles {
    return this.imageAfterCrash({ keep: () => true })
  }

  async open(path: string, mode: OpenMode): Promise<FileHandle> {
    await this.enter('open', path)
    const { parent, name } = this.#parentOf(path)
    let file = parent.entries.get(name)
    if (file === undefined && mode === 'create') {
      file = new MemoryFile()
      parent.entries.set(name, file)
      parent.changed()
    }
    if (file === undefined) throw failure('ENOENT', path)
    if (file instanceof MemoryDirectory) throw failure('EISDIR', path)
    this.#openHandleCount++
    return new MemoryHandle(this, path, file, mode !== 'read', () => this.#openHandleCount--)
  }

  async list(path: string): Promise<string[]> {
    await this.enter('list', path)
    return [...this.#directory(path).entries.keys()]
  }

  async stat(path: string): Promise<FileStat | undefined> {
    await this.#settle('read')
    const node = this.#find(path)
    if (node === undefined) return undefined
    return node instanceof MemoryDirectory
      ? { isDirectory: true, sizeBytes: 0, modifiedMs: 0 }
      : { isDirectory: false, sizeBytes: node.sizeBytes, modifiedMs: 0 }
  }

  async makeDirectory(path: string): Promise<void> {
    await this.enter('makeDirectory', path)
    let directory = this.#root
    for (const name of partsOf(path)) {
      let next = directory.entries.get(name)
      if (next instanceof MemoryFile) throw failure('EEXIST', path)
      if (next === undefined) {
        next = new MemoryDirectory()
        directory.entries.set(name, next)
        directory.changed()
      }
      directory = next
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await this.enter('rename', from)
    const source = this.#parentOf(from)
    const target = this.#parentOf(to)
    const node = source.parent.entries.get(source.name)
    if (node === undefined) throw failure('ENOENT', from)
    source.parent.entries.delete(source.name)
    target.parent.entries.set(target.name, node)
    target.parent.changed()
    if (source.parent !== target.parent) source.parent.changed()
  }

  async remove(path: string): Promise<void> {
    await this.enter('remove', path)
    this.#unlink(path)
  }

  async removeTree(path: string): Promise<void> {
    await this.enter('remove', path)
    this.#unlink(path)
  }

  async syncDirectory(path: string): Promise<void> {
    await this.enter('syncDirectory', path)
    this.#directory(path).sync()
  }

  async freeBytes(path: string): Promise<number> {
    await this.enter('freeBytes', path)
    return this.roomBytes()
  }

  async lock(path: string): Promise<DirectoryLock> {
    await this.#settle('open')
    this.#parentOf(path)
    if (this.#locks.has(path)) throw Object.assign(new Error(`${path} is held by this process`), { code: 'ELOCKED' })
    this.#locks.add(path)
    return {
      release: async () => {
        this.#locks.delete(path)
      },
    }
  }

  /** Begins a call: counts it, waits its time, and throws the fault that is due. Not for users. */
  async enter(operation: FileOperation, path: string): Promise<void> {
    const fault = this.takeFault(operation, path)
    await this.#settle(operation)
    if (fault !== undefined) throw failure(fault.code, path)
  }

  /** The fault that this call is to have. Not for users. */
  takeFault(operation: FileOperation, path: string): Fault | undefined {
    this.counts.set(operation, (this.counts.get(operation) ?? 0) + 1)
    return this.#faults.take(operation, path)
  }

  /** Ends a call. In dead files it never does. Not for users. */
  async settle(operation: FileOperation): Promise<void> {
    await this.#settle(operation)
  }

  /** Not for users. */
  roomBytes(): number {
    return this.capacityBytes === UNLIMITED ? UNLIMITED : Math.max(0, this.capacityBytes - this.usedBytes)
  }

  #with(root: MemoryDirectory, pause = this.#pause): MemoryFiles {
    const files = new MemoryFiles({ capacityBytes: this.capacityBytes, pause })
    files.#root = root
    return files
  }

  async #settle(operation: FileOperation): Promise<void> {
    await this.#pause(operation)
    if (this.#isDead) await new Promise<never>(() => {})
  }

  #unlink(path: string): void {
    const { parent, name } = this.#parentOf(path, true)
    if (parent?.entries.delete(name) === true) parent.changed()
  }

  #find(path: string): MemoryNode | undefined {
    let node: MemoryNode | undefined = this.#root
    for (const name of partsOf(path)) node = node instanceof MemoryDirectory ? node.entries.get(name) : undefined
    return node
  }

  #directory(path: string): MemoryDirectory {
    const node = this.#find(path)
    if (node === undefined) throw failure('ENOENT', path)
    if (!(node instanceof MemoryDirectory)) throw failure('ENOTDIR', path)
    return node
  }

  #parentOf(path: string): { parent: MemoryDirectory; name: string }
  #parentOf(path: string, isAbsenceFine: true): { parent: MemoryDirectory | undefined; name: string }
  #parentOf(path: string, isAbsenceFine = false): { parent: MemoryDirectory | undefined; name: string } {
    const parts = partsOf(path)
    const name = parts.pop() ?? ''
    const parent = this.#find(parts.join('/'))
    if (parent instanceof MemoryDirectory) return { parent, name }
    if (isAbsenceFine) return { parent: undefined, name }
    throw failure(parent === undefined ? 'ENOENT' : 'ENOTDIR', path)
  }
}
