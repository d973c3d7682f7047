/**
 * The real `Files`: Node's callback API, which costs less per call than its promises.
 */
import fs from 'node:fs'
import { mkdir, open as openAsync, readdir, rename, rm, stat, statfs } from 'node:fs/promises'
import { takeLock } from './node-lock.ts'
import { dirname } from 'node:path'
import type { FileHandle, Files, FileStat, OpenMode } from './runtime.ts'

const FLAGS: Readonly<Record<OpenMode, number>> = {
  read: fs.constants.O_RDONLY,
  readWrite: fs.constants.O_RDWR,
  create: fs.constants.O_RDWR | fs.constants.O_CREAT,
}

/** More buffers than this in one call are refused by the kernel (IOV_MAX). */
const BUFFERS_PER_WRITE_MAX = 1024

class NodeFileHandle implements FileHandle {
  readonly path: string
  readonly #fd: number

  constructor(path: string, fd: number) {
    this.path = path
    this.#fd = fd
  }

  async read(buffer: Buffer, offset: number, length: number, position: number): Promise<number> {
    let done = 0
    while (done < length) {
      const count = await this.#readOnce(buffer, offset + done, length - done, position + done)
      if (count === 0) break
      done += count
    }
    return done
  }

  async write(buffers: readonly Buffer[], position: number): Promise<void> {
    let at = position
    for (let first = 0; first < buffers.length; first += BUFFERS_PER_WRITE_MAX) {
      const part = buffers.length <= BUFFERS_PER_WRITE_MAX ? buffers : buffers.slice(first, first + BUFFERS_PER_WRITE_MAX)
      at += await this.#writeAll(part, at)
    }
  }

  datasync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#fd, (error) => (error === null ? resolve() : reject(error)))
    })
  }

  truncate(sizeBytes: number): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.ftruncate(this.#fd, sizeBytes, (error) => (error === null ? resolve() : reject(error)))
    })
  }

  stat(): Promise<FileStat> {
    return new Promise((resolve, reject) => {
      fs.fstat(this.#fd, (error, stats) => (error === null ? resolve(statOf(stats)) : reject(error)))
    })
  }

  close(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.close(this.#fd, (error) => (error ? reject(error) : resolve()))
    })
  }

  #readOnce(buffer: Buffer, offset: number, length: number, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.read(this.#fd, buffer, offset, length, position, (error, count) => (error === null ? resolve(count) : reject(error)))
    })
  }

  /** A write may be short, when the disk fills up or a signal comes: goes on until all is written or an error says why not. */
  async #writeAll(buffers: readonly Buffer[], position: number): Promise<number> {
    let rest = buffers
    let done = 0
    while (rest.length > 0) {
      const count = await this.#writeOnce(rest, position + done)
      done += count
      rest = dropBytes(rest, count)
    }
    return done
  }

  #writeOnce(buffers: readonly Buffer[], position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.writev(this.#fd, buffers, position, (error, count) => (error === null ? resolve(count) : reject(error)))
    })
  }
}

function dropBytes(buffers: readonly Buffer[], count: number): readonly Buffer[] {
  let left = count
  let index = 0
  while (index < buffers.length && left >= (buffers[index] as Buffer).length) {
    left -= (buffers[index] as Buffer).length
    index++
  }
  if (index === buffers.length) return []
  return [(buffers[index] as Buffer).subarray(left), ...buffers.slice(index + 1)]
}

function statOf(stats: fs.Stats): FileStat {
  return { isDirectory: stats.isDirectory(), sizeBytes: stats.size, modifiedMs: stats.mtimeMs }
}

/** Step by step: Node's own recursive `mkdir` never ends where the system answers ENOENT for a name it will not have, as under /proc. */
async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path)
  } catch (error) {
    if (codeOf(error) === 'EEXIST' && (await stat(path)).isDirectory()) return
    if (codeOf(error) !== 'ENOENT' || dirname(path) === path) throw error
    await makeDirectory(dirname(path))
    await mkdir(path).catch((second: unknown) => {
      if (codeOf(second) !== 'EEXIST') throw second
    })
  }
}

export const nodeFiles: Files = {
  open(path, mode) {
    return new Promise((resolve, reject) => {
      fs.open(path, FLAGS[mode], 0o644, (error, fd) => (error === null ? resolve(new NodeFileHandle(path, fd)) : reject(error)))
    })
  },
  list: (path) => readdir(path),
  async stat(path) {
    try {
      return statOf(await stat(path))
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined
      throw error
    }
  },
  makeDirectory: (path) => makeDirectory(path),
  rename: (from, to) => rename(from, to),
  async remove(path) {
    await rm(path, { force: true })
  },
  async removeTree(path) {
    await rm(path, { recursive: true, force: true })
  },
  async syncDirectory(path) {
    // Windows cannot open a directory; it makes names durable by itself.
    if (process.platform === 'win32') return
    const handle = await openAsync(path, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  },
  async freeBytes(path) {
    const { bavail, bsize } = await statfs(path)
    return bavail * bsize
  },
  lock: takeLock,
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
