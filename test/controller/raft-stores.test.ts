import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Level } from 'level'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openLevelRaftStore } from '../../controller/level-raft-store.ts'
import { MemoryRaftStore } from '../../controller/memory-raft-store.ts'
import type { RaftStore } from '../../controller/raft-store.ts'
import { crc32c } from '../../protocol/crc32c.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { nodeFiles } from '../../runtime/node-files.ts'
import { describeRaftStore, entryOf, snapshotOf, stateOf, textsOf } from '../conformance/raft-store.ts'

let path: string

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'tidemark-quorum-'))
})

afterEach(async () => {
  await rm(path, { recursive: true, force: true })
})

const open = (): Promise<RaftStore> => openLevelRaftStore(path, nodeFiles)

describeRaftStore('LevelRaftStore', async () => open)

describeRaftStore('MemoryRaftStore', async () => {
  const store = new MemoryRaftStore()
  return async () => store
})

async function write(from: number, count: number): Promise<void> {
  const store = await open()
  await store.load()
  for (let index = from; index < from + count; index++)
    await store.save({ hardState: stateOf(1, 1), entries: [entryOf(index, 1)], directories: new Map() })
  await store.close()
}

async function load(): Promise<string[]> {
  const store = await open()
  try {
    return textsOf((await store.load()).entries)
  } finally {
    await store.close()
  }
}

/** Changes a database behind the store's back. */
async function tamper(change: (database: Level<string, Buffer>) => Promise<unknown>, where = 'log'): Promise<void> {
  const database = new Level<string, Buffer>(join(path, where), { keyEncoding: 'utf8', valueEncoding: 'buffer' })
  await database.open()
  await change(database)
  await database.close()
}

const key = (index: number): string => `e${index.toString(16).padStart(16, '0')}`

function refusal(what: RegExp): object {
  return expect.objectContaining({ code: 'CORRUPT_LOG', message: expect.stringMatching(what) })
}

describe('LevelRaftStore', () => {
  it('refuses an entry with a flipped bit, wherever the bit is', async () => {
    await write(1, 3)
    const values: Buffer[] = []
    await tamper(async (database) => values.push((await database.get(key(2))) as Buffer))
    const [sound] = values as [Buffer]
    for (let bit = 0; bit < sound.length * 8; bit += 5) {
      const flipped = Buffer.from(sound)
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
      await tamper((database) => database.put(key(2), flipped))
      await expect(load()).rejects.toEqual(refusal(/entry 2 is damaged.*must not vote/))
    }
    await tamper((database) => database.put(key(2), sound))
    expect(await load()).toHaveLength(3)
  })

  it('refuses a gap, a missing beginning and a missing end', async () => {
    for (const gone of [1, 2, 3]) {
      await write(1, 3)
      await tamper((database) => database.del(key(gone)))
      await expect(load()).rejects.toEqual(refusal(gone === 3 ? /ends at entry 2, 3 were written/ : new RegExp(`entry ${gone} is missing`)))
      await rm(path, { recursive: true })
    }
  })

  it('refuses an entry that is sound in itself but not the one that was written there', async () => {
    await write(1, 3)
    const forged = Buffer.alloc(8 + 3)
    forged.writeUInt32BE(12345, 4)
    forged.writeUInt32BE(crc32c(forged, 4), 0)
    await tamper((database) => database.put(key(2), forged))
    await expect(load()).rejects.toEqual(refusal(/entry 2 is damaged/))
  })

  it('refuses a state that is gone, damaged or older than the last save', async () => {
    await write(1, 1)
    const states: Buffer[] = []
    await tamper(async (database) => states.push((await database.get('state')) as Buffer))
    const [old] = states as [Buffer]
    await write(2, 1)
    await tamper((database) => database.put('state', old))
    await expect(load()).rejects.toEqual(refusal(/as it was at save 1, 2 were made/))
    await tamper((database) => database.put('state', Buffer.concat([old.subarray(0, 20), Buffer.from([1]), old.subarray(21)])))
    await expect(load()).rejects.toEqual(refusal(/the state is damaged/))
    await tamper((database) => database.del('state'))
    await expect(load()).rejects.toEqual(refusal(/the state is gone/))
  })

  it('keeps a save whose process died before it was witnessed', async () => {
    await write(1, 1)
    await cp(join(path, 'log.end'), join(path, 'before'), { recursive: true })
    await write(2, 1)
    await rm(join(path, 'log.end'), { recursive: true })
    await cp(join(path, 'before'), join(path, 'log.end'), { recursive: true })
    expect(await load()).toEqual(['1:1:entry 1', '2:1:entry 2'])
    await write(3, 1)
    expect(await load()).toHaveLength(3)
  })

  it('refuses when the snapshot that stands for the first entries is missing or damaged', async () => {
    await write(1, 5)
    const store = await open()
    await store.load()
    await store.saveSnapshot(snapshotOf(4, 1), { compactTo: 4, isForeign: false })
    await store.close()
    const file = join(path, '4-1.snapshot')
    const sound = await readFile(file)
    await writeFile(file, Buffer.concat([sound.subarray(0, 6), Buffer.from([0xff]), sound.subarray(7)]))
    await expect(load()).rejects.toEqual(refusal(/snapshot of entry 4 is missing or damaged/))
    await rm(file)
    await expect(load()).rejects.toEqual(refusal(/snapshot of entry 4 is missing or damaged/))
    await writeFile(file, sound)
    expect(await load()).toEqual(['5:1:entry 5'])
  })

  const WRITTEN = Array.from({ length: 20 }, (_, at) => `${at + 1}:1:entry ${at + 1}`)

  /** Flips a bit of every `step`th byte of the largest file of a database that is named so, each time in a fresh copy; what became of each opening. */
  async function flipEvery(where: string, name: RegExp, step: number): Promise<('refused' | 'intact' | 'wrong')[]> {
    const pristine = join(path, 'pristine')
    for (const database of ['log', 'log.end']) await cp(join(path, database), join(pristine, database), { recursive: true })
    const files = (await readdir(join(path, where))).filter((one) => name.test(one))
    const contents = await Promise.all(files.map(async (file) => ({ file, sound: await readFile(join(path, where, file)) })))
    const { file, sound } = contents.sort((a, b) => b.sound.length - a.sound.length)[0] as { file: string; sound: Buffer }
    const outcomes: ('refused' | 'intact' | 'wrong')[] = []
    for (let at = 0; at < sound.length; at += step) {
      for (const database of ['log', 'log.end']) {
        await rm(join(path, database), { recursive: true })
        await cp(join(pristine, database), join(path, database), { recursive: true })
      }
      const flipped = Buffer.from(sound)
      flipped[at] = (flipped[at] as number) ^ (1 << (at & 7))
      await writeFile(join(path, where, file), flipped)
      outcomes.push(
        await load().then(
          (entries) => (entries.join() === WRITTEN.join() ? 'intact' : 'wrong'),
          (error: unknown) => (TidemarkError.is(error) && /^(CORRUPT_LOG|DATA_DIR_INVALID)$/.test(error.code) ? 'refused' : 'wrong'),
        ),
      )
    }
    await rm(pristine, { recursive: true })
    return outcomes
  }

  it('refuses when any byte of the write-ahead log is flipped', async () => {
    await write(1, WRITTEN.length)
    expect(new Set(await flipEvery('log', /\.log$/, 17))).toEqual(new Set(['refused']))
  })

  it.each([
    ['of a table', 'log', /\.ldb$/, 17],
    ['of the list of files', 'log', /MANIFEST/, 3],
    ['of the name of that list', 'log', /CURRENT/, 1],
    ["of the witness' write-ahead log", 'log.end', /\.log$/, 1],
    ["of the witness' table", 'log.end', /\.ldb$/, 7],
    ["of the witness' list of files", 'log.end', /MANIFEST/, 3],
  ])('refuses or reads right when any byte %s is flipped', async (_, where, name, step) => {
    await write(1, WRITTEN.length - 1)
    // Opening moves everything from the write-ahead log into a table.
    await write(WRITTEN.length, 1)
    const outcomes = await flipEvery(where, name, step)
    expect(outcomes.length).toBeGreaterThan(5)
    expect(outcomes).not.toContain('wrong')
  })

  it('begins anew what was never finished, and nothing else: LevelDB cannot open what a crash leaves of a database that is being made', async () => {
    await mkdir(join(path, 'log'), { recursive: true })
    await writeFile(join(path, 'log', 'CURRENT'), 'MANIFEST-000001\n')
    await writeFile(join(path, 'log', 'MANIFEST-000001'), Buffer.alloc(50))
    await expect(open()).rejects.toMatchObject({ code: 'CORRUPT_LOG' })
    await writeFile(join(path, 'unfinished'), '')
    expect(await load()).toEqual([])
    expect(await readdir(path)).not.toContain('unfinished')
    await write(1, 2)
    expect(await load()).toHaveLength(2)
  })

  it('says so when another process, or another store, has it open', async () => {
    const store = await open()
    await expect(open()).rejects.toMatchObject({ code: 'DATA_DIR_LOCKED', message: expect.stringContaining(path) })
    await store.close()
    expect(await load()).toEqual([])
  })

  it('says so when the place cannot be used', async () => {
    await writeFile(join(path, 'log'), 'a file')
    await expect(open()).rejects.toMatchObject({ code: 'DATA_DIR_INVALID' })
  })
})
