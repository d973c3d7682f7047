/**
 * The states in which a crash at one moment may leave a disk.
 *
 * What was synced is there. Of what was not, each sector of 512 bytes is there or not, whatever the order of the writes; a file may have grown without its
 * bytes, or kept its size; of the names that were made, moved and removed in a directory a first part is there. What is chosen is a tape of
 * decisions: all tapes are tried where there are few, else as many as wanted by chance, and always nothing and everything.
 */
import type { MemoryFiles } from '../../testing/memory-files.ts'
import type { Chance } from '../../scripts/random.ts'

/** Names the image among those of its moment. */
export type Tape = readonly number[]

export interface Image {
  readonly files: MemoryFiles
  readonly tape: Tape
}

const noPause = (): Promise<void> => Promise.resolve()

/** Makes one image, and says between how many ways each decision was. */
function imageOf(files: MemoryFiles, decide: (ways: number) => number, pause = noPause): Image & { readonly ways: readonly number[] } {
  const tape: number[] = []
  const ways: number[] = []
  const take = (count: number): number => {
    const decision = decide(count)
    tape.push(decision)
    ways.push(count)
    return decision
  }
  const survivor = files.imageAfterCrash(
    {
      keep: () => take(2) === 1,
      keepSize: () => take(2) === 1,
      keepNames: (count) => (count === 0 ? 0 : take(count + 1)),
    },
    pause,
  )
  return { files: survivor, tape, ways }
}

/** One of them, by chance; `pause` is called before each call to it. */
export function chooseImage(files: MemoryFiles, chance: Chance, pause: () => Promise<void>): MemoryFiles {
  return imageOf(files, byChance(chance), pause).files
}

/** At most `countMax` images of a crash now. */
export function* imagesOf(files: MemoryFiles, countMax: number, chance: Chance): Generator<Image> {
  yield imageOf(files, (ways) => ways - 1)
  yield imageOf(files, () => 0)
  if (countMax <= 2) return
  const all = [...allTapes(files, countMax)]
  if (all.length < countMax) {
    yield* all
    return
  }
  for (let n = 2; n < countMax; n++) yield imageOf(files, byChance(chance))
}

/** Some disks are slow to write, others fast. */
function byChance(chance: Chance): (ways: number) => number {
  const inclination = chance()
  return (ways) => (ways === 2 ? Number(chance() < inclination) : Math.floor(chance() * ways))
}

/** Every image there is, in the order of their tapes; ends early after `countMax`. */
function* allTapes(files: MemoryFiles, countMax: number): Generator<Image> {
  let wanted: number[] = []
  for (let n = 0; n < countMax; n++) {
    let at = 0
    const image = imageOf(files, () => wanted[at++] ?? 0)
    yield image
    // The last decision that has another way left takes it; those behind it begin anew.
    const next = image.tape.findLastIndex((decision, place) => decision + 1 < (image.ways[place] ?? 0))
    if (next < 0) return
    wanted = [...image.tape.slice(0, next), (image.tape[next] ?? 0) + 1]
  }
}
