/**
 * A data directory: its lock, its identity, its clean-shutdown mark and the logs in it.
 *
 * ```
 * <data>/lock.<n>                    who uses it
 * <data>/meta.properties.json        cluster id, node id, directory id
 * <data>/clean-shutdown              only between a clean stop and the next start
 * <data>/topics/<topic>-<partition>/ one log each
 * ```
 */
import { TidemarkError } from '../protocol/errors.ts'
import { encodeUuid, isUuid } from '../protocol/ids.ts'
import type { TopicConfig } from '../protocol/topic-config.ts'
import { invariant } from '../runtime/invariant.ts'
import type { DirectoryLock, Files, Runtime, Timer } from '../runtime/runtime.ts'
import { readSmallFile, writeFileAtomic } from './atomic-file.ts'
import { DirectoryHealth } from './directory-health.ts'
import { DELETED_SUFFIX, LOG_SUFFIX, PARTITION_FILE, partitionDirectoryName } from './file-names.ts'
import { FilePool } from './file-pool.ts'
import { IndexCache } from './index-cache.ts'
import { PartitionLog } from './partition-log.ts'
import { recoverLog } from './recovery.ts'
import { TailCache } from './tail-cache.ts'
import { Trash } from './trash.ts'

const LOCK_FILE = 'lock'
const IDENTITY_FILE = 'meta.properties.json'
const CLEAN_SHUTDOWN_FILE = 'clean-shutdown'
const TOPICS_DIRECTORY = 'topics'
const FORMAT_VERSION = 1

/** Logs that do not sync by themselves are synced this often while they are written to. */
const BACKGROUND_FLUSH_MS = 1000

/** A log that was written to gets a checkpoint this often, so that damage to what was acknowledged long ago is told from a torn tail. */
const CHECKPOINT_EVERY_MS = 60_000

/** Logs flushed or checkpointed at the same time by the clock: the disk is for those who wait. */
const BACKGROUND_CONCURRENCY = 4

/** Files read, or logs closed, at the same time. */
const CONCURRENCY = 32

const INDEX_CACHE_BYTES = 32 * 1024 * 1024

/** How long the files of a deleted log stay when nobody knows its topic's setting. */
const DELETE_DELAY_DEFAULT_MS = 60_000

/** With a suffix the name of the directory must stay one. */
const ASIDE_NAME_MAX_LENGTH = 200

export interface DataDirOptions {
  readonly runtime: Runtime
  readonly tailCacheBytes: number
  readonly openFilesMax: number
  /** With less free space nothing is appended. */
  readonly diskMinFreeBytes: number
}

export interface DataDirIdentity {
  readonly clusterId: string
  readonly nodeId: number
  /** Made once; a wiped disk is another directory. */
  readonly directoryId: string
}

export interface PresentLog {
  readonly topic: string
  readonly partition: number
  readonly topicId: string
}

export class DataDir {
  readonly path: string
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
  readonly #toFlush = new Set<PartitionLog>()
  readonly #toCheckpoint = new Set<PartitionLog>()
  #flushTimer: Timer | undefined
  #checkpointTimer: Timer | undefined
  #background: Promise<void> = Promise.resolve()
  #identity: DataDirIdentity | undefined
  #wasCleanShutdown = false
  #closing: Promise<void> | undefined

  private constructor(path: string, options: DataDirOptions, lock: DirectoryLock) {
    const { runtime } = options
    this.path = path
    this.#runtime = runtime
    this.#lock = lock
    this.#pool = new FilePool(runtime.files, options.openFilesMax, () => this.#flushNow())
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
      return files.lock(`${path}/${LOCK_FILE}`)
    })
    const dataDir = new DataDir(path, options, lock)
    try {
      await guarded(path, () => dataDir.#takeUp())
      return dataDir
    } catch (error) {
      await lock.release()
      throw error
    }
  }

  /** Undefined in a new directory. */
  get identity(): DataDirIdentity | undefined {
    return this.#identity
  }

  /** The last process that used it stopped in order. */
  get wasCleanShutdown(): boolean {
    return this.#wasCleanShutdown
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

  /** Says whose directory it is: written to a new one, compared with an old one (`DATA_DIR_INVALID`). */
  async writeIdentity(wanted: { readonly clusterId: string; readonly nodeId: number }): Promise<DataDirIdentity> {
    const present = this.#identity
    if (present !== undefined) {
      if (present.clusterId === wanted.clusterId && present.nodeId === wanted.nodeId) return present
      throw new TidemarkError(
        'DATA_DIR_INVALID',
        `${this.path} belongs to node ${present.nodeId} of cluster ${present.clusterId}, not to node ${wanted.nodeId} of cluster ${wanted.clusterId}`,
      )
    }
    const identity = { clusterId: wanted.clusterId, nodeId: wanted.nodeId, directoryId: encodeUuid(this.#runtime.random.bytes(16)) }
    await writeFileAtomic(this.#runtime.files, this.path, IDENTITY_FILE, jsonFile({ version: FORMAT_VERSION, ...identity }))
    this.#identity = identity
    return identity
  }

  /**
   * Opens the log of a partition: makes it when absent, recovers it when present. Throws `DATA_DIR_INVALID` when the directory
   * is another topic's, `CORRUPT_LOG` when durable data is damaged.
   */
  async openLog(options: {
    readonly topic: string
    readonly topicId: string
    readonly partition: number
    readonly config: TopicConfig
  }): Promise<PartitionLog> {
    const name = partitionDirectoryName(options.topic, options.partition)
    invariant(!this.#claimed.has(name), 'a log is opened once')
    this.#claimed.add(name)
    try {
      const log = await guarded(this.#directoryOf(name), () => this.#openLog(name, options))
      this.#logs.set(name, log)
      return log
    } catch (error) {
      this.#claimed.delete(name)
      throw error
    }
  }

  async #openLog(
    name: string,
    options: { readonly topic: string; readonly topicId: string; readonly partition: number; readonly config: TopicConfig },
  ): Promise<PartitionLog> {
    const { topic, topicId, partition, config } = options
    const directory = this.#directoryOf(name)
    await this.#claimDirectory(directory, options)
    const { files, clock, log } = this.#runtime
    const segmentParts = { files, pool: this.#pool, indexes: this.#indexes }
    const recovered = await recoverLog(segmentParts, { directory, indexIntervalBytes: config.indexIntervalBytes, nowMs: clock.now(), log })
    for (const stray of recovered.strays) await this.#trash.removeNow(stray)
    // A process that was killed may have made names that only the kernel knows.
    if (!this.#wasCleanShutdown) await files.syncDirectory(directory)
    const parts = {
      ...segmentParts,
      runtime: this.#runtime,
      health: this.#health,
      tail: this.#tailCache.createTail(),
      trash: this.#trash,
      noteDirty: this.#noteDirty,
    }
    return new PartitionLog(parts, { topic, topicId, partition, directory }, config, recovered)
  }

  /** Deletes a log for good. The directory is out of the way, durably, when it resolves; its files go after the topic's delay. */
  async deleteLog(topic: string, partition: number): Promise<void> {
    const name = partitionDirectoryName(topic, partition)
    const log = this.#logs.get(name)
    this.#logs.delete(name)
    if (log !== undefined) {
      this.#toFlush.delete(log)
      this.#toCheckpoint.delete(log)
      await log.abandon()
    }
    const topics = `${this.path}/${TOPICS_DIRECTORY}`
    const aside = `${topics}/${name.slice(0, ASIDE_NAME_MAX_LENGTH)}.${encodeUuid(this.#runtime.random.bytes(6))}${DELETED_SUFFIX}`
    const delayMs = this.#health.isFull ? 0 : (log?.config.fileDeleteDelayMs ?? DELETE_DELAY_DEFAULT_MS)
    await guarded(topics, async () => {
      await this.#trash.remove(`${topics}/${name}`, aside, delayMs)
      await this.#runtime.files.syncDirectory(topics)
    })
    this.#claimed.delete(name)
  }

  /** The logs on disk, opened or not. What is not a log's directory is left out, and said in the log. */
  async presentLogs(): Promise<PresentLog[]> {
    const topics = `${this.path}/${TOPICS_DIRECTORY}`
    const names = (await this.#runtime.files.list(topics)).filter((name) => !name.endsWith(DELETED_SUFFIX))
    const found: PresentLog[] = []
    await inGroups(names, CONCURRENCY, async (name) => {
      try {
        const present = await this.#readPartitionFile(`${topics}/${name}`)
        if (present !== undefined) found.push(present)
      } catch (error) {
        this.#runtime.log.error('partition.unreadable', { path: `${topics}/${name}`, error: TidemarkError.from(error).message })
      }
    })
    return found
  }

  /** Flushes and closes every log, leaves the mark of a clean shutdown last, and gives the lock back. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#flushTimer?.cancel()
    this.#checkpointTimer?.cancel()
    const failures: unknown[] = []
    const note = (error: unknown): void => void failures.push(error)
    await this.#background
    await inGroups([...this.#logs.values()], CONCURRENCY, (log) => log.close().catch(note))
    await this.#trash.close()
    await this.#pool.close()
    if (this.#health.failure === undefined && failures.length === 0) {
      await writeFileAtomic(this.#runtime.files, this.path, CLEAN_SHUTDOWN_FILE, jsonFile({ version: FORMAT_VERSION })).catch(note)
    }
    await this.#lock.release()
    if (failures.length > 0) throw failures[0]
  }

  async #takeUp(): Promise<void> {
    const { files } = this.#runtime
    const mark = `${this.path}/${CLEAN_SHUTDOWN_FILE}`
    this.#wasCleanShutdown = (await files.stat(mark)) !== undefined
    // Gone for certain before the first write: an unclean end must never look clean.
    await files.remove(mark)
    await files.syncDirectory(this.path)
    this.#identity = await this.#readIdentity()
    const topics = `${this.path}/${TOPICS_DIRECTORY}`
    for (const name of await files.list(topics)) {
      if (name.endsWith(DELETED_SUFFIX)) await this.#trash.removeNow(`${topics}/${name}`)
    }
    await files.syncDirectory(topics)
  }

  async #readIdentity(): Promise<DataDirIdentity | undefined> {
    const path = `${this.path}/${IDENTITY_FILE}`
    const content = await readSmallFile(this.#runtime.files, path)
    if (content === undefined) return undefined
    const { version, clusterId, nodeId, directoryId } = parseJsonFile(content, path)
    if (version !== FORMAT_VERSION)
      throw new TidemarkError('DATA_DIR_INVALID', `${path} has format version ${String(version)}, this tidemark knows ${FORMAT_VERSION}`)
    if (typeof clusterId !== 'string' || !isUuid(clusterId) || typeof directoryId !== 'string' || typeof nodeId !== 'number') {
      throw new TidemarkError('DATA_DIR_INVALID', `${path} is damaged`)
    }
    return { clusterId, nodeId, directoryId }
  }

  /** Makes the directory of a partition, or checks that it is the one meant. */
  async #claimDirectory(
    directory: string,
    wanted: { readonly topic: string; readonly topicId: string; readonly partition: number },
  ): Promise<void> {
    const { files } = this.#runtime
    const present = await this.#readPartitionFile(directory)
    if (present === undefined) {
      await files.makeDirectory(directory)
      const names = await files.list(directory)
      if (names.some((name) => name.endsWith(LOG_SUFFIX))) {
        throw new TidemarkError(
          'DATA_DIR_INVALID',
          `${directory} has data but no ${PARTITION_FILE}, so nobody knows whose; it was left as it is`,
        )
      }
      await writeFileAtomic(
        files,
        directory,
        PARTITION_FILE,
        jsonFile({ version: FORMAT_VERSION, topic: wanted.topic, partition: wanted.partition, topicId: wanted.topicId }),
      )
      await files.syncDirectory(`${this.path}/${TOPICS_DIRECTORY}`)
      return
    }
    if (present.topicId !== wanted.topicId || present.partition !== wanted.partition) {
      throw new TidemarkError(
        'DATA_DIR_INVALID',
        `${directory} holds partition ${present.partition} of topic id ${present.topicId}, wanted is ${wanted.partition} of ${wanted.topicId}; it was left as it is`,
      )
    }
  }

  async #readPartitionFile(directory: string): Promise<PresentLog | undefined> {
    const path = `${directory}/${PARTITION_FILE}`
    const content = await readSmallFile(this.#runtime.files, path)
    if (content === undefined) return undefined
    const { topic, partition, topicId } = parseJsonFile(content, path)
    if (typeof topic !== 'string' || typeof partition !== 'number' || typeof topicId !== 'string')
      throw new TidemarkError('DATA_DIR_INVALID', `${path} is damaged`)
    return { topic, partition, topicId }
  }

  #directoryOf(name: string): string {
    return `${this.path}/${TOPICS_DIRECTORY}/${name}`
  }

  /** One timer each for all logs, and none while nothing is written. */
  readonly #noteDirty = (log: PartitionLog): void => {
    if (!log.syncsAtOnce) {
      this.#toFlush.add(log)
      this.#flushTimer ??= this.#runtime.timers.after(BACKGROUND_FLUSH_MS, () => {
        this.#flushTimer = undefined
        this.#flushNow()
      })
    }
    this.#toCheckpoint.add(log)
    this.#checkpointTimer ??= this.#runtime.timers.after(CHECKPOINT_EVERY_MS, () => {
      this.#checkpointTimer = undefined
      this.#checkpointNow()
    })
  }

  #flushNow(): void {
    const due = [...this.#toFlush]
    this.#toFlush.clear()
    // A failure has told the directory's health already, and a full disk whoever appended.
    void inGroups(due, BACKGROUND_CONCURRENCY, (log) => log.flush().catch(() => {}))
  }

  #checkpointNow(): void {
    const due = [...this.#toCheckpoint].filter((log) => log.isCheckpointDue)
    this.#toCheckpoint.clear()
    const checkpoint = async (log: PartitionLog): Promise<void> => {
      if (this.#closing !== undefined || this.#health.failure !== undefined || !log.isCheckpointDue) return
      await log
        .checkpoint()
        .catch((error: unknown) =>
          this.#runtime.log.warn('checkpoint.failed', { directory: log.directory, error: TidemarkError.from(error).message }),
        )
    }
    this.#background = this.#background.then(() => inGroups(due, BACKGROUND_CONCURRENCY, checkpoint))
  }
}

/** Does `work` on every item, on at most `concurrency` at a time. */
async function inGroups<T>(items: readonly T[], concurrency: number, work: (item: T) => Promise<unknown>): Promise<void> {
  const rest = items.values()
  const worker = async (): Promise<void> => {
    for (const item of rest) await work(item)
  }
  await Promise.all(Array.from({ length: Math.min(concurrency, items.length) }, worker))
}

/** Makes a directory and those above it that are missing; a crash does not take them away again. */
async function makeDurableDirectory(files: Files, path: string): Promise<void> {
  const missing: string[] = []
  let present = path
  while (present !== '' && (await files.stat(present)) === undefined) {
    missing.push(present)
    present = parentOf(present)
  }
  await files.makeDirectory(path)
  for (const created of missing) await files.syncDirectory(parentOf(created))
}

function parentOf(path: string): string {
  const end = path.replace(/\/+$/, '').lastIndexOf('/')
  return end < 0 ? '.' : path.slice(0, end) || '/'
}

function jsonFile(fields: object): Buffer {
  return Buffer.from(`${JSON.stringify(fields)}\n`)
}

function parseJsonFile(content: Buffer, path: string): Record<string, unknown> {
  try {
    return JSON.parse(content.toString('utf8')) as Record<string, unknown>
  } catch (error) {
    throw new TidemarkError('DATA_DIR_INVALID', `${path} is damaged`, { cause: error })
  }
}

/** System errors as ours, with the path and what they mean. */
async function guarded<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (TidemarkError.is(error)) throw error
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    const message = error instanceof Error ? error.message : String(error)
    if (code === 'ELOCKED') throw new TidemarkError('DATA_DIR_LOCKED', `${path} is in use: ${message}`, { cause: error })
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new TidemarkError('DISK_FULL', `${path}: ${message}`, { cause: error, outcome: 'failed' })
    if (code === undefined) throw error
    throw new TidemarkError('DATA_DIR_INVALID', `${path}: ${message}`, { cause: error })
  }
}
