/**
 * Whether a data directory can be written and trusted.
 *
 * - Sound: everything goes.
 * - Full: appends are refused with `DISK_FULL`, reading and deleting go on; it ends by itself when space returns.
 * - Failed, for good: a write or a sync failed. The kernel may have dropped pages it said it had, so
 *   nothing is retried and nothing is written any more; what was durable can still be read.
 */
import { TidemarkError } from '../protocol/errors.ts'
import type { Files, Runtime } from '../runtime/runtime.ts'

/** How often the free space is looked at, while full and while there is writing. */
const CHECK_EVERY_MS = 1000

/** Between 'full' and writing again there must be room for more than one batch. */
const RESUME_BYTES = 4 * 1024 * 1024

export class DirectoryHealth {
  readonly #path: string
  readonly #runtime: Runtime
  readonly #files: Files
  readonly #minFreeBytes: number
  readonly #onFailure: (error: TidemarkError) => void
  #failure: TidemarkError | undefined
  #full: TidemarkError | undefined
  #nextCheckMs = 0
  #isChecking = false
  /** Of all syncs so far, for metrics. */
  syncCount = 0
  syncTotalMs = 0
  syncMaxMs = 0

  constructor(path: string, runtime: Runtime, minFreeBytes: number, onFailure: (error: TidemarkError) => void) {
    this.#path = path
    this.#runtime = runtime
    this.#files = runtime.files
    this.#minFreeBytes = minFreeBytes
    this.#onFailure = onFailure
  }

  /** Why the directory was taken out of service. */
  get failure(): TidemarkError | undefined {
    return this.#failure
  }

  get isFull(): boolean {
    return this.#full !== undefined
  }

  /** What is wrong with it now: for those who ask how it is. Asking has the free space looked at, as writing does. */
  get trouble(): TidemarkError | undefined {
    if (this.#full !== undefined) this.#checkSpaceSometimes()
    return this.#failure ?? this.#full
  }

  /** Throws when nothing may be appended now. */
  checkWritable(): void {
    if (this.#failure !== undefined) throw this.#failure
    this.#checkSpaceSometimes()
    if (this.#full !== undefined) throw this.#full
  }

  /** Throws when the directory has failed. */
  checkTrusted(): void {
    if (this.#failure !== undefined) throw this.#failure
  }

  /** Throws `DISK_FULL` when so many bytes more would leave less space than is kept free. */
  async checkRoom(bytes: number): Promise<void> {
    const freeBytes = await this.#files.freeBytes(this.#path)
    if (freeBytes - bytes >= this.#minFreeBytes) return
    throw this.#fullError(`${this.#path} has ${freeBytes} bytes left, ${bytes} are needed and ${this.#minFreeBytes} kept free`, undefined)
  }

  fail(what: string, cause: unknown): void {
    if (this.#failure !== undefined) return
    const message = cause instanceof Error ? cause.message : String(cause)
    this.#failure = new TidemarkError('STORAGE_FAILED', `${what}: ${message}`, { cause, outcome: 'indeterminate' })
    this.#runtime.log.error('storage.failed', { path: this.#path, error: this.#failure.message })
    this.#onFailure(this.#failure)
  }

  /** A write found no space. Returns the error for those whose records it took back. */
  full(cause: unknown): TidemarkError {
    this.#full ??= this.#fullError(`${this.#path} has no space left`, cause)
    this.#nextCheckMs = this.#runtime.clock.monotonic() + CHECK_EVERY_MS
    return this.#full
  }

  syncTook(ms: number): void {
    this.syncCount++
    this.syncTotalMs += ms
    this.syncMaxMs = Math.max(this.syncMaxMs, ms)
  }

  /** The last result decides; a new look is taken in the background. */
  #checkSpaceSometimes(): void {
    const nowMs = this.#runtime.clock.monotonic()
    if (this.#isChecking || nowMs < this.#nextCheckMs) return
    this.#isChecking = true
    this.#nextCheckMs = nowMs + CHECK_EVERY_MS
    this.#files.freeBytes(this.#path).then(
      (freeBytes) => this.#sawFreeBytes(freeBytes),
      // Not knowing is no reason to stop; a write will tell.
      () => {
        this.#isChecking = false
      },
    )
  }

  #sawFreeBytes(freeBytes: number): void {
    this.#isChecking = false
    if (this.#full === undefined && freeBytes < this.#minFreeBytes) {
      this.#full = this.#fullError(`${this.#path} has ${freeBytes} bytes left, disk.min.free keeps ${this.#minFreeBytes}`, undefined)
      this.#runtime.log.warn('disk.full', { path: this.#path, freeBytes })
    } else if (this.#full !== undefined && freeBytes >= this.#minFreeBytes + RESUME_BYTES) {
      this.#full = undefined
      this.#runtime.log.info('disk.has-space', { path: this.#path, freeBytes })
    }
  }

  #fullError(message: string, cause: unknown): TidemarkError {
    return new TidemarkError('DISK_FULL', message, { cause, retryAfterMs: CHECK_EVERY_MS, outcome: 'failed' })
  }
}

/** No space, or no quota. */
export function isDiskFull(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT') && !isSyncFailed(error)
}

/** The device, not the request, is at fault. */
export function isDiskBroken(error: unknown): boolean {
  if (!(error instanceof Error && 'code' in error)) return false
  return error.code === 'EIO' || error.code === 'EROFS' || error.code === 'ENXIO' || isSyncFailed(error)
}

/** Whatever the reason: what the kernel had taken is gone, and to sync again would say nothing. */
function isSyncFailed(error: Error): boolean {
  return 'syscall' in error && (error.syscall === 'fdatasync' || error.syscall === 'fsync')
}

/** A system error as one of ours; everything else as it is. */
export function asStorageError(error: unknown, directory: string): unknown {
  if (TidemarkError.is(error) || !(error instanceof Error && 'code' in error)) return error
  return new TidemarkError('STORAGE_FAILED', `${directory}: ${error.message}`, { cause: error })
}
