/**
 * A `MetadataStore` on `level`.
 *
 * ```
 * key   = offset, 16 hexadecimal digits
 * value = uint32 CRC-32C of the rest, uint32 CRC of the previous value (0 for the first), entry
 * ```
 * LevelDB does not sync unless asked, and its own recovery may drop damaged entries in silence. So
 * every append is one batch with `sync`, and the entries form a chain: each value names the checksum
 * of the one before. On opening the chain is walked; a gap or a wrong link means the store cannot be trusted, and
 * it says so instead of going on with less.
 */
import { Level } from 'level'
import { crc32c } from '../protocol/crc32c.ts'
import { TidemarkError } from '../protocol/errors.ts'
import type { MetadataStore } from './metadata-store.ts'

const LINK_BYTES = 8

type Database = Level<string, Buffer>

export async function openLevelStore(path: string): Promise<MetadataStore> {
  const database: Database = new Level(path, { keyEncoding: 'utf8', valueEncoding: 'buffer' })
  try {
    await database.open()
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
    throw new TidemarkError('DATA_DIR_INVALID', `the metadata in ${path} cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}`, { cause: error })
  }
  return new LevelStore(path, database)
}

class LevelStore implements MetadataStore {
  readonly #path: string
  readonly #database: Database
  /** CRC of the last value. */
  #lastLink = 0

  constructor(path: string, database: Database) {
    this.#path = path
    this.#database = database
  }

  async load(): Promise<Buffer[]> {
    const entries: Buffer[] = []
    for await (const [key, value] of this.#database.iterator()) {
      if (key !== keyOf(entries.length)) throw this.#damaged(`entry ${entries.length} is missing`)
      const isSound = value.length >= LINK_BYTES && crc32c(value, 4) === value.readUInt32BE(0) && value.readUInt32BE(4) === this.#lastLink
      if (!isSound) throw this.#damaged(`entry ${entries.length} is damaged`)
      this.#lastLink = value.readUInt32BE(0)
      entries.push(value.subarray(LINK_BYTES))
    }
    return entries
  }

  async append(offset: number, entries: readonly Buffer[]): Promise<void> {
    let link = this.#lastLink
    const operations = entries.map((entry, index) => {
      const value = Buffer.allocUnsafe(LINK_BYTES + entry.length)
      value.writeUInt32BE(link, 4)
      entry.copy(value, LINK_BYTES)
      link = crc32c(value, 4)
      value.writeUInt32BE(link, 0)
      return { type: 'put' as const, key: keyOf(offset + index), value }
    })
    await this.#database.batch(operations, { sync: true })
    this.#lastLink = link
  }

  close(): Promise<void> {
    return this.#database.close()
  }

  #damaged(what: string): TidemarkError {
    return new TidemarkError('CORRUPT_LOG', `the metadata in ${this.#path} cannot be trusted: ${what}. Nothing was changed; restore the directory from a backup`)
  }
}

function keyOf(offset: number): string {
  return offset.toString(16).padStart(16, '0')
}
