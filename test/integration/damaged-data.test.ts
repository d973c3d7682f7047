import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startTidemark, type TestTidemark } from '../../testing/index.ts'

let path: string
let node: TestTidemark

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'tidemark-damaged-'))
  node = await startTidemark({ storage: { path } })
  const tm = await node.connect()
  for (const topic of ['hurt', 'well']) {
    await tm.admin.createTopic(topic, { partitions: 1, configs: { 'segment.bytes': '64KiB' } })
    for (let round = 0; round < 5; round++)
      await tm.producer().send(
        topic,
        Array.from({ length: 30 }, (_, n) => ({ value: `${round} ${n} ${'x'.repeat(900)}` })),
      )
  }
  await tm.close()
  await node.close()
})

afterEach(async () => {
  await node.close()
  await rm(path, { recursive: true, force: true })
})

function fileOf(name: string): string {
  return join(path, 'topics/hurt-0', name)
}

async function filesOf(suffix: string): Promise<string[]> {
  return (await readdir(join(path, 'topics/hurt-0'))).filter((name) => name.endsWith(suffix)).sort((a, b) => a.localeCompare(b))
}

async function flip(name: string, position: number): Promise<void> {
  const content = await readFile(fileOf(name))
  content[position] = (content[position] as number) ^ 0x10
  await writeFile(fileOf(name), content)
}

async function start(): Promise<{
  health: { status: string; reasons: { code: string; message: string }[] }
  read: (topic: string) => Promise<number>
}> {
  node = await startTidemark({ storage: { path } })
  const health = (await (await fetch(`http://${node.address}/healthz`)).json()) as {
    status: string
    reasons: { code: string; message: string }[]
  }
  const tm = await node.connect()
  return { health, read: async (topic) => (await Array.fromAsync(tm.consumer(topic, { start: 'earliest', end: 'now' }))).length }
}

describe('a node whose data was damaged while it was down', () => {
  it('refuses a partition that lost durable bytes, says where, and serves the others', async () => {
    const [last = ''] = (await filesOf('.log')).slice(-1)
    await truncate(fileOf(last), 100)
    const before = await readFile(fileOf(last))
    const { health, read } = await start()
    expect(health).toMatchObject({ status: 'unhealthy', reasons: [{ code: 'CORRUPT_LOG', message: expect.stringContaining(last) }] })
    await expect(read('hurt')).rejects.toMatchObject({ code: 'CORRUPT_LOG' })
    expect(await read('well')).toBe(150)
    // Nothing was shortened or repaired behind the owner's back.
    expect(await readFile(fileOf(last))).toEqual(before)
  })

  it('refuses a partition whose segment is gone', async () => {
    const [, second = ''] = await filesOf('.log')
    await rm(fileOf(second))
    const { health, read } = await start()
    expect(health.reasons[0]?.code).toBe('CORRUPT_LOG')
    expect(await read('well')).toBe(150)
  })

  it('does not hand out a flipped bit as data', async () => {
    const [first = ''] = await filesOf('.log')
    await flip(first, 1000)
    const { read } = await start()
    await expect(read('hurt')).rejects.toMatchObject({ code: expect.stringMatching(/CORRUPT_(BATCH|LOG)/) })
    expect(await read('well')).toBe(150)
  })

  it.each([
    ['removed', (name: string) => rm(fileOf(name))],
    ['emptied', (name: string) => truncate(fileOf(name), 0)],
    ['cut', (name: string) => truncate(fileOf(name), 5)],
    ['filled with garbage', (name: string) => writeFile(fileOf(name), Buffer.alloc(64, 0xa5))],
    ['flipped', (name: string) => readFile(fileOf(name)).then((content) => (content.length > 3 ? flip(name, 3) : undefined))],
  ])('reads everything although every index was %s', async (_how, damage) => {
    for (const suffix of ['.index', '.timeindex']) for (const name of await filesOf(suffix)) await damage(name)
    const { health, read } = await start()
    expect(health.status).toBe('healthy')
    expect(await read('hurt')).toBe(150)
    const tm = await node.connect()
    expect(await tm.admin.offsetsForTimestamp('hurt', 0)).toEqual([{ partition: 0, offset: 0n }])
  })

  it('starts although a producer snapshot is garbage, and still knows its producers', async () => {
    for (const name of await filesOf('.snapshot')) await writeFile(fileOf(name), 'garbage')
    const { health, read } = await start()
    expect(health.status).toBe('healthy')
    expect(await read('hurt')).toBe(150)
  })

  it('cuts a torn tail that was never acknowledged', async () => {
    const [last = ''] = (await filesOf('.log')).slice(-1)
    await writeFile(fileOf(last), Buffer.concat([await readFile(fileOf(last)), Buffer.alloc(300, 7)]))
    const { health, read } = await start()
    expect(health.status).toBe('healthy')
    expect(await read('hurt')).toBe(150)
  })
})
