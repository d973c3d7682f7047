/**
 * What a power cut may leave of a quorum's store, whose databases are native code: nobody stands between them and the disk. So the files are
 * read before and after a call. In between, LevelDB only ever appends to a write-ahead log and syncs it, first the one of `log`, then that
 * of `log.end`; of what is appended each sector may be there or not, and the file may end anywhere in it.
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Chance } from '../../scripts/random.ts'
import { must } from '../sim/oracles.ts'

const SECTOR_BYTES = 512

/** The bytes of each file, by its path below the store's. */
export type Content = ReadonlyMap<string, Buffer>

/** LevelDB's own diary and lock say nothing. */
const IGNORED = /(^|\/)(LOG|LOG\.old|LOCK)$/

export async function readContent(path: string): Promise<Content> {
  const content = new Map<string, Buffer>()
  for (const entry of await readdir(path, { withFileTypes: true, recursive: true })) {
    const name = join(entry.parentPath, entry.name).slice(path.length + 1)
    if (entry.isFile() && !IGNORED.test(name)) content.set(name, await readFile(join(path, name)))
  }
  return content
}

/** Puts these files there, and nothing else. */
export async function writeContent(path: string, content: Content): Promise<void> {
  await rm(path, { recursive: true, force: true })
  for (const [name, bytes] of content) {
    await mkdir(join(path, dirname(name)), { recursive: true })
    await writeFile(join(path, name), bytes)
  }
}

/** At most so many of each of the two syncs, some of them alike. */
export function* imagesBetween(before: Content, after: Content, countMax: number, chance: Chance): Generator<Content> {
  // A snapshot is synced before the databases hear of it, and the older one goes when they are.
  let settled: Content = new Map([...before, ...[...after].filter(([name]) => !name.includes('/'))])
  for (const database of ['log/', 'log.end/']) {
    const grown = [...after].filter(([name, bytes]) => name.startsWith(database) && !before.get(name)?.equals(bytes))
    for (const [name, bytes] of grown) {
      const old = before.get(name)
      must(name.endsWith('.log') && old !== undefined && bytes.subarray(0, old.length).equals(old), `${name} was not only appended to`)
      for (let n = 0; n < countMax; n++) yield new Map([...settled, [name, torn(bytes, old?.length ?? 0, n, chance)]])
      settled = new Map([...settled, [name, bytes]])
    }
  }
}

/** Nothing of what lies behind `from`, all of it, a first part of it, or as it comes. */
function torn(bytes: Buffer, from: number, n: number, chance: Chance): Buffer {
  if (n === 0) return bytes.subarray(0, from)
  if (n === 1) return bytes
  const image = Buffer.from(bytes.subarray(0, from + Math.ceil(chance() * (bytes.length - from))))
  if (n % 2 === 0) return image
  for (let at = from; at < image.length; ) {
    const end = Math.min(image.length, (Math.floor(at / SECTOR_BYTES) + 1) * SECTOR_BYTES)
    if (chance() < 0.5) image.fill(0, at, end)
    at = end
  }
  return image
}
