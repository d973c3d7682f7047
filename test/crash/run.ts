/** Lets one log work, and opens what crashes at every moment would leave of it. */
import type { MemoryFiles } from '../../testing/memory-files.ts'
import { createWorld, ManualTime, openDir, openOrders } from '../log/support.ts'
import { streamOf } from '../../scripts/random.ts'
import { checkImage } from './check.ts'
import type { Expected } from './expected.ts'
import { imagesOf } from './images.ts'
import { LogAtWork } from './log-at-work.ts'

export interface CrashRun {
  readonly seed: number
  /** Calls to the files at which the power may go. */
  readonly moments: number
  /** Different states of the disk that were opened. */
  readonly images: number
  /** Of these, how many were left by a crash during the recovery from another. */
  readonly secondImages: number
  readonly failure: Error | undefined
}

export interface CrashOptions {
  readonly seed: number
  readonly steps?: number
  /** At most so many of one moment. */
  readonly imagesPerMoment?: number
}

/** Of these many images one is opened with the power going again. */
const SECOND_EVERY = 40

const SECOND_IMAGES_PER_MOMENT = 3

interface Taken {
  readonly files: MemoryFiles
  readonly expected: Expected
  readonly place: string
}

export async function runCrashes({ seed, steps = 40, imagesPerMoment = 8 }: CrashOptions): Promise<CrashRun> {
  const chance = streamOf(seed, 'images')
  const album = new Album()
  const log = new LogAtWork(seed, (files, expected) => {
    album.moments++
    for (const { files: image, tape } of imagesOf(files, imagesPerMoment, chance))
      album.add(image, expected, `call ${album.moments}, tape ${tape.join('')}`)
  })
  const counts = { images: 0, secondImages: 0 }
  let failure: Error | undefined
  try {
    await log.work(steps)
    for (const [at, taken] of album.taken.entries()) {
      if (at % SECOND_EVERY === 0) counts.secondImages += await recoverTwice(taken, chance)
      await look(taken)
      counts.images++
    }
  } catch (error) {
    failure = error instanceof Error ? error : new Error(String(error))
  }
  return { seed, moments: album.moments, images: counts.images + counts.secondImages, secondImages: counts.secondImages, failure }
}

/** The power goes at every call of the recovery. Returns how many images that made. */
async function recoverTwice({ files, expected, place }: Taken, chance: () => number): Promise<number> {
  const album = new Album()
  const copy: MemoryFiles = files.imageAfterCrash({ keep: () => true }, () => {
    album.moments++
    for (const { files: image, tape } of imagesOf(copy, SECOND_IMAGES_PER_MOMENT, chance))
      album.add(image, expected, `${place}; then call ${album.moments} of the recovery, tape ${tape.join('')}`)
    return Promise.resolve()
  })
  const dir = await openDir(createWorld(copy, new ManualTime(expected.nowMs)), { openFilesMax: 4 })
  await openOrders(dir, expected.config)
  for (const taken of album.taken) await look(taken)
  return album.taken.length
}

async function look({ files, expected, place }: Taken): Promise<void> {
  try {
    await checkImage(files, expected)
  } catch (error) {
    throw new Error(`${place}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
}

/** Images, each once: the same state of which the same is expected says nothing new. */
class Album {
  moments = 0
  readonly taken: Taken[] = []
  readonly #known = new Set<string>()

  add(files: MemoryFiles, expected: Expected, place: string): void {
    const { durable, startMin, startMax, records, mayBeClean } = expected
    const key = `${files.digest()} ${durable} ${startMin} ${startMax} ${records.length} ${records.at(-1)?.epoch} ${mayBeClean}`
    if (this.#known.has(key)) return
    this.#known.add(key)
    this.taken.push({ files, expected, place })
  }
}
