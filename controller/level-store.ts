/**
 * A `MetadataStore` on `level`.
 *
 * ```
 * key   = offset, 16 hexadecimal digits, so that keys sort as offsets do
 * value = uint32 CRC-32C of the rest, uint32 CRC of the previous value (0 for the first), entry
 * ```
 * LevelDB does not sync unless asked, and its own recovery may drop damaged entries in silence. So
 * every append is one batch with `sync`, and the entries form a chain: each value names the checksum
 * of the one before. On opening the chain is walked; a gap or a wrong link means the store cannot be trusted, and
 * it says so instead of going on with less. What the chain cannot show is that its end is missing: a store that
 * was cut behind a whole entry looks like one that never had more. The other voters of a quorum know; one node cannot.
 */
import type { Level } from 'level'
import { crc32c } from '../protocol/crc32c.ts'
import { type ErrorCode, TidemarkError } from '../protocol/errors.ts'
import { invariant } from '../runtime/invariant.ts'
import type { MetadataStore } from './metadata-store.ts'

const LINK_BYTES = 8

type Database = Level<string, Buffer>

/** Opens or makes the directory at `path`. Throws `DATA_DIR_LOCKED`, `CORRUPT_LOG` or `DATA_DIR_INVALID`. */
export async function openLevelStore(path: string): Promise<MetadataStore> {
  // Native code: loaded by those who need it only.
  const { Level } = await import('level')
  const database: Database = new Level(path, { keyEncoding: 'utf8', valueEncoding: 'buffer' })
  try {
    await database.open()
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
    throw new TidemarkError(
      codeOf(cause),
      `the metadata in ${path} cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause: error },
    )
  }
  return new LevelStore(path, database)
}

class LevelStore implements MetadataStore {
  readonly #path: string
  readonly #database: Database
  #count = 0
  /** CRC of the last value. */
  #lastLink = 0

  constructor(path: string, database: Database) {
    this.#path = path
    this.#database = database
  }

  async load(): Promise<Buffer[]> {
    const entries: Buffer[] = []
    let link = 0
    try {
      for await (const [key, value] of this.#database.iterator()) {
        if (key !== keyOf(entries.length)) throw this.#damaged(`entry ${entries.length} is missing`)
        const isSound = value.length >= LINK_BYTES && crc32c(value, 4) === value.readUInt32BE(0) && value.readUInt32BE(4) === link
        if (!isSound) throw this.#damaged(`entry ${entries.length} is damaged`)
        link = value.readUInt32BE(0)
        entries.push(value.subarray(LINK_BYTES))
      }
    } catch (error) {
      throw TidemarkError.is(error) ? error : this.#damaged(`entry ${entries.length} cannot be read`, error)
    }
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
    await this.#database.batch(operations, { sync: true })
    this.#count += entries.length
    this.#lastLink = link
  }

  close(): Promise<void> {
    return this.#database.close()
  }

  #damaged(what: string, cause?: unknown): TidemarkError {
    return new TidemarkError(
      'CORRUPT_LOG',
      `the metadata in ${this.#path} cannot be trusted: ${what}. Nothing was changed; restore the directory from a backup`,
      { cause },
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
