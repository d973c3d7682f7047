/**
 * A `MetadataStore` on `level`.
 *
 * ```
 * <path>       entries: key   = offset, 16 hexadecimal digits, so that keys sort as offsets do
 *                       value = uint32 CRC-32C of the rest, uint32 CRC of the previous value (0 for the first), entry
 * <path>.end   one key, `end`: uint48 number of entries, uint32 CRC of the last one's value
 * ```
 * LevelDB does not sync unless asked, so every append is one batch with `sync`. And its own recovery drops damaged
 * entries in silence: one flipped bit in its write-ahead log takes everything behind it in the same 32 KiB away, often
 * all there is. So the entries form a chain (each names the checksum of the one before), which shows a gap or a changed entry,
 * and where the chain ends is kept in a database of its own, written before an append counts as done, which shows a missing
 * end. When any of it does not fit, the store cannot be trusted, and says so instead of going on with less.
 *
 * A crash between the two writes leaves the entries ahead of their end: they are whole, and stay. Not
 * detected: both databases put back to the same earlier state, or both gone.
 */
import type { Level } from 'level'
import { crc32c } from '../protocol/crc32c.ts'
import { type ErrorCode, TidemarkError } from '../protocol/errors.ts'
import { invariant } from '../runtime/invariant.ts'
import type { MetadataStore } from './metadata-store.ts'

const LINK_BYTES = 8
const END_KEY = 'end'
const END_BYTES = 10

type Database = Level<string, Buffer>

/** Opens or makes the directories. Throws `DATA_DIR_LOCKED`, `CORRUPT_LOG` or `DATA_DIR_INVALID`. */
export async function openLevelStore(path: string): Promise<MetadataStore> {
  const entries = await openDatabase(path)
  try {
    return new LevelStore(path, entries, await openDatabase(`${path}.end`))
  } catch (error) {
    await entries.close()
    throw error
  }
}

class LevelStore implements MetadataStore {
  readonly #path: string
  readonly #entries: Database
  readonly #end: Database
  #count = 0
  /** CRC of the last value. */
  #lastLink = 0

  constructor(path: string, entries: Database, end: Database) {
    this.#path = path
    this.#entries = entries
    this.#end = end
  }

  async load(): Promise<Buffer[]> {
    const end = await this.#readEnd()
    const entries: Buffer[] = []
    let link = 0
    try {
      for await (const [key, value] of this.#entries.iterator()) {
        if (key !== keyOf(entries.length)) throw this.#damaged(`entry ${entries.length} is missing`)
        const isSound = value.length >= LINK_BYTES && crc32c(value, 4) === value.readUInt32BE(0) && value.readUInt32BE(4) === link
        if (!isSound) throw this.#damaged(`entry ${entries.length} is damaged`)
        link = value.readUInt32BE(0)
        entries.push(value.subarray(LINK_BYTES))
        if (entries.length === end.count && link !== end.link) throw this.#damaged(`entry ${end.count - 1} is not the one that was written`)
      }
    } catch (error) {
      throw TidemarkError.is(error) ? error : this.#damaged(`entry ${entries.length} cannot be read`, error)
    }
    if (entries.length < end.count) throw this.#damaged(`it ends behind ${entries.length} entries, ${end.count} were written`)
    this.#count = entries.length
    this.#lastLink = link
    return entries
  }

  async append(offset: number, entries: readonly Buffer[]): Promise<void> {
    invariant(offset === this.#count, 'entries are added at the end')
    let link = this.#lastLink
    const operations = entries.map((entry, index) => {
      const value = Buffer.allocUnsafe(LINK_BYTES + entry.length)
      value.writeUInt32BE(link, 4)
      entry.copy(value, LINK_BYTES)
      link = crc32c(value, 4)
      value.writeUInt32BE(link, 0)
      return { type: 'put' as const, key: keyOf(offset + index), value }
    })
    await this.#entries.batch(operations, { sync: true })
    await this.#end.put(END_KEY, endOf(offset + entries.length, link), { sync: true })
    this.#count += entries.length
    this.#lastLink = link
  }

  async close(): Promise<void> {
    await Promise.all([this.#entries.close(), this.#end.close()])
  }

  async #readEnd(): Promise<{ readonly count: number; readonly link: number }> {
    let value: Buffer | undefined
    try {
      value = await this.#end.get(END_KEY)
    } catch (error) {
      throw this.#damaged('the record of where it ends cannot be read', error)
    }
    if (value === undefined) return { count: 0, link: 0 }
    if (value.length !== END_BYTES) throw this.#damaged('the record of where it ends is damaged')
    return { count: value.readUIntBE(0, 6), link: value.readUInt32BE(6) }
  }

  #damaged(what: string, cause?: unknown): TidemarkError {
    return new TidemarkError(
      'CORRUPT_LOG',
      `the metadata in ${this.#path} cannot be trusted: ${what}. Restore ${this.#path} and ${this.#path}.end together from a backup`,
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
    throw new TidemarkError(
      codeOf(cause),
      `the metadata in ${path} cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause: error },
    )
  }
}

function codeOf(error: unknown): ErrorCode {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'LEVEL_LOCKED') return 'DATA_DIR_LOCKED'
  return code === 'LEVEL_CORRUPTION' ? 'CORRUPT_LOG' : 'DATA_DIR_INVALID'
}

function keyOf(offset: number): string {
  return offset.toString(16).padStart(16, '0')
}

function endOf(count: number, link: number): Buffer {
  const value = Buffer.allocUnsafe(END_BYTES)
  value.writeUIntBE(count, 0, 6)
  value.writeUInt32BE(link, 6)
  return value
}
