/** Logs on the disk that the metadata says nothing of. */
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { jsonFile } from '../../log/data-dir-files.ts'
import { type Log, startTidemark, type TestTidemark } from '../../testing/index.ts'
import { digestsOf, valuesIn } from '../faults/support.ts'

let path: string
let node: TestTidemark | undefined

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'tidemark-stray-'))
  node = await startTidemark({ storage: { path } })
  const tm = await node.connect()
  await tm.admin.createTopic('orders', { partitions: 1 })
  for (const value of ['a', 'b', 'c']) await tm.producer().send('orders', { value })
  await node.close()
})

afterEach(async () => {
  await node?.close()
  await rm(path, { recursive: true, force: true })
})

it('J14 are kept as they are and said, at every start, also when a topic of their name is made and deleted', async () => {
  // As it looks when the metadata is older than the logs: the same name, and an id that nobody knows.
  const stray = join(path, 'topics/ghost-0')
  await cp(join(path, 'topics/orders-0'), stray, { recursive: true })
  const file = join(stray, 'partition.json')
  const topicId = 'B'.repeat(21) + 'A'
  await writeFile(file, jsonFile({ topic: 'ghost', partition: 0, topicId }))
  const before = await digestsOf(stray)

  const strays: unknown[] = []
  const silent = (): void => {}
  const log: Log = {
    debug: silent,
    info: silent,
    error: silent,
    warn: (event, fields) => void (event === 'partition.stray' && strays.push(fields)),
  }
  for (let start = 1; start <= 2; start++) {
    node = await startTidemark({ storage: { path }, log })
    expect(strays).toEqual(Array.from({ length: start }, () => ({ topic: 'ghost', partition: 0, topicId })))
    expect(await valuesIn(await node.connect(), 'orders')).toEqual(['a', 'b', 'c'])
    expect(await digestsOf(stray)).toEqual(before)
    if (start === 1) await node.close()
  }

  const tm = await (node as TestTidemark).connect()
  // Its directory is not the new topic's, and is not taken for it: it makes room.
  await tm.admin.createTopic('ghost', { partitions: 1 })
  await tm.producer().send('ghost', { value: 'new' })
  expect(await valuesIn(tm, 'ghost')).toEqual(['new'])
  const keptContents = async (): Promise<string[]> => [...(await digestsOf(join(path, `topics/ghost-0.${topicId}-0.stray`))).values()]
  expect(await keptContents()).toEqual([...before.values()])
  await tm.admin.deleteTopic('ghost')
  expect(await keptContents()).toEqual([...before.values()])
})

it('J14 are not given up with a quorum state that is gone: the node does not start under another cluster', async () => {
  await rm(join(path, 'controller'), { recursive: true })
  const before = await digestsOf(join(path, 'topics'))
  await expect(startTidemark({ storage: { path } })).rejects.toMatchObject({ code: expect.stringMatching(/DATA_DIR_INVALID|CORRUPT_LOG/) })
  expect(await digestsOf(join(path, 'topics'))).toEqual(before)
})
