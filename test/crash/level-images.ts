/**
 * What a power cut may leave of a quorum's store, LevelDB's own files included: its calls to the kernel are repeated on files in memory, and after each the power may
 * go. Every image is put on a real disk and opened as a node does.
 */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLevelRaftStore } from '../../controller/level-raft-store.ts'
import { allOf } from '../../log/data-dir-files.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { nodeFiles } from '../../runtime/node-files.ts'
import { type Chance, streamOf } from '../../scripts/random.ts'
import { MemoryFiles } from '../../testing/memory-files.ts'
import { entryOf, stateOf } from '../conformance/raft-store.ts'
import { readWhole } from '../log/support.ts'
import { imagesOf } from './images.ts'
import type { Call } from './level-trace.ts'
import { NOTHING_SAVED, textOf } from './quorum-at-work.ts'

export interface LevelRun {
  /** Calls after which the power may go. */
  readonly moments: number
  /** Different states of the disk that were opened. */
  readonly images: number
  /** Of these, how many had what was under way as a whole; the others had nothing of it. */
  readonly withNext: number
  /** Of these, how many were refused; see `isOutOfOrder`. */
  readonly refused: number
}

export interface LevelOptions {
  readonly seed: number
  /** Where images are put. */
  readonly directory: string
  readonly imagesPerMoment?: number
}

/** Opened at the same time. */
const CONCURRENCY = 4
/** In every one of so many images the work goes on. */
const GO_ON_EVERY = 8

const STORE = '/store'
const DATABASES = ['', '/log', '/log.end']

interface Taken {
  readonly files: MemoryFiles
  /** What may be found: what was acknowledged, and with it what was under way. */
  readonly texts: readonly string[]
  readonly place: string
  readonly goesOn: boolean
  /** Tables that there were when the power went, synced each. */
  readonly tables: readonly string[]
}

/** A place for images: in memory where there is one, for every opening syncs a dozen times. */
export function makePlace(): Promise<string> {
  return mkdtemp(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'tidemark-level-'))
}

/** Throws when an image is not what was acknowledged. */
export async function runLevelCrashes(calls: readonly Call[], options: LevelOptions): Promise<LevelRun> {
  const counts = { moments: 0, images: 0, withNext: 0, refused: 0 }
  const images = imagesDuring(calls, options, () => counts.moments++)
  const worker = async (_: unknown, at: number): Promise<void> => {
    const place = join(options.directory, `image-${at}`)
    for await (const taken of images) {
      const found = await open(taken, place)
      counts.images++
      if (found === undefined) counts.refused++
      else if (found !== taken.texts[0]) counts.withNext++
    }
  }
  await allOf(Array.from({ length: CONCURRENCY }, worker))
  return counts
}

async function* imagesDuring(
  calls: readonly Call[],
  { seed, imagesPerMoment = 6 }: LevelOptions,
  momentPassed: () => void,
): AsyncGenerator<Taken> {
  const chance: Chance = streamOf(seed, 'images')
  const known = new Set<string>()
  const texts = [NOTHING_SAVED, ...calls.flatMap((call) => (call.kind === 'acknowledged' ? [call.text] : []))]
  const disk = new Disk()
  await disk.begin()
  let acknowledged = 0
  for (const [at, call] of calls.entries()) {
    if (call.kind === 'acknowledged') acknowledged++
    else await disk.apply(call)
    momentPassed()
    const tables = await tablesOf(disk.files)
    for (const { files, tape } of imagesOf(disk.files, imagesPerMoment, chance)) {
      const key = `${files.digest()} ${acknowledged}`
      if (known.has(key)) continue
      known.add(key)
      const place = `seed ${seed}, call ${at} (${call.kind} ${'path' in call ? call.path : ''}), tape ${tape.join('')}`
      yield { files, texts: texts.slice(acknowledged, acknowledged + 2), place, tables, goesOn: known.size % GO_ON_EVERY === 0 }
    }
  }
}

/** A disk on which the calls are made again. */
class Disk {
  readonly files = new MemoryFiles()
  readonly #ends = new Map<string, number>()

  /** The directory above the store's is there, and whoever made the store's has synced it. */
  async begin(): Promise<void> {
    await this.files.makeDirectory(STORE)
    await this.files.syncDirectory('/')
  }

  async apply(call: Exclude<Call, { readonly kind: 'acknowledged' }>): Promise<void> {
    const path = pathOf(call.path)
    switch (call.kind) {
      case 'mkdir':
        return this.files.makeDirectory(path)
      case 'open':
        if (!isDirectory(path)) this.#ends.set(path, 0)
        return
      case 'create':
        this.#ends.set(path, 0)
        return this.#change(path, 'create', (file) => file.truncate(0))
      case 'write': {
        const position = call.position ?? this.#ends.get(path) ?? 0
        this.#ends.set(path, position + call.bytes.length)
        return this.#change(path, 'readWrite', (file) => file.write([call.bytes], position))
      }
      case 'truncate':
        return this.#change(path, 'readWrite', (file) => file.truncate(call.sizeBytes))
      case 'sync':
        return isDirectory(path) ? this.files.syncDirectory(path) : this.#change(path, 'readWrite', (file) => file.datasync())
      case 'rename':
        return this.files.rename(path, pathOf(call.to))
      case 'unlink':
        return this.files.remove(path)
    }
  }

  async #change(
    path: string,
    mode: 'create' | 'readWrite',
    change: (file: Awaited<ReturnType<MemoryFiles['open']>>) => Promise<void>,
  ): Promise<void> {
    const file = await this.files.open(path, mode)
    await change(file)
    await file.close()
  }
}

function pathOf(path: string): string {
  return path === '' ? STORE : `${STORE}/${path}`
}

function isDirectory(path: string): boolean {
  return DATABASES.some((database) => path === `${STORE}${database}`)
}

async function tablesOf(files: MemoryFiles): Promise<string[]> {
  const names = await Promise.all(
    DATABASES.map(async (database) => {
      const directory = `${STORE}${database}`
      return (await files.stat(directory)) === undefined ? [] : (await files.list(directory)).map((name) => `${directory}/${name}`)
    }),
  )
  return names.flat().filter((name) => name.endsWith('.ldb'))
}

/**
 * LevelDB writes the name of a new table into its list of files before it syncs the directory that the table is in. Where the list has grown on the disk and the
 * table's name is not there, it does not open. File systems with a journal make names in the order they were made and before files grow that are written
 * later, so that they leave no such image; this disk makes no such promise. Refused is what it may be, and nothing else.
 */
async function isOutOfOrder({ files, tables }: Taken, error: unknown): Promise<boolean> {
  if (!TidemarkError.is(error) || error.code !== 'CORRUPT_LOG' || !error.message.includes('missing files')) return false
  const present = await tablesOf(files)
  return tables.some((table) => !present.includes(table))
}

/** What is found there: all that was acknowledged, and what was under way as a whole or not at all. Undefined when it is refused and may be. */
async function open(taken: Taken, path: string): Promise<string | undefined> {
  const { files, texts, place, goesOn } = taken
  await rm(path, { recursive: true, force: true })
  for (const database of DATABASES) await putThere(files, `${STORE}${database}`, `${path}${database}`)
  try {
    const found = await load(path)
    if (!texts.includes(found)) throw new Error(`found ${found}\nwhere ${texts.join('\nor ')} was to be found`)
    if (goesOn) await goOn(path)
    return found
  } catch (error) {
    if (await isOutOfOrder(taken, error)) return undefined
    throw new Error(`${place}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
}

async function putThere(files: MemoryFiles, from: string, to: string): Promise<void> {
  if ((await files.stat(from)) === undefined) return
  await mkdir(to, { recursive: true })
  for (const name of await files.list(from)) {
    if (isDirectory(`${from}/${name}`)) continue
    await writeFile(join(to, name), await readWhole(files, `${from}/${name}`))
  }
}

async function load(path: string): Promise<string> {
  const store = await openLevelRaftStore(path, nodeFiles)
  try {
    return textOf(await store.load())
  } finally {
    await store.close()
  }
}

/** Whoever has recovered saves more, and finds it again. */
async function goOn(path: string): Promise<void> {
  const store = await openLevelRaftStore(path, nodeFiles)
  let expected: string
  try {
    const state = await store.load()
    const term = state.hardState.term + 1
    const entry = entryOf((state.entries.at(-1)?.index ?? state.compacted.index) + 1, term)
    const hardState = stateOf(term, 2, state.compacted.index)
    await store.save({ hardState, entries: [entry], directories: new Map() })
    expected = textOf({ ...state, hardState, entries: [...state.entries, entry] })
  } finally {
    await store.close()
  }
  const found = await load(path)
  if (found !== expected) throw new Error(`after a save found ${found}\nwhere ${expected} was saved`)
}
