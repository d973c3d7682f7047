/**
 * A data directory: its lock, its identity, its clean-shutdown mark and the logs in it.
 *
 * ```
 * <data>/lock.<n>                    who uses it
 * <data>/meta.properties.json        cluster id, node id, directory id, number of starts
 * <data>/clean-shutdown              only between a clean stop and the next start
 * <data>/topics/<topic>-<partition>/ one log each
 * ```
 */
import { TidemarkError } from '../protocol/errors.ts'
import { encodeUuid } from '../protocol/ids.ts'
import { invariant } from '../runtime/invariant.ts'
import type { DirectoryLock, Files, Runtime } from '../runtime/runtime.ts'
import { BackgroundSync } from './background-sync.ts'
import { guarded, inGroups, makeDurableDirectory } from './data-dir-files.ts'
import { DirectoryHealth } from './directory-health.ts'
import { DirectoryOwner } from './directory-owner.ts'
import { asideName, DELETED_SUFFIX, partitionDirectoryName } from './file-names.ts'
import { FilePool } from './file-pool.ts'
import { IndexCache } from './index-cache.ts'
import { claimPartitionDirectory, findPresentLogs, type PresentLog } from './partition-directory.ts'
import type { LogOptions } from './log-types.ts'
import { PartitionLog } from './partition-log.ts'
import { recoverLog } from './recovery.ts'
import type { SegmentParts } from './segment.ts'
import { TailCache } from './tail-cache.ts'
import { Trash } from './trash.ts'
import { beginAt, truncateOnDisk } from './truncation.ts'

const LOCK_FILE = 'lock'
const TOPICS_DIRECTORY = 'topics'

/** Files read, or logs closed, at the same time. */
const CONCURRENCY = 32

const INDEX_CACHE_BYTES = 32 * 1024 * 1024

/** How long the files of a deleted log stay when nobody knows its topic's setting. */
const DELETE_DELAY_DEFAULT_MS = 60_000

export interface DataDirOptions {
  readonly runtime: Runtime
  readonly tailCacheBytes: number
  readonly openFilesMax: number
  /** With less free space nothing is appended. */
  readonly diskMinFreeBytes: number
  /** Something in a log is not as it was written. */
  readonly damaged?: (log: PartitionLog, error: TidemarkError) => void
}

/** Rejects with `ELOCKED` while a node uses the directory. */
export function lockDataDir(files: Pick<Files, 'lock'>, path: string): Promise<DirectoryLock> {
  return files.lock(`${path}/${LOCK_FILE}`)
}

export class DataDir {
  readonly path: string
  readonly owner: DirectoryOwner
  readonly #runtime: Runtime
  readonly #lock: DirectoryLock
  readonly #pool: FilePool
  readonly #indexes = new IndexCache(INDEX_CACHE_BYTES)
  readonly #tailCache: TailCache
  readonly #trash: Trash
  readonly #health: DirectoryHealth
  readonly #logs = new Map<string, PartitionLog>()
  /** Being opened or open, by name of the directory. */
  readonly #claimed = new Set<string>()
  readonly #background: BackgroundSync
  readonly #noteDamage: (log: PartitionLog, error: TidemarkError) => void
  #hadLogs = false
  #closing: Promise<void> | undefined

  private constructor(path: string, options: DataDirOptions, lock: DirectoryLock, owner: DirectoryOwner) {
    const { runtime } = options
    this.path = path
    this.owner = owner
    this.#runtime = runtime
    this.#lock = lock
    this.#pool = new FilePool(runtime.files, options.openFilesMax, () => this.#background.flushNow())
    this.#background = new BackgroundSync(runtime)
    this.#noteDamage = options.damaged ?? (() => {})
    this.#tailCache = new TailCache(options.tailCacheBytes)
    this.#trash = new Trash(runtime.files, runtime.timers, runtime.log)
    this.#health = new DirectoryHealth(path, runtime, options.diskMinFreeBytes, (error) => {
      for (const log of this.#logs.values()) log.storageFailed(error)
    })
  }

  /** Locks the directory, made when absent. Throws `DATA_DIR_LOCKED` and `DATA_DIR_INVALID`. */
  static async open(path: string, options: DataDirOptions): Promise<DataDir> {
    const { files } = options.runtime
    const lock = await guarded(path, async () => {
      await makeDurableDirectory(files, `${path}/${TOPICS_DIRECTORY}`)
      return lockDataDir(files, path)
    })
    try {
      return await guarded(path, async () => {
        const dataDir = new DataDir(path, options, lock, await DirectoryOwner.open(path, options.runtime))
        await dataDir.#sweep()
        return dataDir
      })
    } catch (error) {
      await lock.release()
      throw error
    }
  }

  get failure(): TidemarkError | undefined {
    return this.#health.failure
  }

  get health(): DirectoryHealth {
    return this.#health
  }

  get tailCacheBytes(): number {
    return this.#tailCache.usedBytes
  }

  get openFileCount(): number {
    return this.#pool.openCount
  }

  /**
   * Opens the log of a partition: makes it when absent, recovers it when present. Throws `DATA_DIR_INVALID` when nobody knows
   * whose the directory is, `CORRUPT_LOG` when durable data is damaged.
   */
  async openLog(options: LogOptions): Promise<PartitionLog> {
    const name = partitionDirectoryName(options.topic, options.partition)
    invariant(!this.#claimed.has(name), 'a log is opened once')
    this.#claimed.add(name)
    try {
      const log = await guarded(this.#directoryOf(name), () => this.#openLog(name, options), this.#health)
      this.#logs.set(name, log)
      return log
    } catch (error) {
      this.#claimed.delete(name)
      throw error
    }
  }

  /**
   * Cuts every batch off that reaches `offset`, durably. The log given is closed; the one returned is what is left of it: all of it
   * when it could not be cut, with the reason.
   */
  async truncateLog(
    log: PartitionLog,
    offset: number,
  ): Promise<{ readonly log: PartitionLog; readonly failure: TidemarkError | undefined }> {
    const name = partitionDirectoryName(log.topic, log.partition)
    this.#background.forget(log)
    let failure: TidemarkError | undefined
    try {
      await log.close()
      this.#health.checkTrusted()
      await guarded(log.directory, () => truncateOnDisk(this.#segmentParts(), log.directory, offset))
    } catch (error) {
      failure = TidemarkError.from(error)
    }
    const left = await guarded(log.directory, () => this.#openLog(name, log), this.#health)
    this.#logs.set(name, left)
    return { log: left, failure }
  }

  /** Sets everything there is of a partition aside, and begins anew, empty, at `offset`. `topic` may have no open log: what could not be opened goes too. */
  async resetLog(options: LogOptions, offset: number): Promise<PartitionLog> {
    await this.deleteLog(options.topic, options.partition)
    return this.openLog({ ...options, beginAt: offset })
  }

  #segmentParts(): SegmentParts {
    return { files: this.#runtime.files, pool: this.#pool, indexes: this.#indexes }
  }

  async #openLog(name: string, options: LogOptions): Promise<PartitionLog> {
    const { topic, topicId, partition, config } = options
    const directory = this.#directoryOf(name)
    await claimPartitionDirectory(this.#runtime, directory, options)
    const { files, clock, log } = this.#runtime
    const segmentParts = this.#segmentParts()
    if (options.beginAt !== undefined) await beginAt(segmentParts, directory, options.beginAt)
    const isClean = this.owner.wasCleanShutdown
    const { indexIntervalBytes } = config
    const recovered = await recoverLog(segmentParts, { directory, indexIntervalBytes, nowMs: clock.now(), log, isClean })
    for (const stray of recovered.strays) await this.#trash.removeNow(stray)
    // A process that was killed may have made names that only the kernel knows.
    if (!isClean) await files.syncDirectory(directory)
    const parts = {
      ...segmentParts,
      runtime: this.#runtime,
      health: this.#health,
      tail: this.#tailCache.createTail(),
      trash: this.#trash,
      noteDirty: this.#background.noteDirty,
      noteDamage: this.#noteDamage,
    }
    return new PartitionLog(parts, { topic, topicId, partition, directory }, config, recovered)
  }

  /** Deletes a log for good. The directory is out of the way, durably, when it resolves; its files go after the topic's delay. */
  async deleteLog(topic: string, partition: number): Promise<void> {
    const name = partitionDirectoryName(topic, partition)
    const log = this.#logs.get(name)
    this.#logs.delete(name)
    if (log !== undefined) {
      this.#background.forget(log)
      await log.abandon()
    }
    const topics = `${this.path}/${TOPICS_DIRECTORY}`
    const aside = `${topics}/${asideName(name, encodeUuid(this.#runtime.random.bytes(6)), DELETED_SUFFIX)}`
    const delayMs = this.#health.isFull ? 0 : (log?.config.fileDeleteDelayMs ?? DELETE_DELAY_DEFAULT_MS)
    await guarded(topics, async () => {
      await this.#trash.remove(`${topics}/${name}`, aside, delayMs)
      await this.#runtime.files.syncDirectory(topics)
    })
    this.#claimed.delete(name)
  }

  /** The logs on disk, opened or not. What is not a log's directory is left out, and said in the log. */
  presentLogs(): Promise<PresentLog[]> {
    return findPresentLogs(this.#runtime, `${this.path}/${TOPICS_DIRECTORY}`)
  }

  /** Flushes and closes every log, leaves the mark of a clean shutdown last, and gives the lock back. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const failures: unknown[] = []
    const note = (error: unknown): void => void failures.push(error)
    await this.#background.close()
    await inGroups([...this.#logs.values()], CONCURRENCY, (log) => log.close().catch(note))
    await this.#trash.close()
    await this.#pool.close()
    // Who gave up before the logs were opened has not made durable what an unclean stop left to the kernel.
    const isSound = this.owner.wasCleanShutdown || !this.#hadLogs || this.#logs.size > 0
    if (this.#health.failure === undefined && failures.length === 0 && isSound) {
      await this.owner.leaveClean().catch(note)
    }
    await this.#lock.release()
    if (failures.length > 0) throw failures[0]
  }

  /** Removes what was deleted and not yet gone when the last process ended. */
  async #sweep(): Promise<void> {
    const { files } = this.#runtime
    const topics = `${this.path}/${TOPICS_DIRECTORY}`
    for (const name of await files.list(topics)) {
      if (name.endsWith(DELETED_SUFFIX)) await this.#trash.removeNow(`${topics}/${name}`)
      else this.#hadLogs = true
    }
    await files.syncDirectory(topics)
  }

  #directoryOf(name: string): string {
    return `${this.path}/${TOPICS_DIRECTORY}/${name}`
  }
}
