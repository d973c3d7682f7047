/**
 * A `RaftStore` on `level`, with the snapshots as files beside it.
 *
 * ```
 * <path>/log         entries: key   = `e` and the index, 16 hexadecimal digits, so that keys sort as indexes do
 *                             value = uint32 CRC-32C of the rest, uint32 CRC of the previous entry's value, encoded QuorumEntry
 *                    state:   key   = `state`; value = uint32 CRC-32C of the rest, JSON `StateValue`
 * <path>/log.end     key `end`: uint48 number of the save, uint32 CRC of its state value
 * <path>/<index>-<term>.snapshot    uint32 CRC-32C of the rest, encoded QuorumSnapshot
 * <path>/unfinished  only while the databases are made
 * ```
 * LevelDB does not sync unless asked, so a save is one batch with `sync`: entries and state together. And its own recovery
 * drops damaged entries in silence: one flipped bit in its write-ahead log takes everything behind it away. A voter that has
 * forgotten what it promised breaks the quorum's word. So the entries form a chain (each names the checksum of the one before),
 * the state says where the chain begins and ends, and which save the state is of is kept in a database of its own, written
 * before a save counts as done. When any of it does not fit, the store cannot be trusted, and says so: the node does not vote.
 *
 * A crash between the two writes leaves the state one save ahead: it is whole, and stays. Not detected: everything
 * put back to the same earlier state, or all of it gone.
 */
import type { Level } from 'level'
import { crc32c } from '../protocol/crc32c.ts'
import { type ErrorCode, TidemarkError } from '../protocol/errors.ts'
import { invariant } from '../runtime/invariant.ts'
import { isTemporary, writeFileAtomic } from '../runtime/atomic-file.ts'
import type { Files } from '../runtime/runtime.ts'
import type { Entry, HardState, Snapshot } from './raft/messages.ts'
import type { RaftChange, RaftState, RaftStore } from './raft-store.ts'
import { decodeEntry, encodeEntry } from './quorum-codec.ts'
import { SnapshotFiles } from './snapshot-files.ts'

const UNFINISHED = 'unfinished'
const LINK_BYTES = 8
const STATE_KEY = 'state'
const END_KEY = 'end'
const END_BYTES = 10

type Database = Level<string, Buffer>

/** A place in the chain: an entry, and the CRC of its value. */
interface Link {
  readonly index: number
  readonly term: number
  readonly crc: number
}

interface StateValue {
  /** Grows by one with every save. */
  readonly save: number
  readonly hardState: HardState
  /** The entry before the first, and the last. */
  readonly base: Link
  readonly last: Link
  /** Index of the snapshot that stands for what is not there any more; 0: none. */
  readonly snapshotIndex: number
  readonly directories: readonly (readonly [number, string])[]
}

const ORIGIN: Link = { index: 0, term: 0, crc: 0 }
const NEW_STATE: StateValue = {
  save: 0,
  hardState: { term: 0, vote: 0, commit: 0 },
  base: ORIGIN,
  last: ORIGIN,
  snapshotIndex: 0,
  directories: [],
}

/** Opens or makes the directories. Throws `DATA_DIR_LOCKED`, `CORRUPT_LOG` or `DATA_DIR_INVALID`. */
export async function openLevelRaftStore(path: string, files: Files): Promise<RaftStore> {
  await files.makeDirectory(path)
  const isNew = await beginNew(path, files)
  // Opening takes several syncs each: at the same time. What the other opened is closed again when one fails.
  const opened = await Promise.allSettled([openDatabase(`${path}/log`), openDatabase(`${path}/log.end`)])
  const [log, end] = opened
  if (log.status === 'fulfilled' && end.status === 'fulfilled') {
    // LevelDB syncs what is in its directory, not that the directory is there: without it the store would look like a new one. Nor that its newest
    // list of files has taken the place of the one before, which in a new database was never synced.
    await Promise.all([`${path}/log`, `${path}/log.end`].map((directory) => files.syncDirectory(directory)))
    if (isNew) await files.remove(`${path}/${UNFINISHED}`)
    for (const directory of [path, path.slice(0, path.lastIndexOf('/'))]) await files.syncDirectory(directory || '/')
    return new LevelRaftStore(path, log.value, end.value, new SnapshotFiles(path, files))
  }
  for (const result of opened) if (result.status === 'fulfilled') await result.value.close()
  throw log.status === 'rejected' ? log.reason : (end as PromiseRejectedResult).reason
}

/**
 * Whether there is no store yet. LevelDB makes its first list of files without a sync: a crash then leaves a database that cannot be opened. A mark, durable before and
 * gone after, tells such a one, to which nothing was ever saved, from one that was damaged.
 */
async function beginNew(path: string, files: Files): Promise<boolean> {
  const names = (await files.list(path)).filter((name) => !isTemporary(name))
  if (names.includes(UNFINISHED)) {
    for (const database of ['log', 'log.end']) await files.removeTree(`${path}/${database}`)
    return true
  }
  if (names.length > 0) return false
  await writeFileAtomic(files, path, UNFINISHED, Buffer.alloc(0))
  return true
}

class LevelRaftStore implements RaftStore {
  readonly #path: string
  readonly #log: Database
  readonly #end: Database
  readonly #snapshots: SnapshotFiles
  #state: StateValue = NEW_STATE
  /** Of every entry behind the base, in order. */
  #links: Link[] = []

  constructor(path: string, log: Database, end: Database, snapshots: SnapshotFiles) {
    this.#path = path
    this.#log = log
    this.#end = end
    this.#snapshots = snapshots
  }

  async load(): Promise<RaftState> {
    this.#state = await this.#readState()
    const entries = await this.#readEntries()
    const { hardState, base, snapshotIndex, directories } = this.#state
    const snapshot = await this.#snapshots.read(snapshotIndex)
    if (snapshotIndex > 0 && snapshot === undefined) throw this.#damaged(`the snapshot of entry ${snapshotIndex} is missing or damaged`)
    if (base.index > snapshotIndex) throw this.#damaged(`entries up to ${base.index} are gone, and no snapshot stands for them`)
    return { hardState, snapshot, entries, compacted: { index: base.index, term: base.term }, directories: new Map(directories) }
  }

  async save({ hardState, entries, directories }: RaftChange): Promise<void> {
    const kept = this.#linksBefore(entries[0]?.index)
    let last = kept.at(-1) ?? this.#state.base
    const puts = entries.map((entry) => {
      invariant(entry.index === last.index + 1, `entry ${entry.index} follows on entry ${last.index}`)
      const value = chained(encodeEntry(entry), last.crc)
      last = { index: entry.index, term: entry.term, crc: value.readUInt32BE(0) }
      kept.push(last)
      return { type: 'put' as const, key: keyOf(entry.index), value }
    })
    const stale = this.#links.slice(kept.length).map(({ index }) => ({ type: 'del' as const, key: keyOf(index) }))
    await this.#commit({ ...this.#state, hardState, last, directories: [...directories] }, [...puts, ...stale])
    this.#links = kept
  }

  async saveSnapshot(
    snapshot: Snapshot,
    { compactTo, isForeign }: { readonly compactTo: number; readonly isForeign: boolean },
  ): Promise<void> {
    const { index, term } = snapshot.meta
    await this.#snapshots.write(snapshot)
    const base = isForeign ? { index, term, crc: 0 } : (this.#links.find((link) => link.index === compactTo) ?? this.#state.base)
    const kept = isForeign ? [] : this.#links.filter((link) => link.index > base.index)
    const gone = this.#links.slice(0, this.#links.length - kept.length).map((link) => ({ type: 'del' as const, key: keyOf(link.index) }))
    await this.#commit({ ...this.#state, base, last: kept.at(-1) ?? base, snapshotIndex: index }, gone)
    this.#links = kept
    await this.#snapshots.removeOthers(index)
  }

  async close(): Promise<void> {
    await Promise.all([this.#log.close(), this.#end.close()])
  }

  async #commit(
    change: StateValue,
    operations: readonly (
      | { readonly type: 'put'; readonly key: string; readonly value: Buffer }
      | { readonly type: 'del'; readonly key: string }
    )[],
  ): Promise<void> {
    const state = { ...change, save: this.#state.save + 1 }
    const value = sealed(Buffer.from(JSON.stringify(state)))
    await this.#log.batch([...operations, { type: 'put', key: STATE_KEY, value }], { sync: true })
    await this.#end.put(END_KEY, endOf(state.save, value.readUInt32BE(0)), { sync: true })
    this.#state = state
  }

  /** Copies: a save that fails changes nothing here. */
  #linksBefore(index: number | undefined): Link[] {
    return index === undefined ? [...this.#links] : this.#links.slice(0, Math.max(0, index - this.#state.base.index - 1))
  }

  async #readState(): Promise<StateValue> {
    const end = await this.#readEnd()
    const value = await this.#get(this.#log, STATE_KEY)
    if (value === undefined) {
      if (end !== undefined) throw this.#damaged(`the state is gone, ${end.save} saves were made`)
      return NEW_STATE
    }
    if (!isSealed(value)) throw this.#damaged('the state is damaged')
    const state = JSON.parse(value.toString('utf8', 4)) as StateValue
    const isBehind = end !== undefined && (state.save < end.save || (state.save === end.save && value.readUInt32BE(0) !== end.crc))
    if (isBehind) throw this.#damaged(`it is as it was at save ${state.save}, ${end.save} were made`)
    return state
  }

  async #readEntries(): Promise<Entry[]> {
    const { base, last } = this.#state
    const entries: Entry[] = []
    const links: Link[] = []
    try {
      let before = base
      for await (const [key, value] of this.#log.iterator({ gt: keyOf(base.index), lte: keyOf(last.index) })) {
        const index = before.index + 1
        if (key !== keyOf(index)) throw this.#damaged(`entry ${index} is missing`)
        const isSound = value.length >= LINK_BYTES && isSealed(value) && value.readUInt32BE(4) === before.crc
        if (!isSound) throw this.#damaged(`entry ${index} is damaged`)
        const entry = decodeEntry(value.subarray(LINK_BYTES))
        before = { index, term: entry.term, crc: value.readUInt32BE(0) }
        links.push(before)
        entries.push(entry)
      }
      if (before.index !== last.index || before.crc !== last.crc)
        throw this.#damaged(`it ends at entry ${before.index}, ${last.index} were written`)
    } catch (error) {
      throw TidemarkError.is(error) ? error : this.#damaged(`entry ${base.index + entries.length + 1} cannot be read`, error)
    }
    this.#links = links
    return entries
  }

  async #readEnd(): Promise<{ readonly save: number; readonly crc: number } | undefined> {
    const value = await this.#get(this.#end, END_KEY)
    if (value === undefined) return undefined
    if (value.length !== END_BYTES) throw this.#damaged('the record of where it ends is damaged')
    return { save: value.readUIntBE(0, 6), crc: value.readUInt32BE(6) }
  }

  async #get(database: Database, key: string): Promise<Buffer | undefined> {
    try {
      return await database.get(key)
    } catch (error) {
      throw this.#damaged(`\`${key}\` cannot be read`, error)
    }
  }

  #damaged(what: string, cause?: unknown): TidemarkError {
    return new TidemarkError(
      'CORRUPT_LOG',
      `the quorum state in ${this.#path} cannot be trusted: ${what}. This node must not vote with it: with other controllers alive, remove ${this.#path}, take the node out of the quorum and let it join again; else restore all of ${this.#path} from a backup`,
      { cause },
    )
  }
}

async function openDatabase(path: string): Promise<Database> {
  // Native code: loaded by those who need it only.
  const { Level } = await import('level')
  const database: Database = new Level(path, { keyEncoding: 'utf8', valueEncoding: 'buffer' })
  try {
    await database.open()
    return database
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
    const message = cause instanceof Error ? cause.message : String(cause)
    throw new TidemarkError(codeOf(cause), `the quorum state in ${path} cannot be opened: ${message}`, { cause: error })
  }
}

function codeOf(error: unknown): ErrorCode {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'LEVEL_LOCKED') return 'DATA_DIR_LOCKED'
  return code === 'LEVEL_CORRUPTION' ? 'CORRUPT_LOG' : 'DATA_DIR_INVALID'
}

function keyOf(index: number): string {
  return `e${index.toString(16).padStart(16, '0')}`
}

/** `content` behind its CRC. */
function sealed(content: Buffer): Buffer {
  const value = Buffer.allocUnsafe(4 + content.length)
  content.copy(value, 4)
  value.writeUInt32BE(crc32c(value, 4), 0)
  return value
}

function isSealed(value: Buffer): boolean {
  return value.length >= 4 && crc32c(value, 4) === value.readUInt32BE(0)
}

function chained(content: Buffer, previousCrc: number): Buffer {
  const linked = Buffer.allocUnsafe(4 + content.length)
  linked.writeUInt32BE(previousCrc, 0)
  content.copy(linked, 4)
  return sealed(linked)
}

function endOf(save: number, crc: number): Buffer {
  const value = Buffer.allocUnsafe(END_BYTES)
  value.writeUIntBE(save, 0, 6)
  value.writeUInt32BE(crc, 6)
  return value
}
