import { spawnSync } from 'node:child_process'
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Level } from 'level'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openController } from '../../controller/controller.ts'
import { openLevelStore } from '../../controller/level-store.ts'
import { crc32c } from '../../protocol/crc32c.ts'
import { TidemarkError } from '../../protocol/errors.ts'
import { createRequest, partsOf, startController } from './fixtures.ts'

let directory: string
let path: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tidemark-controller-'))
  path = join(directory, 'log')
})

afterEach(async () => {
  await rm(directory, { recursive: true, force: true })
})

async function write(...entries: string[]): Promise<void> {
  const store = await openLevelStore(path)
  const present = await store.load()
  await store.append(
    present.length,
    entries.map((entry) => Buffer.from(entry)),
  )
  await store.close()
}

/** Changes the database behind the store's back. */
async function tamper(change: (database: Level<string, Buffer>) => Promise<void>, where = path): Promise<void> {
  const database = new Level<string, Buffer>(where, { keyEncoding: 'utf8', valueEncoding: 'buffer' })
  await database.open()
  await change(database)
  await database.close()
}

async function load(): Promise<string[]> {
  const store = await openLevelStore(path)
  try {
    return (await store.load()).map(String)
  } finally {
    await store.close()
  }
}

const key = (offset: number): string => offset.toString(16).padStart(16, '0')

describe('LevelStore', () => {
  it('refuses an entry with a flipped bit, wherever the bit is', async () => {
    await write('zero', 'one', 'two')
    const values: Buffer[] = []
    await tamper(async (database) => {
      values.push((await database.get(key(1))) as Buffer)
    })
    const [sound] = values as [Buffer]
    for (let bit = 0; bit < sound.length * 8; bit += 5) {
      const flipped = Buffer.from(sound)
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
      await tamper((database) => database.put(key(1), flipped))
      await expect(load()).rejects.toMatchObject({ code: 'CORRUPT_LOG', message: expect.stringContaining('entry 1 is damaged') })
    }
    await tamper((database) => database.put(key(1), sound))
    expect(await load()).toEqual(['zero', 'one', 'two'])
  })

  it('refuses a gap, a missing first entry and a value too short for its checksums', async () => {
    await write('zero', 'one', 'two')
    await tamper((database) => database.put(key(2), Buffer.from('short')))
    await expect(load()).rejects.toMatchObject({ code: 'CORRUPT_LOG', message: expect.stringContaining('entry 2 is damaged') })
    await tamper((database) => database.del(key(1)))
    await expect(load()).rejects.toMatchObject({ code: 'CORRUPT_LOG', message: expect.stringContaining('entry 1 is missing') })
    await tamper(async (database) => {
      await database.put(key(1), Buffer.alloc(8))
      await database.del(key(0))
    })
    await expect(load()).rejects.toMatchObject({
      code: 'CORRUPT_LOG',
      message: expect.stringMatching(/entry 0 is missing.*Restore .* from a backup/),
    })
  })

  it('refuses an entry that is sound in itself but not the one that was written there', async () => {
    await write('zero', 'one', 'two')
    const forged = Buffer.alloc(8 + 3)
    forged.writeUInt32BE(12345, 4)
    forged.write('ONE', 8)
    forged.writeUInt32BE(crc32c(forged, 4), 0)
    await tamper((database) => database.put(key(1), forged))
    await expect(load()).rejects.toMatchObject({ code: 'CORRUPT_LOG', message: expect.stringContaining('entry 1 is damaged') })
  })

  it('refuses a foreign key', async () => {
    await write('zero')
    await tamper((database) => database.put('something', Buffer.from('else')))
    await expect(load()).rejects.toMatchObject({ code: 'CORRUPT_LOG' })
  })

  it('refuses a store whose end is missing, even all of it', async () => {
    await write('zero', 'one', 'two')
    await tamper((database) => database.del(key(2)))
    await expect(load()).rejects.toMatchObject({
      code: 'CORRUPT_LOG',
      message: expect.stringContaining('ends behind 2 entries, 3 were written'),
    })
    await tamper(async (database) => {
      for (const offset of [0, 1]) await database.del(key(offset))
    })
    await expect(load()).rejects.toMatchObject({ code: 'CORRUPT_LOG', message: expect.stringContaining('ends behind 0 entries') })
  })

  it('refuses the end of another store', async () => {
    await write('zero', 'one')
    const other = Buffer.alloc(10)
    other.writeUIntBE(2, 0, 6)
    await tamper((end) => end.put('end', other), `${path}.end`)
    await expect(load()).rejects.toMatchObject({ code: 'CORRUPT_LOG', message: expect.stringContaining('not the one that was written') })
    await tamper((end) => end.put('end', Buffer.alloc(3)), `${path}.end`)
    await expect(load()).rejects.toMatchObject({ code: 'CORRUPT_LOG', message: expect.stringContaining('where it ends is damaged') })
  })

  it('keeps an entry that was written when the process died before its end was', async () => {
    await write('zero')
    const copy = `${path}.end.before`
    await cp(`${path}.end`, copy, { recursive: true })
    await write('one')
    await rm(`${path}.end`, { recursive: true })
    await cp(copy, `${path}.end`, { recursive: true })
    expect(await load()).toEqual(['zero', 'one'])
    await write('two')
    expect(await load()).toEqual(['zero', 'one', 'two'])
  })

  const WRITTEN = Array.from({ length: 20 }, (_, index) => `entry ${index}`)

  /** Flips a bit of every 17th byte of the file that ends so, each time in a fresh copy; what became of each opening. */
  async function flipEvery(suffix: string): Promise<('refused' | 'intact' | 'wrong')[]> {
    const files = (await readdir(path)).filter((name) => name.endsWith(suffix))
    const contents = await Promise.all(files.map(async (name) => ({ name, sound: await readFile(join(path, name)) })))
    const { name, sound } = contents.find((file) => file.sound.length > 0) as { name: string; sound: Buffer }
    const pristine = `${path}.pristine`
    await cp(path, pristine, { recursive: true })
    const outcomes: ('refused' | 'intact' | 'wrong')[] = []
    for (let at = 0; at < sound.length; at += 17) {
      await rm(path, { recursive: true })
      await cp(pristine, path, { recursive: true })
      const flipped = Buffer.from(sound)
      flipped[at] = (flipped[at] as number) ^ 0x10
      await writeFile(join(path, name), flipped)
      outcomes.push(
        await load().then(
          (entries) => (entries.join() === WRITTEN.join() ? 'intact' : 'wrong'),
          (error: unknown) => (TidemarkError.is(error) && error.code === 'CORRUPT_LOG' ? 'refused' : 'wrong'),
        ),
      )
    }
    return outcomes
  }

  it('refuses when any byte of the write-ahead log is flipped', async () => {
    await write(...WRITTEN)
    expect(new Set(await flipEvery('.log'))).toEqual(new Set(['refused']))
  })

  it('refuses or reads right when any byte of a table is flipped', async () => {
    await write(...WRITTEN)
    // Opening moves everything from the write-ahead log into a table.
    await load()
    const outcomes = await flipEvery('.ldb')
    expect(outcomes).toContain('refused')
    expect(outcomes).not.toContain('wrong')
  })

  it('says so when another process, or another store, has it open', async () => {
    const store = await openLevelStore(path)
    await expect(openLevelStore(path)).rejects.toMatchObject({ code: 'DATA_DIR_LOCKED', message: expect.stringContaining(path) })
    await store.close()
    expect(await load()).toEqual([])
  })

  it('says so when the path cannot be a directory', async () => {
    const file = join(directory, 'file')
    await writeFile(file, 'not a directory')
    await expect(openLevelStore(file)).rejects.toMatchObject({ name: 'TidemarkError', code: 'DATA_DIR_INVALID' })
  })

  it('is not loaded, nor is its native code, by a controller in memory', () => {
    const program = `
      const { openController } = await import(${JSON.stringify(new URL('../../controller/controller.ts', import.meta.url).href)})
      await import(${JSON.stringify(new URL('../../controller/level-store.ts', import.meta.url).href)})
      const { MemoryStore } = await import(${JSON.stringify(new URL('../../controller/memory-store.ts', import.meta.url).href)})
      const runtime = { random: { bytes: (count) => Buffer.alloc(count, 1) }, timers: {} }
      const controller = await openController({ runtime, store: new MemoryStore(), defaults: { partitions: 1, replicas: 1 } })
      await controller.close()
      console.log(process.report.getReport().sharedObjects.filter((path) => path.endsWith('.node')).length)
    `
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
    expect({ stdout: stdout.trim(), stderr }).toEqual({ stdout: '0', stderr: '' })
  })
})

describe('a controller on a LevelStore', () => {
  it('comes back with the same image', async () => {
    const controller = await startController(await openLevelStore(path))
    await controller.createTopics(createRequest('orders', 'payments'))
    await controller.growTopics({ topics: [{ name: 'orders', partitions: 5 }], validateOnly: false })
    await controller.alterConfigs({
      resources: [{ resource: { scope: 0, name: 'orders' }, set: { 'retention.ms': '1h' }, reset: [] }],
      validateOnly: false,
    })
    await controller.deleteTopics({ names: ['payments'] })
    await controller.allocateProducerIds(1)
    await controller.close()
    const again = await openController({ store: await openLevelStore(path), ...partsOf() })
    expect(again.image).toEqual(controller.image)
    expect(again.image.topics.get('orders')?.partitions).toHaveLength(5)
    await again.close()
  })

  it('does not open when an entry is damaged, adds nothing and lets go of the directory', async () => {
    const controller = await startController(await openLevelStore(path))
    await controller.createTopics(createRequest('orders'))
    await controller.close()
    let value: Buffer | undefined
    await tamper(async (database) => {
      value = await database.get(key(1))
      await database.put(key(1), Buffer.from(value as Buffer).fill(0xff, 10, 12))
    })
    await expect(openController({ store: await openLevelStore(path), ...partsOf() })).rejects.toMatchObject({ code: 'CORRUPT_LOG' })
    await tamper((database) => database.put(key(1), value as Buffer))
    const again = await openController({ store: await openLevelStore(path), ...partsOf() })
    expect(again.image).toEqual(controller.image)
    await again.close()
  })
})
