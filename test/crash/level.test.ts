/** The power goes at any call that LevelDB makes to the kernel, and leaves any state that it may. */
import { spawnSync } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { makePlace, runLevelCrashes } from './level-images.ts'
import { type Call, unpackCalls } from './level-trace.ts'

/** No test depends on speed: this is for a machine that does much else. */
const PATIENCE_MS = 3_600_000

let directory: string

beforeEach(async () => {
  directory = await makePlace()
})

afterEach(async () => {
  await rm(directory, { recursive: true, force: true })
})

const recorded = async (): Promise<Call[]> => unpackCalls(await readFile(join(import.meta.dirname, 'recorded-level.ndjson.gz')))

it(
  "a quorum's store loses nothing that was acknowledged, has nothing that was not saved, and goes on, in 2,000 states that a crash may leave of LevelDB's files",
  () => {
    const args = [join(import.meta.dirname, 'level-main.ts'), '--images', '2000']
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
    console.log(stdout.trim())
    expect(stderr).toBe('')
    expect(status).toBe(0)
  },
  PATIENCE_MS,
)

it.each([
  ['of the write-ahead log', /^log\/\d+\.log$/],
  ['of the lists of files', /MANIFEST/],
  ['of a snapshot', /snapshot/],
])(
  'a store whose syncs %s do nothing is noticed',
  async (_, path) => {
    const calls = (await recorded()).filter((call) => call.kind !== 'sync' || !path.test(call.path))
    await expect(runLevelCrashes(calls, { seed: 1, directory, imagesPerMoment: 3 })).rejects.toThrow(/seed 1, call/)
  },
  PATIENCE_MS,
)
