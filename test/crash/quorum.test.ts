/** The power goes while a controller's store saves what Raft must not forget. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openLevelRaftStore } from '../../controller/level-raft-store.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { nodeFiles } from '../../runtime/node-files.ts'
import { streamOf } from '../../scripts/random.ts'
import { type Content, imagesBetween, readContent, writeContent } from './quorum-images.ts'
import { QuorumAtWork, textOf } from './quorum-at-work.ts'

/** No test depends on speed: this is for a machine that does much else. */
const PATIENCE_MS = 600_000
const SEEDS = [1, 2, 3]
const STEPS = 12
const IMAGES_PER_SYNC = 5

let path: string

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'tidemark-quorum-crash-'))
})

afterEach(async () => {
  await rm(path, { recursive: true, force: true })
})

/** What a node finds there, or that it refuses. */
async function open(content: Content): Promise<string> {
  const place = join(path, 'image')
  await writeContent(place, content)
  const store = await openLevelRaftStore(place, nodeFiles)
  try {
    return textOf(await store.load())
  } catch (error) {
    if (TidemarkError.is(error) && error.code === 'CORRUPT_LOG') return 'refused'
    throw error
  } finally {
    await store.close()
  }
}

/** Calls `look` after each call, with the files and what was acknowledged before it and after it. */
async function work(
  seed: number,
  look: (before: Content, after: Content, texts: readonly [string, string]) => Promise<void>,
): Promise<void> {
  const work = new QuorumAtWork(streamOf(seed, 'quorum'))
  const live = join(path, 'live')
  const store = await openLevelRaftStore(live, nodeFiles)
  try {
    await store.load()
    for (let n = 0; n < STEPS; n++) {
      const before = { content: await readContent(live), text: work.text }
      await work.step(store)
      await look(before.content, await readContent(live), [before.text, work.text])
    }
  } finally {
    await store.close()
  }
}

it.each(SEEDS)(
  'a crash during a save leaves all of it or nothing of it, and what was saved before, as seed %i has it',
  async (seed) => {
    const chance = streamOf(seed, 'images')
    const counts = { before: 0, after: 0 }
    await work(seed, async (before, after, [textBefore, textAfter]) => {
      for (const image of imagesBetween(before, after, IMAGES_PER_SYNC, chance)) {
        const found = await open(image)
        expect([textBefore, textAfter]).toContain(found)
        counts[found === textAfter ? 'after' : 'before']++
      }
      expect(await open(after)).toBe(textAfter)
    })
    console.log(
      `crashes of a quorum's store, seed ${seed}: ${counts.before + counts.after} states, ${counts.after} with the save, ${counts.before} without`,
    )
    expect(Math.min(counts.before, counts.after)).toBeGreaterThan(0)
  },
  PATIENCE_MS,
)

it(
  'bytes that were synced and are gone are noticed: a store with less than was acknowledged is refused',
  async () => {
    const chance = streamOf(4, 'images')
    await work(4, async (before, after, [, textAfter]) => {
      for (const [name, bytes] of after) {
        if (!/^log\/\d+\.log$/.test(name)) continue
        // The last save is gone, or torn.
        const least = before.get(name)?.length ?? 0
        const cut = least + Math.floor(chance() * (bytes.length - least))
        expect(await open(new Map([...after, [name, bytes.subarray(0, cut)]])), textAfter).toBe('refused')
      }
    })
  },
  PATIENCE_MS,
)

it(
  'what was saved since the store was opened is there though its opening is undone in the directories',
  async () => {
    const work = new QuorumAtWork(streamOf(5, 'quorum'))
    const live = join(path, 'live')
    let closed: Content = new Map()
    for (let session = 0; session < 4; session++) {
      const store = await openLevelRaftStore(live, nodeFiles)
      await store.load()
      for (let n = 0; n < 5; n++) {
        await work.step(store)
        const content = await readContent(live)
        // LevelDB does not sync the directory once it has put a new CURRENT in the place of the old one: what it removed after that may be back.
        const olds = [...closed].filter(([name]) => /^log(\.end)?\//.test(name))
        for (const undone of [/^log\//, /^log\.end\//, /^log/]) {
          const back = olds.filter(([name]) => undone.test(name) && (name.endsWith('/CURRENT') || !content.has(name)))
          expect(await open(new Map([...content, ...back])), `session ${session}`).toBe(work.text)
        }
      }
      await store.close()
      closed = await readContent(live)
    }
  },
  PATIENCE_MS,
)

it('a store that is open is there after a crash: its directory and those in it are synced', async () => {
  const synced: string[] = []
  const files = {
    ...nodeFiles,
    syncDirectory: async (directory: string) => {
      synced.push(directory)
      await nodeFiles.syncDirectory(directory)
    },
  }
  const store = await openLevelRaftStore(join(path, 'store'), files)
  await store.close()
  expect(synced).toEqual(expect.arrayContaining([join(path, 'store'), path]))
})
