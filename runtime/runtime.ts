/**
 * The ports to the outside world.
 *
 * Every piece of protocol logic gets its time, timers, randomness, files and
 * log from a `Runtime` handed to it, never from a global. `node.ts` holds the
 * real implementations; `testing/` holds memory files; the simulation brings
 * virtual ones. The interfaces below are the contract all of them keep, and
 * `test/conformance/` runs the same suite over each.
 */

/** Reads time. Two clocks, because a wall clock may jump and a deadline must not. */
export interface Clock {
  /** Wall-clock time in milliseconds since 1970, an integer. May jump, also backwards. For timestamps only. */
  now(): number
  /** Milliseconds since an arbitrary start, fractional, never decreasing. For deadlines, sessions and measurements. */
  monotonic(): number
}

/** A pending call. Cancelling it after it ran, or twice, does nothing. */
export interface Timer {
  cancel(): void
}

export interface Timers {
  /** Calls `run` once, no earlier than `delayMs` from now. The holder owns the timer and cancels it when closing. */
  after(delayMs: number, run: () => void): Timer
  /** Calls `run` every `periodMs` until cancelled. Never overlaps itself: `run` is synchronous. */
  every(periodMs: number, run: () => void): Timer
  /** Calls `run` after the I/O events that are already pending (one turn of the event loop). Coalesces work of one tick. */
  nextTurn(run: () => void): void
}

export interface Random {
  /** Uniform in [0, 1). */
  float(): number
  /** `count` unpredictable bytes. */
  bytes(count: number): Buffer
}

/** What the log needs to know of a file or directory. */
export interface FileStat {
  readonly isDirectory: boolean
  readonly sizeBytes: number
  readonly modifiedMs: number
}

/** How to open a file. `read`: must exist. `readWrite`: must exist. `create`: read-write, made when absent, kept when present. */
export type OpenMode = 'read' | 'readWrite' | 'create'

/**
 * An open file. Operations at explicit positions only, so that any number may
 * run at once; the caller orders writes that overlap. After `close` every call rejects.
 */
export interface FileHandle {
  readonly path: string
  /**
   * Reads up to `length` bytes at `position` into `buffer` at `offset`. Returns
   * the number read, which is short only at the end of the file.
   */
  read(buffer: Buffer, offset: number, length: number, position: number): Promise<number>
  /**
   * Writes all `buffers` back to back at `position`. Resolves when every byte is
   * in the page cache (visible to readers, not durable). On rejection any
   * prefix may have been written. A `Buffer` must not be changed until it settles.
   */
  write(buffers: readonly Buffer[], position: number): Promise<void>
  /**
   * Makes every write that settled before the call durable, with the metadata
   * needed to read it back (its size), not with timestamps. After a rejection
   * nothing written since the last success may be trusted, and calling again proves
   * nothing: the kernel has dropped the pages.
   */
  datasync(): Promise<void>
  /** Sets the size; a file that grows reads as zeros. Durable after the next `datasync`. */
  truncate(sizeBytes: number): Promise<void>
  stat(): Promise<FileStat>
  close(): Promise<void>
}

/** A lock that keeps other processes (and other holders in this one) out of a directory. */
export interface DirectoryLock {
  release(): Promise<void>
}

/**
 * Files and directories. Paths are absolute or relative to the process.
 *
 * Failures reject with an `Error` that carries a `code` as Node's do: `ENOENT`,
 * `EEXIST`, `ENOSPC`, `EIO`, `EMFILE`, `EACCES`, `EROFS`.
 *
 * Creating, renaming and removing a name is durable only once `syncDirectory`
 * of its parent has settled.
 */
export interface Files {
  open(path: string, mode: OpenMode): Promise<FileHandle>
  /** Names in a directory, without `.` and `..`, in no particular order. */
  list(path: string): Promise<string[]>
  /** Undefined when there is nothing at `path`. */
  stat(path: string): Promise<FileStat | undefined>
  /** Creates the directory and its parents; fine when it exists. */
  makeDirectory(path: string): Promise<void>
  /** Replaces whatever is at `to`, atomically, on the same file system. */
  rename(from: string, to: string): Promise<void>
  /** Removes a file; fine when absent. */
  remove(path: string): Promise<void>
  /** Removes a directory with all it holds; fine when absent. */
  removeTree(path: string): Promise<void>
  syncDirectory(path: string): Promise<void>
  /** Bytes an unprivileged process may still write on the file system that holds `path`. */
  freeBytes(path: string): Promise<number>
  /**
   * Takes the lock file at `path`. Rejects with `code: 'ELOCKED'` and a message that names the holder
   * while another process holds it. A lock left by a process that died does not count.
   */
  lock(path: string): Promise<DirectoryLock>
}

/** Structured logging. `event` is a stable name of the form `noun.verb-past`, such as `segment.rolled`. */
export interface Log {
  debug(event: string, fields?: Readonly<Record<string, unknown>>): void
  info(event: string, fields?: Readonly<Record<string, unknown>>): void
  warn(event: string, fields?: Readonly<Record<string, unknown>>): void
  error(event: string, fields?: Readonly<Record<string, unknown>>): void
}

/** All of the outside world that protocol logic may see. */
export interface Runtime {
  readonly clock: Clock
  readonly timers: Timers
  readonly random: Random
  readonly files: Files
  readonly log: Log
}
